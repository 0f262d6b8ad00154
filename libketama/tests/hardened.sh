#!/bin/sh
# Checks that shared objects of ELF are hardened: full RELRO, no executable stack, no folder of
# their own for libraries, a stack protector. --fortified: the checked functions as well, which
# glibc has and musl has not. Usage: hardened.sh [--fortified] FILE ...
set -eu
checked='_(chk|2)(@|$)'
fortified=
if [ "$1" = --fortified ]; then
    fortified=yes
    shift
fi
failed=

# What a file lacks, or has and must not.
wrong() {
    echo "$file: $1" >&2
    failed=yes
}

for file in "$@"; do
    segments=$(readelf --wide --program-headers "$file")
    dynamic=$(readelf --wide --dynamic "$file")
    symbols=$(readelf --wide --dyn-syms "$file" | awk '$7 == "UND" { print $8 }')
    echo "$segments" | grep -q GNU_RELRO || wrong "no RELRO: link with -Wl,-z,relro"
    echo "$dynamic" | grep -Eq 'BIND_NOW|Flags:.*NOW' ||
        wrong "relocations stay writable: link with -Wl,-z,now"
    echo "$dynamic" | grep -Eq '\((RPATH|RUNPATH|TEXTREL)\)' &&
        wrong "has RPATH, RUNPATH or TEXTREL"
    echo "$segments" | grep 'GNU_STACK' | grep -q ' RW ' || wrong "the stack is executable"
    # zig links its own __stack_chk_fail into some files, without a name in the end; on x86-64
    # what is compared is at %fs:0x28, of which little code has another use.
    echo "$symbols" | grep -Eq '^__stack_chk_(fail|guard)' ||
        objdump --disassemble "$file" 2>/dev/null | grep -q '%fs:0x28' ||
        wrong "no stack protector: compile with -fstack-protector-strong"
    [ -z "$fortified" ] || ! echo "$dynamic" | grep -q 'libc\.so\.6' ||
        echo "$symbols" | grep -v stack_chk | grep -Eq "$checked" ||
        wrong "no checked functions: compile with -D_FORTIFY_SOURCE=3 and -O2"
done
[ -z "$failed" ] && echo "hardened: $# passed, 0 failed"
