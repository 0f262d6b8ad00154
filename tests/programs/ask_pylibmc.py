"""Answers the questions that peers/programs.py describes, by pylibmc.

Usage: ask_pylibmc.py BEHAVIOR, such as ketama_weighted.
"""

from __future__ import annotations

import importlib
import sys


def server_text(line: str) -> str:
    host, port, weight, _ = line.split("\t")
    return f"[{host}]:{port}:{weight}" if ":" in host else f"{host}:{port}:{weight}"


def main(behavior: str) -> None:
    """Answer all questions on standard input."""
    pylibmc = importlib.import_module("pylibmc")  # which has no types
    paragraphs = sys.stdin.buffer.read().decode().split("\n\n")[:-1]
    for servers, keys in zip(paragraphs[::2], paragraphs[1::2], strict=True):
        listed = [server_text(line) for line in servers.split("\n")]
        client = pylibmc.Client(listed, behaviors={behavior: True})
        for key in keys.split("\n"):
            print(client.hash(key))


if __name__ == "__main__":
    main(sys.argv[1])
