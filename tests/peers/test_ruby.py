"""Dalli's ring, in Ruby."""

from __future__ import annotations

import subprocess

import pytest
from needs import lacking, need

from peers.programs import PROGRAMS, check
from peers.questions import Form, host_name, ipv4, ipv6, unix_socket

pytestmark = pytest.mark.xdist_group("peers")


def test_dalli() -> None:
    """Dalli::Client's ring; of servers that share a point, its sort leaves any as the last."""
    ruby = need("ruby")
    if subprocess.run([ruby, "-e", "require 'dalli'"], capture_output=True).returncode != 0:
        lacking("dalli is not installed")
    form = Form([ipv4, ipv6, host_name, unix_socket])
    check([ruby, PROGRAMS / "dalli.rb"], form, "dalli", by_chance=True)
