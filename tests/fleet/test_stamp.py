"""The first line by which a file proves its version."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketama.admin.dialect import options_in, stated_in
from ketama.continuum import continuum_of_text
from ketama.fleet import RefusedError
from ketama.fleet.stamp import accept, next_version, read_stamp, stamped

BODY = b"10.0.0.1:11211 600\n10.0.0.2:11211 600\n"


def test_a_stamped_list_proves_its_version() -> None:
    text = stamped(BODY, "shop", 202611245334335)
    digits = hashlib.sha256(BODY).hexdigest()[:16]
    assert text == (
        f"#ketama domain=shop version=202611245334335 sha256={digits}\n".encode() + BODY
    )
    stamp = accept(text, "shop")
    assert (stamp.domain, stamp.version, stamp.genuine) == ("shop", 202611245334335, True)
    assert stamp.content == read_stamp(BODY).content


def test_a_version_of_too_many_digits_is_none() -> None:
    for digits in (19, 5000):
        text = stamped(BODY, "shop", 5).replace(b"version=5", b"version=" + b"9" * digits)
        assert read_stamp(text).version == 0
        with pytest.raises(RefusedError):
            accept(text, "shop")
    with pytest.raises(RefusedError, match="too large"):
        stamped(BODY, "shop", 10**18)


def test_the_profile_that_a_file_states_is_kept() -> None:
    text = b'\xef\xbb\xbf#ketama seed="a \\"b" profile=memcached-proxy\r\n' + BODY
    once = stamped(text, "shop", 5)
    assert re.match(
        rb"#ketama domain=shop version=5 sha256=\w{16} "
        rb'seed="a \\"b" profile=memcached-proxy\n10',
        once,
    )
    assert accept(once, "shop").options == {"seed": 'a "b', "profile": "memcached-proxy"}
    twice = stamped(once, "shop", 6)
    assert twice == once.replace(b"version=5", b"version=6")


@pytest.mark.parametrize("value", [r"a\b", 'a"b', r'"a\b\"\\ c"', "ä"])
def test_values_are_read_as_libketama_reads_them(value: str) -> None:
    """Otherwise a list that is pushed would hash keys as another one."""
    text = f"#ketama profile=evcache delimiter={value}\n".encode() + BODY
    before, after = (continuum_of_text(some, "") for some in (text, stamped(text, "shop", 5)))
    assert before._settings == after._settings
    assert options_in(before._settings) == read_stamp(text).options


@given(st.text(alphabet='ab\\" \t', min_size=1, max_size=12))
def test_any_value_is_read_as_libketama_reads_it(value: str) -> None:
    text = f"#ketama profile=evcache delimiter={value}\n".encode() + BODY
    settings, _ = stated_in(text)
    if settings:
        assert options_in(settings) == read_stamp(text).options


def test_versions_rise_whatever_the_clock_says() -> None:
    now = next_version()
    assert 10**14 < now < 10**15
    assert now <= next_version(3)
    assert next_version(now + 10**9, 7) == now + 10**9 + 1
    with pytest.raises(RefusedError, match="too large"):
        stamped(BODY, "shop", next_version(10**18 - 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "the list is empty"),
        (BODY, "does not state"),
        (b"#ketama domain=shop\n" + BODY, "does not state"),
        (b"#ketama domain=shop version=5\n" + BODY, "checksum"),
        (stamped(BODY, "other", 5), "for domain other, not shop"),
        (stamped(BODY, "shop", 5)[:-1], "checksum"),
        (stamped(BODY, "shop", 5) + b"\n", "checksum"),
        (stamped(b"garbage\n", "shop", 5), "line 2: "),
        (stamped(b"# none\n", "shop", 5), "server"),
        (stamped(b"#ketama hash=nope\n" + BODY, "shop", 5), "line 1: "),
        (b"\x00\xff" * 50, "does not state"),
    ],
)
def test_what_is_not_a_list_of_the_fleet_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(RefusedError) as raised:
        accept(text, "shop")
    assert reason in str(raised.value)


def test_libketama_accepts_what_is_stamped() -> None:
    text = stamped(b"#ketama profile=twemproxy hash=md5\n" + BODY, "shop", 5)
    assert continuum_of_text(text, "x")._settings == b"profile=twemproxy hash=md5"
