#!/bin/sh
# What the libraries define for others begins with ketama_; the shared one exports what
# ketama.h declares, no more and no less.
set -eu
shared=$1 static=$2

fail() {
    echo "symbols: $1" >&2
    exit 1
}

stray=$(nm -g --defined-only "$static" | awk 'NF == 3 && $3 !~ /^ketama_/ {print $3}')
[ -z "$stray" ] || fail "without the prefix in $static: $stray"

exported=$(nm -D --defined-only "$shared" | awk 'NF == 3 {print $3}' | sort)
declared=$(sed 's,/\*.*\*/,,' ketama.h | grep -E '^[a-z].*ketama_[a-z0-9_]+\(' |
    grep -oE 'ketama_[a-z0-9_]+\(' | tr -d '(' | sort)
[ -n "$exported" ] || fail "$shared exports nothing"
[ "$exported" = "$declared" ] || fail "exported: $exported
declared: $declared"
