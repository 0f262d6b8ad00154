"""A URL wherever a command takes FILE."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import (
    as_json,
    complaint_of,
    fits_schema,
    line_of,
    refusal,
    run,
    text,
    watching,
)

from fleet.etcd import Cluster
from ketama import fleet
from ketama.fleet import Store
from ketama.fleet.stamp import accept

PROCESSES, EDITS = 8, 12


@pytest.fixture
def pushed(store: Store, listed: Path) -> Path:
    """A list that the fleet has."""
    fleet.push(listed, store)
    return listed


def body(store: Store) -> str:
    servers = store.read().servers
    assert servers is not None
    return accept(servers, store.domain).body.decode()


def test_commands_that_read(url: str, pushed: Path, tmp_path: Path) -> None:
    for command in (
        ["where", url, "user:42"],
        ["dump", url],
        ["agree", url, "--profile=libmemcached", "--profile=dalli"],
    ):
        of_file = [str(pushed) if word == url else word for word in command]
        ours, theirs = run(*command), run(*of_file)
        assert ours.returncode == theirs.returncode
        assert ours.stdout == theirs.stdout.replace(str(pushed).encode(), url.encode())
        assert ours.stdout
    shown = fits_schema("show", as_json("show", url))
    assert (shown["file"], len(shown["servers"]), shown["changed"]) == (url, 2, None)
    assert text("show", url)
    assert text("check", url).endswith(f"{url}: ok: 2 servers, 2 notes\n")
    assert fits_schema("live", as_json("live", url))["file"] == url
    pushed.write_bytes(pushed.read_bytes() + b"10.0.0.3:11211 600\n")
    found = fits_schema("diff", as_json("diff", url, pushed))
    assert (found["old"], found["added"]) == (url, ["10.0.0.3:11211"])
    picture = tmp_path / "moves.svg"
    assert run("plot", url, pushed, "-o", picture).returncode == 0
    assert picture.stat().st_size > 0


def test_watch(three: Cluster, listed: Path) -> None:
    """A list that is wrong, or cannot be read, is reported once, and watched on."""
    url = three.url()
    store = Store(url)
    fleet.push(listed, store)
    with watching(url) as process:
        version = as_json("add", url, "10.0.0.3:11211", "600")["version"]
        line = line_of(process)
        assert f"   version {version}   3 servers   moved " in line
        assert line.endswith("   +10.0.0.3:11211")
        good = store.read().servers or b""
        three.ctl("put", f"/ketama/{store.domain}/servers", "a:1 100")
        kept = "; keeping the last valid version"
        reason = "its first line does not state domain, version and sha256"
        assert complaint_of(process) == f"ketama: {url}: {reason}{kept}"
        time.sleep(2.5)  # in which it could be said once more
        three.ctl("put", f"/ketama/{store.domain}/servers", stdin=good)
        three.kill()
        assert complaint_of(process).endswith(f"Connection refused{kept}")
        time.sleep(2.5)
        three.start()
        text("remove", url, "10.0.0.3:11211")
        assert line_of(process).endswith("   -10.0.0.3:11211")
        three.ctl("del", f"/ketama/{store.domain}/servers")
        assert f"the fleet has no list yet: run 'ketama push FILE {url}'" in complaint_of(
            process
        )
    store.close()


@pytest.mark.usefixtures("pushed")
def test_watch_executes(url: str) -> None:
    """The command and the document of a change have the version."""
    show = 'echo "$KETAMA_FILE $KETAMA_GENERATION"'
    with watching("--json", url, "--exec", show) as process:
        version = as_json("weight", url, "10.0.0.1:11211", "300")["version"]
        found = fits_schema("watch", json.loads(line_of(process)))
        assert (found["file"], found["generation"]) == (url, version)
        assert found["diff"]["changed"] == ["10.0.0.1:11211"]
        assert line_of(process) == f"{url} {version}"


def test_watch_needs_a_list(url: str) -> None:
    assert "the fleet has no list yet" in refusal(3, "watch", url)


def test_commands_that_edit(url: str, store: Store, pushed: Path, tmp_path: Path) -> None:
    before = accept(pushed.read_bytes(), store.domain).version
    found = fits_schema("edit", as_json("add", url, "10.0.0.3:11211", "600"))
    assert (found["file"], found["written"], found["published"]) == (url, True, False)
    assert found["version"] > before
    assert body(store).endswith("10.0.0.3:11211 600\n")
    shown = text("weight", url, "10.0.0.3:11211", "300")
    version = accept(store.read().servers or b"", store.domain).version
    assert shown.endswith(f"written for all machines of the fleet: version {version}\n")
    assert "already 300" in text("weight", url, "10.0.0.3:11211", "300")
    assert "dry run" in text("remove", "-n", url, "10.0.0.3:11211")
    assert accept(store.read().servers or b"", store.domain).version == version
    text("rename", url, "10.0.0.3:11211", "10.0.0.4:11211")
    assert body(store).endswith("10.0.0.4:11211 300   10.0.0.3:11211\n")
    text("remove", url, "10.0.0.4:11211")
    assert "limit of 1 %" in refusal(1, "add", "--max-moved=1%", url, "10.0.0.5:1", "600")
    new = tmp_path / "new"
    new.write_text("#ketama profile=twemproxy\n10.0.0.7:11211 600\n")
    text("apply", new, url)
    assert body(store) == "10.0.0.7:11211 600\n"
    assert accept(store.read().servers or b"", store.domain).options == {"profile": "twemproxy"}
    # And the file that was pulled before all that is stale.
    pushed.write_bytes(pushed.read_bytes() + b"10.0.0.8:11211 600\n")
    assert "was pulled at version" in refusal(1, "push", pushed, url)


def test_a_fleet_without_a_list(url: str, store: Store, listed: Path) -> None:
    for command in (["show", url], ["add", url, "10.0.0.1:1", "1"], ["diff", listed, url]):
        message = refusal(3, *command)
        assert message.startswith(
            f"ketama: {url}: the fleet has no list yet: run 'ketama push FILE {url}', if"
        )
    text("apply", listed, url)
    assert body(store) == listed.read_text()
    assert "invalid domain" in refusal(2, "show", "etcd://x/")


EDIT = """
import sys
from ketama.cli.app import run
url, number = sys.argv[1:]
for i in range({edits}):
    code = run(["add", url, f"10.1.{number}.{i}:11211", "600"])
    assert code == 0, code
""".replace("{edits}", str(EDITS))


def test_no_edit_of_many_at_once_is_lost(url: str, store: Store, pushed: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EDIT, url, str(number)],
            stdout=subprocess.DEVNULL,
            env=dict(os.environ),
        )
        for number in range(PROCESSES)
    ]
    assert [process.wait() for process in processes] == PROCESSES * [0]
    added = [line.split()[0] for line in body(store).splitlines()[2:]]
    assert sorted(added) == sorted(
        f"10.1.{number}.{i}:11211" for number in range(PROCESSES) for i in range(EDITS)
    )
