#!/bin/sh
# Installs the wheel of dist/ that fits this machine, and runs the golden tests with it.
# Usage: wheel.sh PYTHON
set -eu
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
# Not from an index, and not from the sdist.
install --no-index --no-deps --find-links "$root/dist" --only-binary libketama libketama
install 'libketama[cli]' hypothesis numpy pytest pytest-timeout
cd "$folder" # the project's root has another ketama/
unset CI      # without pyarrow, which not every system has, one test is skipped
venv/bin/pytest --config-file "$root/pyproject.toml" -p no:cacheprovider \
    --confcutdir "$root/tests" "$root/tests/test_golden.py" "$root/tests/test_lookups.py"
