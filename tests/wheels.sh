#!/bin/sh
# Runs the Python tests with the wheels in dist/ where make test-versions cannot: on CPythons of
# Debian's unstable, and on aarch64, emulated. Sees whether musl has all symbols that its wheel
# needs, and whether a second build gives the same bytes. As root, an hour; on Debian with
# debootstrap, musl and qemu-user. Usage: wheels.sh BIN [FOLDER], where FOLDER keeps the systems
# for the next time (default: /var/tmp/ketama-systems).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$(cd "$1" && pwd)
systems=${2:-/var/tmp/ketama-systems}
mirror=http://deb.debian.org/debian
versions="3.14 3.15"
mkdir -p "$systems"
folder=$(mktemp -d)
unmount() {
    for mounted in project dev/pts dev/shm proc; do
        ! mountpoint -q "$systems/amd64/$mounted" || umount "$systems/amd64/$mounted"
    done
}
trap 'unmount; rm -rf "$folder"' EXIT

# One system per processor, complete once its last step is done.
make_amd64() {
    packages=acl,ca-certificates,faketime,gcc,libc6-dev,make,memcached,strace
    for version in $versions; do packages=$packages,python$version,python$version-venv; done
    rm -rf "$systems/amd64"
    debootstrap --variant=minbase --include=$packages sid "$systems/amd64" "$mirror"
    # How this machine reaches PyPI.
    for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || cp "$file" "$systems/amd64$file"
    done
    touch "$systems/amd64/complete"
}

# Unpacked, not installed, which needs no emulator of a whole system.
make_arm64() {
    rm -rf "$systems/arm64"
    debootstrap --foreign --arch=arm64 --variant=minbase --include=python3.14 sid \
        "$systems/arm64" "$mirror"
    for package in "$systems"/arm64/var/cache/apt/archives/*.deb; do
        dpkg-deb --extract "$package" "$systems/arm64"
    done
    touch "$systems/arm64/complete"
}

test_amd64() {
    mkdir -p "$systems/amd64/project" "$systems/amd64/dev/shm" "$systems/amd64/dev/pts"
    mount -t proc proc "$systems/amd64/proc"
    mount -t tmpfs tmpfs "$systems/amd64/dev/shm"
    mount --bind /dev/pts "$systems/amd64/dev/pts"
    mount --bind "$root" "$systems/amd64/project"
    # shellcheck disable=SC2086 # several versions
    chroot "$systems/amd64" env CI= CLIENTS=no sh /project/tests/versions.sh $versions
    unmount
}

# The wheel's answers, singly and in a batch, are those of this machine. Not the tests, which start
# other programs, as this system cannot.
test_arm64() {
    "$bin/pip" install --quiet --disable-pip-version-check --target "$folder/aarch64" \
        --platform manylinux_2_17_aarch64 --implementation cp --python-version 3.14 \
        --only-binary :all: "$root"/dist/*manylinux*aarch64.whl
    ask='
import sys, ketama
ring = ketama.Continuum(sys.argv[1], shared=False)
keys = [f"key-{i}" for i in range(20000)]
found = ring.lookup_many(keys)
assert found == [ring.lookup(key) for key in keys]
print(found)'
    for speedups in 1 0; do
        export KETAMA_SPEEDUPS=$speedups
        "$bin/python" -c "$ask" "$root/examples/ketama.servers" >"$folder/here"
        PYTHONPATH=$folder/aarch64 qemu-aarch64 -L "$systems/arm64" \
            "$systems/arm64/usr/bin/python3.14" -c "$ask" "$root/examples/ketama.servers" \
            >"$folder/there"
        cmp "$folder/here" "$folder/there"
    done
    unset KETAMA_SPEEDUPS
    echo "aarch64: the same answers for 20,000 keys"
}

# musl's loader finds everything but what Python has: there is no Python that is linked with it.
test_musl() {
    "$bin/python" -m zipfile -e "$root"/dist/*musllinux*x86_64.whl "$folder/musl"
    for module in "$folder"/musl/ketama/*.so; do
        missing=$(/lib/ld-musl-x86_64.so.1 --list "$module" 2>&1 |
            sed -n 's/.*: \(.*\): symbol not found$/\1/p')
        if [ -z "$missing" ] || echo "$missing" | grep -v '^_\{0,1\}Py'; then
            echo "$module: musl lacks the symbols above, or was not asked" >&2
            exit 1
        fi
    done
    echo "musl: has all symbols but Python's"
}

test_same() {
    "$bin/python" "$root/packaging/wheels.py" "$folder/again"
    for file in "$folder"/again/*; do cmp "$file" "$root/dist/$(basename "$file")"; done
    echo "a second build gives the same bytes"
}

for system in amd64 arm64; do
    [ -e "$systems/$system/complete" ] || make_$system
done
test_musl
test_same
test_arm64
test_amd64
