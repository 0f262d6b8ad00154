#!/bin/sh
# Compiles the C library for other machines without a warning, and where an emulator can run
# it, has it answer for a million keys. Usage: cross.sh COMPILER [ARGUMENT ...], where the
# compiler takes clang's -target, as "python -m ziglang cc" does.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
options="-std=c11 -O2 -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wvla -Wpedantic -Werror
    -fvisibility=hidden -I$root/libketama"
sources=$(find "$root/libketama" -maxdepth 1 -name "*.c")
for part in hash profile health admin; do sources="$sources $(find "$root/libketama/$part" -name "*.c")"; done
expected=5672b131391f5aa2b280936aec1eea74

# The million keys of tests/vectors/README.md. Usage: check NAME COMMAND ...
check() {
    name=$1
    shift
    sum=$("$@" "$root/tests/vectors/classic8/ketama.servers" | md5sum | cut -d ' ' -f 1)
    if [ "$sum" != "$expected" ]; then
        echo "$name: wrong answers" >&2
        exit 1
    fi
    echo "$name: compiled, and right for a million keys"
}

# Usage: cross TARGET COMPILER [ARGUMENT ...]
cross() {
    target=$1
    shift
    "$@" -target "$target" $options -fPIC -shared -o "$folder/$target.so" $sources
    "$@" -target "$target" -w -O2 -o "$folder/old-$target" "$root/tests/programs/old.c" \
        "$folder/$target.so"
    case $target in
    *-musl)
        "$@" -target "$target" -w -O2 -static -o "$folder/static-$target" \
            "$root/tests/programs/old.c" $sources
        check "$target" "qemu-${target%%-*}" "$folder/static-$target"
        ;;
    *) echo "$target: compiled and linked" ;;
    esac
}

with_gcc() {
    "$1-linux-gnu-gcc" $options -static -o "$folder/static-$1" \
        $sources -w "$root/tests/programs/old.c"
    check "$1-linux-gnu, gcc" "qemu-$1" "$folder/static-$1"
}

# At the same time: a compiler builds a C library first, and an emulator uses one core.
running=
for target in x86_64-linux-gnu x86_64-linux-musl aarch64-linux-gnu aarch64-linux-musl \
    x86_64-macos aarch64-macos; do
    cross $target "$@" &
    running="$running $!"
done
for machine in aarch64 s390x; do
    with_gcc $machine &
    running="$running $!"
done
failed=
for one in $running; do
    wait "$one" || failed=yes
done
[ -z "$failed" ]
