#!/bin/sh
# Prints compiler flags if a program that is compiled with them runs. Without them the tests
# have to do on this machine, which is said on standard error, and in CI it is a failure.
# Usage: supported.sh COMPILER FLAG ...
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compiler=$1
shift
echo 'int main(void) { return 0; }' >"$folder/main.c"
# The compiler may be several words, such as "gcc -m32".
if $compiler "$@" -o "$folder/main" "$folder/main.c" >/dev/null 2>&1 && "$folder/main"; then
    echo "$*"
else
    echo "tests: skipped, this machine lacks: $compiler $*" >&2
    [ -z "${CI:-}" ]
fi
