#!/bin/sh
# Runs the Python tests on each version of CPython, with the wheel in dist/ for this machine.
# Usage: versions.sh VERSION ...
# A version that is missing is passed over with a message; in CI that is an error. CLIENTS=no
# leaves out the clients, of which PyPI lacks some for new versions, and what freezes programs.
set -eu

find_python() {
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

root=$(cd "$(dirname "$0")/.." && pwd)
wheel=$(echo "$root"/dist/*manylinux*_"$(uname -m)".whl)
tests="$root/tests $root/README.md"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Everything on one version.
test_version() {
    version=$1 python=$2
    "$python" -m venv "$folder/$version"
    install() { "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "$@"; }
    extras=test,clients more=
    if [ "${CLIENTS:-}" = no ]; then
        extras=cli,fleet,import,pymemcache
        more="hypothesis jedi jsonschema pytest>=8,<9.2 pytest-timeout pytest-xdist setuptools>=77"
        [ -z "${CI:-}" ] || more="$more numpy pyarrow" # elsewhere, their tests are skipped
    fi
    # Twice, as a download may break off. $more is several words.
    install "$wheel[$extras]" $more || install "$wheel[$extras]" $more
    # Not from the project's root, whose ketama/ is not the wheel's; README.md's file is there.
    mkdir "$folder/$version/here"
    ln -s "$root/examples" "$folder/$version/here/examples"
    run() {
        (cd "$folder/$version/here" &&
            # Two processes each, as many tests wait for servers and for time-outs.
            ../bin/pytest --quiet --numprocesses=2 --dist=loadgroup \
                --config-file "$root/pyproject.toml" -p no:cacheprovider --confcutdir "$root/tests" "$@")
    }
    # Some files test other programs or the model, to whom it is all the same which CPython
    # this is, and some what the commands of test_command.py go on to do.
    ignored=
    for name in test_compat.py test_port.py test_languages.py test_old_programs.py \
        test_docs.py test_examples.py test_plot.py test_command_asks.py test_agree.py \
        test_command_agree.py test_command_edits.py test_command_profiles.py \
        test_edit_safety.py test_processes.py test_comet.py test_rebalancing.py imports peers \
        profiles fleet/test_follow.py fleet/test_prepare.py fleet/test_urls.py fleet/test_faults.py \
        fleet/test_access.py fleet/test_gateway.py fleet/test_hostile.py fleet/test_large_lists.py \
        clients/test_secured.py \
        clients/test_rejoin.py clients/test_support.py; do
        ignored="$ignored --ignore=$root/tests/$name"
    done
    if [ "${CLIENTS:-}" = no ]; then
        for name in clients test_packaging.py; do
            ignored="$ignored --ignore=$root/tests/$name"
        done
    fi
    run $tests $ignored -k "not million and not two_hundred"
    KETAMA_SPEEDUPS=0 run "$root/tests/test_lookups.py"
}

# All versions at a time; what they print comes one after the other.
started=
for version in "$@"; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "CPython $version: not found, not tested" >&2
        [ -z "${CI:-}" ] || exit 1
        continue
    fi
    # In a shell of its own, where the first thing that fails ends it.
    (set -e; test_version "$version" "$python") >"$folder/$version.log" 2>&1 &
    started="$started $version:$!"
done
failed=
for each in $started; do
    wait "${each#*:}" || failed="$failed ${each%:*}"
    echo "CPython ${each%:*}"
    cat "$folder/${each%:*}.log"
done
if [ -n "$failed" ]; then
    echo "failed on CPython$failed" >&2
    exit 1
fi
