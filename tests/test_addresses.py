"""Server addresses, split into host and port."""

from __future__ import annotations

import pytest

from ketama.addresses import Address, find_address, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:11211", Address("10.0.0.1", 11211)),
        ("10.0.0.1", Address("10.0.0.1")),
        ("cache1", Address("cache1")),
        ("cache1:1", Address("cache1", 1)),
        ("cache1:65535", Address("cache1", 65535)),
        ("cache1:011", Address("cache1", 11)),
        ("käse:11211", Address("käse", 11211)),
        ("shop/10.0.0.1:11211", Address("shop/10.0.0.1", 11211)),
        ("[::1]:11211", Address("::1", 11211)),
        ("[::1]", Address("::1")),
        ("::1", Address("::1")),
        ("::", Address("::")),
        ("2001:db8::1", Address("2001:db8::1")),
        ("fe80::1%eth0", Address("fe80::1%eth0")),
        ("::ffff:10.0.0.1", Address("::ffff:10.0.0.1")),
        # Not an IPv6 address as a whole, so the last number is the port.
        ("::1:11211", Address("::1", 11211)),
        ("2001:db8:0:0:0:0:0:1:11211", Address("2001:db8:0:0:0:0:0:1", 11211)),
        ("/run/memcached.sock", Address("", None, "/run/memcached.sock")),
        ("/run/a:b", Address("", None, "/run/a:b")),
        ("unix:/run/memcached.sock", Address("", None, "/run/memcached.sock")),
        ("unix:11211", Address("unix", 11211)),
        ("", Address("")),
    ],
)
def test_addresses(text: str, expected: Address) -> None:
    """Hosts lose their brackets, sockets have a path, and an IPv6 address is not cut."""
    assert parse_address(text) == find_address(text) == expected


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("a:", ""), ("a:0", "0"), ("a:65536", "65536"), ("a:1e3", "1e3"), ("a:-1", "-1"),
        ("a:²", "\\xb2"), ("a:٣", "\\u0663"), ("[::1]:", ""), ("a:b:c", "c"),
        ("a:112111", "112111"), ("a:1\0", "1\\x00"), ("shop/10.0.0.1:x", "x"),
    ],
)  # fmt: skip
def test_invalid_ports(text: str, port: str) -> None:
    """The message quotes the port and says what is allowed."""
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert str(caught.value) == f"invalid port '{port}': must be 1-65535"
    assert find_address(text) is None


def test_a_port_of_many_digits() -> None:
    """A long port is cut short in the message, and never converted."""
    with pytest.raises(ValueError, match=r"^invalid port '9{79}: must be 1-65535$"):
        parse_address("a:" + "9" * 5000)


def test_brackets() -> None:
    """Brackets must be closed, and only a port may follow."""
    with pytest.raises(ValueError, match=r"^missing '\]' in '\[::1:11211'$"):
        parse_address("[::1:11211")
    with pytest.raises(ValueError, match=r"^unexpected 'x' after '\]'$"):
        parse_address("[::1]x")
