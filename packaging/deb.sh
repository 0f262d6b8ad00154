#!/bin/sh
# Builds the Debian packages in build/deb/ from the files that git tracks, and has lintian check
# them. Where a tool is missing, it says so and builds nothing; in CI that is an error.
# PROFILES=nocheck leaves the tests out.
set -eu
cd "$(dirname "$0")/.."
export DEB_BUILD_PROFILES="${PROFILES:-}" DEB_BUILD_OPTIONS="${PROFILES:-} parallel=$(nproc)"
PATH=/usr/sbin:/usr/bin:/sbin:/bin # Debian's python3, not one of pyenv's

lack() {
    echo "no Debian packages: $1" >&2
    [ -z "${CI:-}" ] || exit 1
    exit 0
}
command -v dpkg-checkbuilddeps >/dev/null || lack "dpkg-dev is not installed"
command -v lintian >/dev/null || lack "lintian is not installed"
unmet=$(dpkg-checkbuilddeps 2>&1) || lack "$unmet"

# Debian sorts 1.0.0~rc1 before 1.0.0.
version=$(sed -n 's/^#define KETAMA_VERSION "\(.*\)"$/\1/p' libketama/ketama.h | sed 's/rc/~rc/')
packaged=$(dpkg-parsechangelog --show-field Version)
if [ "${packaged%-*}" != "$version" ]; then
    echo "debian/changelog has $packaged, but libketama/ketama.h $version: run dch -v $version-0upstream1" >&2
    exit 1
fi

rm -rf build/deb
folder=build/deb/libketama-$version
mkdir -p "$folder"
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$folder"
# The upstream tarball, as far as Debian is concerned, has no debian/.
tar --create --xz --file="build/deb/libketama_$version.orig.tar.xz" --directory=build/deb \
    --exclude="libketama-$version/debian" "libketama-$version"
cd "$folder"
dpkg-buildpackage -us -uc >../build.log 2>&1 || {
    tail -n 50 ../build.log >&2
    exit 1
}
# Debian 12 and 13 know different versions of the Policy. What lintian has masked by itself counts
# for its exit code, but not here.
found=$(lintian --allow-root -EiIL +pedantic --suppress-tags out-of-date-standards-version \
    --fail-on none ../*.changes 2>&1 | grep -v "^running with root privileges") || true
if [ -n "$found" ]; then
    echo "$found" >&2
    exit 1
fi
cd ..
echo "build/deb: lintian finds nothing in" ./*.deb
