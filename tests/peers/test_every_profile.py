"""Every profile's program is asked by a test of this folder, or its answers are stored."""

from __future__ import annotations

from pathlib import Path

from answers import VARIANTS

import ketama

ASKED = {
    "dalli",
    "libmc",
    "libmemcached",
    "libmemcached-ketama",
    "libmemcached-spy",
    "nginx",
    "node-hashring",
    "spymemcached",
    "twemproxy",
    "uhashring",
}
# Asked where memcached was built with its proxy: in Debian 13, not in Debian 12.
ASKED_OF_THE_PROXY = {
    "memcached-proxy-evcache",
    "memcached-proxy-ketama",
    "memcached-proxy-twemproxy",
}
# Their programs cannot be installed from Debian, PyPI or npm, or do not work where tests run.
STORED = {
    "couchbase",
    "elasticache-java",
    "enyim",
    "evcache",
    "hash_ring",
    "libketama",
    "memcached-proxy",
    "pingora",
    "predis",
    "xmemcached",
}


def test_every_profile() -> None:
    """Each profile is in one of the sets."""
    names = [profile.name for profile in ketama.profiles() if not profile.is_map]
    assert sorted(names) == sorted([*ASKED, *ASKED_OF_THE_PROXY, *STORED])


def test_asked() -> None:
    """The other files of this folder name the profiles that are asked, and no other one."""
    files = [path for path in Path(__file__).parent.glob("*.py") if path != Path(__file__)]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    named = {profile.name for profile in ketama.profiles() if f'"{profile.name}"' in text}
    assert named == ASKED | ASKED_OF_THE_PROXY


def test_stored() -> None:
    """There are stored answers for all others; libketama's are those of test_golden.py."""
    assert STORED - {"libketama"} <= {variant.profile for variant in VARIANTS}
