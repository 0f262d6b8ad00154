"""Configurations that are wrong, huge, or meant to do harm give one clear error."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import need_module

import ketama
from ketama.admin.imports import FORMATS, SIZE_MAX, import_servers
from ketama.continuum import continuum_of_text


@pytest.fixture(autouse=True)
def parsers() -> None:
    """Have the parsers that the formats need."""
    need_module("yaml")
    need_module("crossplane")


def refused(text: str | bytes, format_: str | None = None, pool: str | None = None) -> str:
    """Return the error of a text."""
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ketama.ServersError) as caught:
        import_servers(data, "f", format=format_, pool=pool)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    return str(caught.value)


TWEMPROXY = [
    ("p:\n  servers:\n  - a:1\n", "f:3: invalid server 'a:1': must be host:port:weight [name]"),
    ("p:\n  servers:\n  - a:1:x\n", "f:3: invalid server 'a:1:x': must be"),
    ("p:\n  servers:\n  - a:1:1 b c\n", "f:3: invalid server 'a:1:1 b c': must be"),
    ("p:\n  servers:\n  - a:1:0\n", "f:3: invalid weight"),
    ("p:\n  servers:\n  - a:1:99999999999999999999\n", "f:3: invalid weight '9999999999"),
    ("p:\n  servers:\n  - a:1:1 n\n  - b:1:1 n\n", "f:4: "),
    ("p:\n  servers:\n  - a:1:1 #n\n  - 'b:1:1 #m'\n", 'f:4: invalid name "#m": must'),
    ('p:\n  servers: ["a:1:1 \\ud800"]\n', "f:2: invalid name '\\ud800': lone surrogates"),
    ("p:\n  servers: a:1:1\n", "f:2: servers must be a list of host:port:weight [name]"),
    ("p:\n  servers: []\n", "f:2: no servers"),
    ("p:\n  listen: x\n", "f:2: pool 'p' has no servers"),
    ("p:\n- servers\n", "f:2: pool 'p' must be a mapping"),
    ("- p\n", "f:1: the file must be a mapping"),
    ("", "f: the file must be a mapping"),
    ("{}", "f: no pools"),
    ("p: {}\np: {}\n", "f:2: 'p' is given twice"),
    ("p:\n  servers:\n  - {a: 1}\n", "f:3: a server must be text; write it in quotes"),
    ("p:\n  hash_tag: {}\n  servers: [a:1:1]\n", "f:2: hash_tag must be text; write"),
    ("p:\n  hash: sha1\n  servers: ['a:1:1']\n", 'f:2: invalid hash "sha1": must be one of'),
    ("p:\n  hash_tag: abc\n  servers: ['a:1:1']\n", 'f:2: invalid hash_tag "abc"'),
    ('p:\n  hash_tag: "{\\n"\n  servers: ["a:1:1"]\n', "f:2: "),
    ('p:\n  hash: "md5\\0x"\n  servers: ["a:1:1"]\n', r"f:2: invalid hash 'md5\x00x': has"),
    ('p:\n  hash: "\\ud800"\n  servers: ["a:1:1"]\n', r"f:2: invalid hash '\ud800': has char"),
    ('p:\n  hash: "md5\\nevil:1 1"\n  servers: ["a:1:1"]\n', "f:2: "),
    ("p:\n  servers: [\n", "f:3: invalid YAML: "),
    ("p:\n\tservers: x\n", "f:2: invalid YAML: "),
    ("p: *a\n", "f:1: invalid YAML: found undefined alias"),
    ("---\na: {}\n---\nb: {}\n", "f:3: invalid YAML: "),
    ("p: !!python/object/apply:os.system [touch HERE]\n", "f:1: pool 'p' must be a mapping"),
    ("!!python/name:os.system p: {}\n", "f:1: unexpected 'tag:yaml.org,2002:python/name:os"),
    ("p:\n  servers:\n  - !!python/name:os.system a:1:1\n", "f:3: unexpected 'tag:yaml.org"),
    ("p:\n  <<: {servers: [a:1:1]}\n", "f:2: unexpected 'tag:yaml.org,2002:merge'"),
    ("[" * 100_000, "f: invalid YAML: nested too deeply"),
    ("p: &a [*a]\n", "f:1: pool 'p' must be a mapping"),
    ("p:\n  servers: &a [*a]\n", "f:2: a server must be text"),
    ("p: \x01\n", "f: invalid YAML: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TWEMPROXY)
def test_twemproxy(text: str, expected: str) -> None:
    """Neither tags nor anchors nor nesting do anything but fail."""
    assert refused(text, "twemproxy").startswith(expected)


def test_a_bomb_of_aliases() -> None:
    """Billions of servers in a few lines are not expanded."""
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 40))
    bomb = f"l0: &l0 ['a:1:1']\n{levels}pool: {{servers: *l39}}\n"
    assert refused(bomb, "twemproxy", "pool").startswith("f:39: a server must be text")


NGINX = [
    ("upstream u { server a:1 weight=x; }", "f:1: invalid weight 'x': must be a positive"),
    ("upstream u { server a:1 weight=0; }", "f:1: invalid weight"),
    ("upstream u { server; }", "f:1: server without an address"),
    ("upstream u { server a:1 down; }", "f:1: no servers"),
    ("upstream u {\n include /etc/passwd; server a:1; }", "f:2: include in an upstream block"),
    ("upstream u {\n server a:1;", "f:2: invalid configuration: unexpected end of file"),
    ("upstream u {\n server a:1\n server b:1; }", "f:2: unexpected 'server' of server 'a:1'"),
    ("upstream u {}\nupstream u {}", "f:2: upstream 'u' is given twice"),
    ("upstream u {}\nupstream v {}", "f: 2 upstreams: choose one with --pool: u, v"),
    ("include /etc/passwd;", "f: no upstream block: include directives are not followed"),
    ("", "f: no upstream block"),
    ("upstream u { server 'a b'; }", 'f:1: invalid address "a b"'),
    ("}", "f:1: invalid configuration: unexpected"),
    ("p:\n  servers\n", "f: invalid configuration: unexpected end of file, expecting \";\""),
    ("a {" * 5000 + "}" * 5000, "f: nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), NGINX)
def test_nginx(text: str, expected: str) -> None:
    """No include is followed, and each error has its line."""
    assert refused(text, "nginx").startswith(expected)


LIBMEMCACHED = [
    ("--SERVER=a --CONFIGURE-FILE=/etc/passwd", "f:1: CONFIGURE-FILE reads another file"),
    ('--SERVER=a\nINCLUDE "/etc/passwd"', "f:2: INCLUDE reads another file"),
    ("--SERVER=a\nRESET", "f:2: unexpected RESET"),
    ("--SERVER=a/?x", "f:1: invalid --SERVER 'a/?x': must be host:port/?weight"),
    ("--SERVER", "f:1: invalid --SERVER ''"),
    ("--SOCKET=/run/x", "f:1: invalid --SOCKET '/run/x': must be \"/path\"/?weight"),
    ("--SERVER=a --DISTRIBUTION=ketama", "f:1: invalid --DISTRIBUTION 'ketama'"),
    ("--SERVER=a --HASH=HSIEH", 'f: invalid hash "hsieh": must be one of one_at_a_time'),
    ("--SERVER=a\nx", "f:2: unexpected 'x'"),
    ("--SERVER=a,b --", "f:1: unexpected '--'"),
    ("--HASH=MD5", "f: no servers"),
    ("--SERVER=a --HASH=md5\x01", "f: "),
]


@pytest.mark.parametrize(("text", "expected"), LIBMEMCACHED)
def test_libmemcached(text: str, expected: str) -> None:
    """No file is included."""
    assert refused(text, "libmemcached").startswith(expected)


LITERALS = [
    (
        "[__import__('os').system('touch HERE')]",
        "f:1: Call is not a literal, and nothing is run",
    ),
    ("[\nHOST]", "f:2: Name is not a literal, and nothing is run"),
    ("[f'{x}']", "f:1: JoinedStr is not a literal"),
    ("import os", "f: must be one literal, or assign CACHES"),
    ("a = 1\nb = 2", "f: must be one literal, or assign CACHES"),
    ("CACHES['x'] = ['a:1']\nb = 2", "f: must be one literal"),
    ("[('a', 1", "f:1: invalid literal: "),
    ("[]", "f:"),
    ("5", "f: invalid server: must be 'host:port', (host, port)"),
    ("[1]", "f: invalid server: must be 'host:port'"),
    ("[null]", "f: invalid server: must be"),
    ("[\n('a', 1),\n('b', True)]", "f:3: invalid server: must be"),
    ("[\n('b', 1.5)]", "f:2: invalid server: must be"),
    ("[('b', -1)]", "f:1: invalid server: must be"),
    ("[('a', 1, 2, 3)]", "f:1: invalid server: must be"),
    ("['a:1 b c']", "f:1: invalid server: must be"),
    ("[b'a:1']", "f:1: invalid server: must be"),
    ("['a:1\\n6.6.6.6:1']", "f:1: "),
    ("['a:1 x\\nb:2']", r'f:1: invalid name "x\x0ab:2": must not contain blanks'),
    ('["\\ud800:1"]', "f: "),
    ('["a:1 \\ud800"]', r"f: invalid name '\ud800': lone surrogates"),
    ('["\\ufeffa:1"]', r"f: a server file cannot begin with the address '\ufeffa:1'"),
    ("[('a', 10**9)]", "f:1: "),
    ("{'a': {'LOCATION': ['a:1']}, 'b': {'LOCATION': ['a:1']}}", "f:1: invalid server: must"),
    ("{'LOCATION': os.environ['X']}", "f:1: Subscript is not a literal"),
    ("{x: 1}", "f:1: Dict is not a literal"),
    ("{**x}", "f:1: Dict is not a literal"),
    ("[" * 100_000, "f: nested too deeply"),
    ("[('a', 1)," * 10_000, "f: too large for Python: more than 65536 characters; write JSON"),
    ("9" * 10_000, "f:"),
]


@pytest.mark.parametrize(("text", "expected"), LITERALS)
def test_literals(text: str, expected: str) -> None:
    """Nothing is run, and what is not a literal is an error."""
    assert refused(text, "literal").startswith(expected)


LISTS = [
    ("a:1 600", "f:1: invalid server '600': must be host:port or host:port:weight; is this"),
    ("a:1\n::1:11211:3", "f:2: invalid server '::1:11211:3': must be host:port or "),
    ("a:1:2:3", "f:1: invalid server 'a:1:2:3'"),
    ("a:", "f:1: invalid server 'a:'"),
    ("a=b", "f:1: invalid server 'a=b'"),
    ("# nothing", "f: no servers"),
    ("a:1:0", "f: no servers"),
    ("a:1:9999999999999999999999", "f:1: invalid weight"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), LISTS)
def test_lists(text: str, expected: str) -> None:
    """Each word must be a server."""
    assert refused(text, "list").startswith(expected)


@pytest.mark.parametrize("format_", [None, *FORMATS])
def test_no_text(format_: str | None) -> None:
    """Binary files and huge ones are refused at once."""
    assert refused(b"a:1\n\xff\xfe\x00", format_) == "f:2: not UTF-8 text"
    assert refused(b"a:1\n\0", format_) == "f:2: not text: has a NUL byte"
    assert (
        refused(b"a" * (SIZE_MAX + 1), format_) == f"f: too large: more than {SIZE_MAX} bytes"
    )
    assert refused(b"", format_).startswith("f: ")


@pytest.mark.parametrize("format_", ["libmemcached", "literal", "list"])
def test_a_pool_of_a_format_without(format_: str) -> None:
    """A pool that cannot be there is an error, and not passed over."""
    text = {"libmemcached": "--SERVER=a:1", "literal": '["a:1"]', "list": "a:1"}[format_]
    assert refused(text, format_, "x") == "f: no pool 'x': this format has one list"


def test_an_unknown_pool() -> None:
    """The error lists those that are there."""
    text = "a: {servers: ['a:1:1']}\nb: {servers: ['a:1:1']}\n"
    assert refused(text, "twemproxy", "c") == "f: no pool 'c': choose one of a, b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "hello, world",
            "f: unknown format: choose one with --format: twemproxy, libmemcached",
        ),
        ("10.0.0.1:11211 600\n", "f: unknown format: "),
        ("upstream u {\n}\np:\n  servers:\n", "f: may be twemproxy or nginx: choose one with"),
    ],
)
def test_no_format(text: str, expected: str) -> None:
    """A format is not guessed: a server file of ours, or prose, matches none."""
    assert refused(text).startswith(expected)


def test_nothing_is_run(tmp_path: Path) -> None:
    """Those configurations that would, wrote no file."""
    texts = [text for text, _ in TWEMPROXY + LITERALS if "HERE" in text]
    assert len(texts) == 2
    path = tmp_path / "written"
    for text in texts:
        for format_ in FORMATS:
            refused(text.replace("HERE", str(path)), format_)
    assert not path.exists()


PARTS = [
    "p:", "servers:", "\n", "  ", "- ", "a:1:1", " name", "hash: ", "{", "}", "[", "]", "(",
    ")", "upstream u ", "server a", ";", "include x;", "hash $k consistent;", "weight=", "2",
    "0", "-1", "--SERVER=", "--SOCKET=", "--DISTRIBUTION=consistent", '"', "'", "/?", ",", ":",
    "CACHES = ", "\\", "#", "&a ", "*a", "!!t ", "|", "\ufeff", "\x1b", "\u2028", "LOCATION",
    "content_by_lua_block {", "{'LOCATION': ", "True", "null", "\t", "\r", "é",
]  # fmt: skip


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=30).map("".join),
    st.sampled_from([None, *FORMATS]),
)
def test_any_text(text: str, format_: str | None) -> None:
    """Whatever the text is, it is imported and can be opened, or one error says why not."""
    said = ""
    try:
        made = import_servers(text.encode(errors="replace"), "f", format=format_)
        assert len(continuum_of_text(made.text, "made").servers) == len(made.servers)
    except ketama.ServersError as error:
        said = str(error)
    assert "\n" not in said


def test_no_temporary_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nginx's parser cannot be given a file, that is the error."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(ketama.KetamaOSError) as caught:
        import_servers(b"upstream u { server a; }", "f", format="nginx")
    assert caught.value.filename == "f"
    assert "cannot copy it to a temporary directory: No such file" in str(caught.value)


def test_nesting_in_a_small_stack() -> None:
    """However deep, it is an error: the interpreter does not crash."""
    deep = [
        "[" * 500_000,
        "{a: " * 10_000,
        "-" * 65_000 + "1",
        "not " * 16_000 + "1",
        "1" + "+1" * 32_000,
        "a" + ".b" * 32_000,
        "a" + "()" * 32_000,
    ]
    program = (
        "import sys, ketama\n"
        "from ketama.admin.imports import import_servers\n"
        "for text in sys.stdin.read().split(chr(10)):\n"
        "    for format in ('twemproxy', 'literal', 'nginx'):\n"
        "        try: import_servers(text.encode(), 'f', format=format)\n"
        "        except ketama.ServersError as error: print(str(error)[:60])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="\n".join(deep).encode(),
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, 8 << 20)),
    )
    assert (done.returncode, done.stderr.decode()[-500:]) == (0, "")
    assert len(done.stdout.splitlines()) == 3 * len(deep)
