#!/bin/sh
# Installs a wheel or an sdist in a new environment, and asks it one question there.
# Usage: fresh_install.sh PYTHON FILE
set -eu
python=$1 file=$2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$file"
cd "$folder"
printf '127.0.0.1:11211 600\n127.0.0.1:11212 400\n' >ketama.servers
answer=$("$folder/venv/bin/python" -c '
import ketama
print(*ketama.roll("ketama.servers").get_server("test"))')
if [ "$answer" != "3454255383 127.0.0.1:11211" ]; then
    echo "$file: a fresh install answers $answer" >&2
    exit 1
fi
manual=$folder/venv/share/man
if [ "$(man -M "$manual" -w 1 ketama)" != "$manual/man1/ketama.1" ]; then
    echo "$file: man does not find ketama(1) in $manual" >&2
    exit 1
fi
if [ "$(man -M "$manual" -w 5 ketama.servers)" != "$manual/man5/ketama.servers.5" ]; then
    echo "$file: man does not find ketama.servers(5) in $manual" >&2
    exit 1
fi
echo "$file: good in a fresh environment"
