#!/bin/sh
# Links a shared object with musl, which it needs by the name that Alpine gives it, as wheels do.
# zig's name is libc.so; musl takes either for itself. Usage: link_musl.sh LINKER ARGUMENT ...,
# with patchelf on the PATH.
set -eu
"$@"
target= out= before=
for argument in "$@"; do
    case $before in
    -target) target=$argument ;;
    -o) out=$argument ;;
    esac
    before=$argument
done
patchelf --replace-needed libc.so "libc.musl-${target%%-*}.so.1" "$out"
