"""The URL of a fleet, and credentials."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from needs import need

from ketama import KetamaError, KetamaOSError
from ketama.fleet import Credentials, CredentialsError, Store, find_credentials
from ketama.fleet.url import parse_url


def test_the_parts_of_a_url() -> None:
    url = parse_url("etcd://a,b:1,[::1]:2,[fe80::1]/shop.eu-1")
    assert url.members == (("a", 2379), ("b", 1), ("[::1]", 2), ("[fe80::1]", 2379))
    assert (url.domain, url.tls) == ("shop.eu-1", False)
    assert parse_url("etcds://a/b").tls


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://a/b", "must be etcd://"),
        ("etcd://a", "invalid domain ''"),
        ("etcd://a/", "invalid domain ''"),
        ("etcd://a/.b", "invalid domain '.b'"),
        ("etcd://a/B", "invalid domain 'B'"),
        ("etcd://a/b/c", "invalid domain 'b/c'"),
        ("etcd://a/" + 64 * "x", "invalid domain"),
        ("etcd:///b", "invalid member ''"),
        ("etcd://a,,b/c", "invalid member ''"),
        ("etcd://a:0/b", "invalid member 'a:0'"),
        ("etcd://a:65536/b", "invalid member 'a:65536'"),
        ("etcd://user:secret@a/b", "list of processes"),
    ],
)
def test_an_invalid_url_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="invalid") as raised:
        Store(text, Credentials())
    assert reason in str(raised.value)
    assert "secret" not in str(raised.value)


def test_credentials_of_a_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_credentials() == Credentials()
    path = tmp_path / "etcd.ini"
    path.write_text("[etcd]\nuser = follower\npassword = 1%2\ncacert = /ca.pem\n")
    path.chmod(0o640)
    found = Credentials(user="follower", password="1%2", cacert="/ca.pem")
    assert find_credentials(path) == found
    monkeypatch.setenv("KETAMA_ETCD_CONFIG", str(path))
    assert find_credentials() == found
    monkeypatch.setenv("KETAMA_ETCD_PASSWORD", "other")
    assert find_credentials().password == "other"
    assert find_credentials().user == "follower"
    assert "other" not in repr(find_credentials())


def test_credentials_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "etcd.ini"
    with pytest.raises(KetamaOSError, match="No such file"):
        find_credentials(path)
    for text, reason in (
        ("user = x\n", "invalid credentials"),
        ("[other]\nuser = x\n", r"one section, \[etcd\]"),
        ("[etcd]\nusr = x\n", "unknown 'usr'"),
        (
            "[etcd]\nuser = x\n",
            "user and no password: set KETAMA_ETCD_PASSWORD, or password in",
        ),
        ("[etcd]\ncert = x\n", "cert and no key: set KETAMA_ETCD_KEY"),
        ("[etcd]\nuser = x\npassword = y\n", "chmod o-r"),
        ("[etcd]\nuser = x\nuser = y\n", r"etcd\.ini:3: .*: it is set already"),
        # What is wrong is not shown, because it may be the password.
        ("password = hunter2\n", r"etcd\.ini:1: .*: must be \[etcd\], and then lines"),
        ("[etcd]\npassword hunter2\n", r"etcd\.ini:2: .*lines NAME = VALUE"),
        ("[etcd]\npassword hunter2: \n", "unknown name: must be one of"),
    ):
        path.write_text(text)
        path.chmod(0o644)
        with pytest.raises(CredentialsError, match=reason) as raised:
            find_credentials(path)
        assert "hunter2" not in str(raised.value)
    path.write_bytes(b"[etcd]\nuser = \xff\n")
    with pytest.raises(CredentialsError, match="not UTF-8"):
        find_credentials(path)


def test_certificates_are_checked_before_they_are_needed(tmp_path: Path) -> None:
    openssl = need("openssl")
    new = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-subj", "/O=x", "-days", "2"]
    for name, options in (("a", ["-nodes"]), ("b", ["-nodes"]), ("c", ["-passout=pass:x"])):
        options = [*options, "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([*new, *options], cwd=tmp_path, check=True, capture_output=True)
    a, b, c = (str(tmp_path / name) for name in "abc")
    for credentials, reason in (
        (Credentials(cacert=a), f"No such file or directory: '{a}'"),
        (Credentials(cacert=f"{a}.key"), f"{a}.key: invalid certificate or key"),
        (Credentials(cert=f"{a}.pem", key=f"{b}.key"), "KEY_VALUES_MISMATCH"),
        # OpenSSL would ask for the password on the terminal, and a service would wait.
        (Credentials(cert=f"{c}.pem", key=f"{c}.key"), f"{c}.key: .*a password is needed"),
    ):
        with pytest.raises(KetamaError, match=reason):
            Store("etcds://127.0.0.1:1/shop", credentials)
    Store("etcds://127.0.0.1:1/shop", Credentials(f"{a}.pem", f"{a}.pem", f"{a}.key")).close()
