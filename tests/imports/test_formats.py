"""Configurations of other programs give server files with the answers of these programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import answers
import pytest
from answers import VARIANTS, Listed, Variant
from needs import need_module

import ketama
from ketama.admin.imports import Imported, import_servers
from ketama.continuum import continuum_of_text

IPV6 = "[::1]:11211"


def imported(text: str, **options: Any) -> Imported:
    """Import a text."""
    if options.get("format") == "twemproxy":
        need_module("yaml")
    if options.get("format") == "nginx":
        need_module("crossplane")
    return import_servers(text.encode(), "its-name", **options)


def rows(made: Imported) -> list[tuple[str, int, str | None]]:
    """Return the servers of the file that was made."""
    servers = continuum_of_text(made.text, "made").servers
    return [(server.address, server.weight, server.name) for server in servers]


def reasons(made: Imported) -> list[str]:
    """Return the notes, each with its line."""
    return [f"{note.line or ''}: {note.reason}" for note in made.notes]


# ---- configurations of the lists that real programs were asked about


def nutcracker(servers: list[Listed], options: dict[str, Any]) -> str:
    """Write a twemproxy pool."""
    lines = [f"  {name}: '{value}'" for name, value in options.items()]
    listed = [
        f"   - {address}:{weight}" + (f" {name}" if name else "")
        for address, weight, name in servers
    ]
    return "\n".join(["pool:", "  listen: 127.0.0.1:22121", *lines, "  servers:", *listed])


def upstream(servers: list[Listed], options: dict[str, Any]) -> str:
    """Write an nginx upstream block."""
    listed = [f"    server {address} weight={weight};\n" for address, weight, _ in servers]
    return f"upstream cache {{\n    hash $request_uri consistent;\n{''.join(listed)}}}\n"


def string(servers: list[Listed], options: dict[str, Any]) -> str:
    """Write a configuration string of libmemcached."""
    listed = [
        f'--SOCKET="{address}"/?{weight}'
        if address.startswith("/")
        else f"--SERVER={address}/?{weight}"
        for address, weight, _ in servers
    ]
    hashed = [f"--HASH={value.upper()}" for value in options.values()]
    return " ".join([*hashed, "--DISTRIBUTION=consistent", *listed])


def plain(servers: list[Listed], options: dict[str, Any]) -> str:
    """Write a list of dalli's servers."""
    return ",\n".join(f"{address}:{weight}" for address, weight, _ in servers)


def aliases(servers: list[Listed], options: dict[str, Any]) -> str:
    """Write a list of libmc's servers."""
    return repr([f"{address} {name}" if name else address for address, _, name in servers])


WRITERS = {
    "twemproxy": ("twemproxy", nutcracker),
    "nginx": ("nginx", upstream),
    "libmemcached-ketama": ("libmemcached", string),
    "dalli": ("list", plain),
    "libmc": ("literal", aliases),
}


@pytest.mark.parametrize(
    "variant", [variant for variant in VARIANTS if variant.profile in WRITERS], ids=str
)
def test_answers(variant: Variant) -> None:
    """Each list that is imported gives each key the server that the real program gave it."""
    format_, write = WRITERS[variant.profile]
    keys, lists = answers.answers(variant)
    # What these configurations say; the others need --profile.
    says = format_ in ("twemproxy", "nginx", "libmemcached")
    options = {} if says else variant.options
    chosen = "" if says else f"profile={variant.profile}"
    chosen += "".join(f" {name}={value}" for name, value in options.items())
    if variant.profile == "nginx":
        chosen = "".join(f"{name}={value}" for name, value in variant.options.items())
    for name, expected in lists.items():
        servers = answers.servers(variant.path(name))
        text = write(servers, variant.options)
        made = imported(text, settings=chosen.encode(), format=format_)
        listed = [(address, weight if format_ != "literal" else 1, named)
                  for address, weight, named in servers]  # fmt: skip
        assert rows(made) == listed, name
        assert expected == list(continuum_of_text(made.text, name).indexes(keys)), name
        assert not any("move" in reason for reason in reasons(made))
        if all(address[0] != "[" and ":" in address for address, _, _ in servers):
            assert imported(text).format == format_, name


def test_twemproxy_by_name() -> None:
    """One pool of several is chosen; names, sockets and options are carried over."""
    text = """
    # pools of the shop
    alpha: {listen: '127.0.0.1:1', servers: ['127.0.0.1:6379:1']}
    beta:
      listen: 127.0.0.1:22122
      hash: md5
      hash_tag: "{}"
      auto_eject_hosts: true
      distribution: modula
      servers:
        - 10.0.0.1:11211:3 cache-a
        - 10.0.0.2:11212:1   # the spare one
        - /run/mc.sock:2
    """
    made = imported(text, pool="beta")
    assert (made.format, made.pool) == ("twemproxy", "beta")
    assert made.text.decode() == (
        "#ketama profile=twemproxy hash=md5 hash_tag={}\n"
        "10.0.0.1:11211   3   cache-a\n"
        "10.0.0.2:11212   1\n"
        "/run/mc.sock     2\n"
    )
    assert reasons(made) == [
        "9: distribution 'modula' is not ketama: keys will move",
        "8: ignored: auto_eject_hosts: libketama's ring keeps servers that are down",
    ]
    (alpha,) = rows(imported(text, pool="alpha"))
    assert alpha == ("127.0.0.1:6379", 1, None)


def test_nginx() -> None:
    """Weights count, servers that nginx does not use are left out, and text stays as it is."""
    text = """
    http {
        include mime.types;
        upstream other { server 10.0.0.9; }
        upstream "cache" {
            zone z 64k;
            hash  "ns:$arg_key"  consistent;
            server 10.0.0.1:11211 weight=3 max_fails=2;
            server 10.0.0.2:11211 down;
            server 10.0.0.3:11211 backup;
            server unix:/run/mc.sock;
            server cache1;
            server [::1]:8080 resolve;
        }
    }
    """
    made = imported(text, pool="cache", format="nginx")
    assert made.settings == "profile=nginx"
    assert rows(made) == [
        ("10.0.0.1:11211", 3, None),
        ("unix:/run/mc.sock", 1, None),
        ("cache1", 1, None),
        ("[::1]:8080", 1, None),
    ]
    assert reasons(made) == [
        "7: nginx hashes 'ns:$arg_key', so that is the key to look up",
        "9: left out: 10.0.0.2:11211 is marked down",
        "10: left out: 10.0.0.3:11211 is marked backup",
        "13: ignored: resolve of [::1]:8080",
    ]
    assert reasons(imported(text, pool="other", format="nginx")) == [
        "4: there is no 'hash KEY consistent', so this is not ketama: keys will move"
    ]


@pytest.mark.parametrize(
    ("directive", "reason"),
    [
        ("hash $k;", "2: hash without consistent is not ketama: keys will move"),
        ("hash $k consistent; hash_method crc32;", "2: hash_method is not ketama: "),
        ("ip_hash;", "2: ip_hash is not ketama: keys will move"),
        ("consistent_hash $k;", "2: consistent_hash is not ketama: keys will move"),
    ],
)
def test_nginx_without_ketama(directive: str, reason: str) -> None:
    """Every other way to choose servers is said."""
    made = imported(f"upstream u {{\n{directive} server a:1; server b:1;\n}}", format="nginx")
    assert reason in " ".join(reasons(made))


def test_libmemcached() -> None:
    """Hash and weights make the dialect; what else has a part in it is said."""
    made = imported(
        "--distribution=consistent --HASH=MD5\n--SERVER=10.0.0.1:11211/?3 --SERVER=cache2 # x\n"
        '--SOCKET="/run/mc.sock"/?2 --SERVER=c:1/?0 --POOL-MIN=2 --SORT-HOSTS --WHAT=1\n'
        '--NAMESPACE="x:" --HASH-WITH-NAMESPACE END --SERVER=unread'
    )
    assert (made.format, made.pool) == ("libmemcached", None)
    assert made.settings == "profile=libmemcached-ketama hash=md5"
    assert rows(made) == [
        ("10.0.0.1:11211", 3, None),
        ("cache2", 1, None),
        ("/run/mc.sock", 2, None),
        ("c:1", 1, None),
    ]
    assert reasons(made) == [
        "3: ignored: --SORT-HOSTS: it decides which of equal points wins",
        "3: ignored: --WHAT: unknown",
        ": 'x:' is hashed before each key: use 'ketama where --prefix'",
    ]


def test_libmemcached_without_ketama() -> None:
    """The default distribution is another one."""
    assert reasons(imported("--SERVER=a:1 --SERVER=b:1")) == [
        ": the distribution is modula, not consistent: keys will move"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["10.0.0.1:11211", ("b", 11212)]', [("10.0.0.1:11211", 1), ("b:11212", 1)]),
        ('SERVERS = [\n ("10.0.0.1", 11211),\n]', [("10.0.0.1:11211", 1)]),
        ('("10.0.0.1", 11211)', [("10.0.0.1:11211", 1)]),
        ('[("10.0.0.1:11211", 3), ("/run/x", 2)]', [("10.0.0.1:11211", 3), ("/run/x", 2)]),
        ('[("::1", 11211), "[::1]:11212"]', [("[::1]:11211", 1), ("[::1]:11212", 1)]),
        ('[["10.0.0.1", 11211, 33], ["b", 2, 67]]', [("10.0.0.1:11211", 33), ("b:2", 67)]),
        (r'["unix:\/run\/x", "b:1:2"]', [("unix:/run/x", 1), ("b:1", 2)]),
        ('{"a:1": 600, "b:1": 300}', [("a:1", 600), ("b:1", 300)]),
        ('"a:1;b:2,c:3"', [("a:1", 1), ("b:2", 1), ("c:3", 1)]),
        ('{"LOCATION": "a:1;b:2"}', [("a:1", 1), ("b:2", 1)]),
        ('[("a:1", 0), ("b:1", 1)]', [("b:1", 1)]),
    ],
)  # fmt: skip
def test_literals(text: str, expected: list[tuple[str, int]]) -> None:
    """Lists of Python, JSON and Django are read, and never run."""
    made = imported(text)
    assert made.format == "literal"
    assert [row[:2] for row in rows(made)] == expected
    assert made.settings == ""
    assert "; the default profile is assumed: choose one with" in reasons(made)[-1]
    assert ("left out" in reasons(made)[0]) == ("0)" in text)


SETTINGS = """
import os
raise SystemExit("nobody runs this")
CACHES = {
    "pages": {
        "BACKEND": "django.core.cache.backends.memcached.PyLibMCCache",
        "LOCATION": ["10.0.0.1:11211", "10.0.0.2:11212"],
        "KEY_PREFIX": "shop",
        "VERSION": 2,
        "OPTIONS": {"behaviors": BEHAVIORS, "other": os.environ},
    },
    "rest": {"BACKEND": "django...PyMemcacheCache", "LOCATION": "10.0.0.1:11211"},
    "hashed": {
        "BACKEND": "django...PyMemcacheCache",
        "LOCATION": "10.0.0.1:11211",
        "OPTIONS": {"hasher": Hasher},
        "KEY_FUNCTION": "shop.key",
    },
    "old": {"BACKEND": "django...MemcachedCache", "LOCATION": ["10.0.0.1:11211"]},
    "db": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "table"},
    "none": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
}
"""


@pytest.mark.parametrize(
    ("behaviors", "settings"),
    [
        ({"ketama_weighted": True, "hash": "fnv1a_64"}, "profile=libmemcached"),
        ({"ketama": True}, "profile=libmemcached-ketama"),
        ({"ketama": True, "hash": "md5"}, "profile=libmemcached-ketama hash=md5"),
        ({"distribution": "consistent"}, "profile=libmemcached-ketama"),
        ({"tcp_nodelay": True}, ""),
    ],
)
def test_django_with_pylibmc(behaviors: dict[str, object], settings: str) -> None:
    """A cache of a settings file is found without running it, with pylibmc's behaviors."""
    made = imported(SETTINGS.replace("BEHAVIORS", repr(behaviors)), pool="pages")
    assert (made.format, made.pool, made.settings) == ("literal", "pages", settings)
    assert rows(made) == [("10.0.0.1:11211", 1, None), ("10.0.0.2:11212", 1, None)]
    assert (
        reasons(made)[0]
        == ": Django hashes 'shop:2:' before each key: use 'ketama where --prefix'"
    )
    assert (len(made.notes) > 1) == (settings == "")


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("rest", "pymemcache's HashClient is not ketama: keys will move; the default"),
        ("rest", "Django hashes ':1:' before each key"),
        ("hashed", "the cache has a hasher of its own, which decides; the default"),
        ("hashed", "17: KEY_FUNCTION makes the keys"),
        ("old", "python-memcached is not ketama: keys will move; the default"),
    ],
)
def test_django_with_others(pool: str, expected: str) -> None:
    """Other backends are not ketama, which is said."""
    made = imported(SETTINGS, pool=pool)
    assert rows(made) == [("10.0.0.1:11211", 1, None)]
    assert expected in " ".join(reasons(made))


def test_django_with_one_cache() -> None:
    """Only caches in memcached count, so one of them need not be named."""
    text = SETTINGS.partition('    "rest"')[0] + '"f": {"BACKEND": "x.F", "LOCATION": "/var"}}'
    made = imported(text.replace("BEHAVIORS", "{}"))
    assert (made.pool, len(made.servers)) == ("pages", 2)
    with pytest.raises(ketama.ServersError, match=r"--pool: pages, rest, hashed, old$"):
        imported(SETTINGS)


def test_lists() -> None:
    """Words are separated by commas, blanks and line breaks; weights are 1 by default."""
    made = imported(
        "10.0.0.1:11211:3, cache2:11211 [::1]:11211:2 # x\n/run/x.sock:5\nb:1:0\n",
        settings=b"profile=dalli",
    )
    assert made.format == "list"
    assert rows(made) == [
        ("10.0.0.1:11211", 3, None),
        ("cache2:11211", 1, None),
        ("[::1]:11211", 2, None),
        ("/run/x.sock", 5, None),
    ]
    assert reasons(made) == ["3: left out: b:1 has weight 0; others may get other points"]
    assert reasons(imported("a:1")) == [
        ": a plain list does not say which program's it is; the default profile is assumed: "
        "choose one with --profile"
    ]


def test_a_profile_that_is_chosen() -> None:
    """It replaces that of the configuration, which is said; options alone are added to it."""
    text = json.dumps(["a:1", "b:1"])
    assert imported(text, settings=b"profile=uhashring").notes == ()
    string = "--DISTRIBUTION=consistent --SERVER=a:1"
    made = imported(string, settings=b"profile=dalli")
    assert made.text.startswith(b"#ketama profile=dalli\n")
    assert reasons(made) == [
        ": the configuration says profile=libmemcached-ketama, not profile=dalli: "
        "keys will move"
    ]
    made = imported(string, settings=b"hash=crc")
    assert made.text.startswith(b"#ketama profile=libmemcached-ketama hash=crc\n")
    with pytest.raises(ketama.ProfileError, match="option hash is given twice"):
        imported("--HASH=MD5 " + string, settings=b"hash=crc")


def test_the_file(tmp_path: Path) -> None:
    """What was made is a server file like others."""
    path = tmp_path / "made.servers"
    path.write_bytes(imported("a:1:3 b:2", settings=b"profile=dalli").text)
    assert {finding.severity for finding in ketama.check(path)} <= {"note"}
    assert ketama.Continuum(path).lookup("user:42") == ketama.Continuum(
        [("a:1", 3), ("b:2", 1)], profile="dalli"
    ).lookup("user:42")
