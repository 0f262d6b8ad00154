#!/bin/sh
# What the libraries define for others begins with ketama_; the shared one exports, under
# these versions, what the headers declare, no more and no less. Taking one of them away,
# or moving it to another version, breaks programs that exist.
set -eu
shared=$1 static=$2

fail() {
    echo "symbols: $1" >&2
    exit 1
}

stray=$(nm -g --defined-only "$static" | awk 'NF == 3 && $3 !~ /^ketama_/ {print $3}')
[ -z "$stray" ] || fail "without the prefix in $static: $stray"

exported=$(nm -D --defined-only "$shared" | awk 'NF == 3 && $2 != "A" {print $3}' | sort)
[ "$exported" = "$(sort tests/symbols.txt)" ] || fail "exported: $exported
but tests/symbols.txt has others"

declared=$(cat ketama.h ketama_compat.h ketama_admin.h ketama_health.h | sed 's,/\*.*\*/,,' |
    grep -E '^[a-z].*ketama_[a-z0-9_]+\(' | grep -oE 'ketama_[a-z0-9_]+\(' | tr -d "(" | sort -u)
[ "$(echo "$exported" | sed 's/@.*//')" = "$declared" ] || fail "declared: $declared
exported: $exported"

soname=$(readelf -d "$shared" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = libketama.so.1 ] || fail "the shared library's name is $soname"
