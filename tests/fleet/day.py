"""A day of a fleet: three members of etcd, 20 machines, and what their operator sees.

Run by `make fleet`. Everything is real, and ends with it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from command import COMMAND
from needs import need
from waiting import wait_for

from fleet.etcd import Cluster, running
from fleet.machines import Machine, following
from ketama import fleet
from ketama.fleet import Store

MACHINES = 20
SERVERS = "".join(f"10.0.0.{i}:11211 600\n" for i in range(1, 9))


class Day:
    """What happens, and what is printed of it."""

    def __init__(self, folder: Path, cluster: Cluster, machines: list[Machine]) -> None:
        self.folder, self.cluster, self.machines = folder, cluster, machines
        self.url = cluster.url()
        self.store = Store(self.url)

    def says(self, what: str) -> None:
        """Print what happens."""
        print(f"\n### {what}", flush=True)

    def ketama(self, command: str, code: int = 0) -> None:
        """Run a command as the operator, who has $URL in the environment."""
        print(f"$ ketama {command}", flush=True)
        words = command.replace("$URL", self.url).split()
        done = subprocess.run([*COMMAND, *words], cwd=self.folder, capture_output=True)
        shown = (done.stderr + done.stdout).decode().replace(self.url, "$URL")
        print(shown.rstrip(), flush=True)
        if done.returncode:
            print(f"[exit code {done.returncode}]", flush=True)
        if done.returncode != code:
            raise SystemExit(f"expected exit code {code}")

    def until(self, condition: Callable[[fleet.FleetStatus], bool]) -> None:
        """Wait until the fleet is as it must become; print how long that took."""
        begun = time.monotonic()

        def met() -> bool:
            try:
                return condition(fleet.status(self.store))
            except fleet.UnreachableError:
                return False

        wait_for(met)
        print(f"(after {time.monotonic() - begun:.1f} s)", flush=True)

    def until_ok(self) -> None:
        """Wait until all machines have the list."""
        self.until(lambda found: found.is_ok(MACHINES))

    def nodes(self) -> list[int]:
        """Return what changes if a machine's file is replaced."""
        return [machine.file.stat().st_ino for machine in self.machines]


def states(found: fleet.FleetStatus, state: str) -> int:
    """Return how many machines are in a state."""
    return sum(machine.state == state for machine in found.machines)


def live(day: Day) -> None:
    """Go through the day."""
    day.says("08:00  the list is pushed for the first time")
    (day.folder / "shop.servers").write_text(SERVERS)
    day.ketama("push shop.servers $URL")
    day.until_ok()
    day.ketama(f"fleet --expect {MACHINES} $URL")

    day.says("10:00  a server is added; then too much would move")
    day.ketama("add --max-moved 20% $URL 10.0.0.9:11211 600")
    day.until_ok()
    day.ketama("add --max-moved 20% $URL 10.0.0.10:11211 6000", code=1)

    day.says("11:00  a stale file is pushed")
    path = day.folder / "shop.servers"
    path.write_text(path.read_text() + "10.0.0.11:11211 600\n")
    day.ketama("push shop.servers $URL", code=1)
    day.ketama("pull --force $URL shop.servers")

    day.says("12:00  web07 is edited by hand")
    edited = day.machines[7]
    edited.file.write_bytes(edited.text.replace(b"10.0.0.9:11211 600\n", b""))
    day.until(lambda found: states(found, "edited") == 1)
    day.ketama(f"fleet --expect {MACHINES} $URL", code=1)

    day.says("13:00  a member of etcd is killed; a push goes on, and ends the edit")
    day.cluster.members[0].kill()
    day.ketama("weight $URL 10.0.0.9:11211 500")
    day.until_ok()
    day.cluster.members[0].start(day.cluster.peers)
    day.cluster.wait()

    day.says("15:00  a push is prepared, and a new server is not there")
    day.ketama("pull $URL shop.servers")
    path.write_text(path.read_text() + "127.0.0.1:1 600\n")
    day.ketama(f"push --prepare --expect {MACHINES} --timeout 5 shop.servers $URL", code=1)
    day.until_ok()
    day.ketama("pull --force $URL shop.servers")

    day.says("16:00  etcd is saved; then two more changes")
    saved = day.folder / "saved"
    day.cluster.ctl("snapshot", "save", str(saved), member=day.cluster.members[1])
    day.ketama("remove $URL 10.0.0.1:11211")
    day.ketama("add $URL 10.0.0.12:11211 600")
    day.until_ok()
    day.ketama("pull $URL shop.servers")

    day.says("18:00  all of etcd's data is lost; no machine's file changes")
    nodes = day.nodes()
    day.cluster.kill()
    day.cluster.wipe()
    day.cluster.start()
    day.until(lambda found: states(found, "ahead") == MACHINES)
    day.ketama(f"fleet --expect {MACHINES} $URL", code=1)
    if day.nodes() != nodes:
        raise SystemExit("a file was replaced")

    day.says("19:00  etcd is restored from 16:00; the machines are ahead of it")
    day.cluster.kill()
    day.cluster.wipe()
    restore(day.cluster, saved)
    day.cluster.start()
    day.until(lambda found: bool(found.version) and states(found, "ahead") == MACHINES)
    day.ketama(f"fleet --expect {MACHINES} $URL", code=1)
    if day.nodes() != nodes:
        raise SystemExit("a file was replaced")
    day.ketama("push shop.servers $URL")
    day.until_ok()
    day.ketama(f"fleet --expect {MACHINES} $URL")

    day.says("20:00  the last change is taken back")
    day.ketama("rollback --dry-run $URL")


def restore(cluster: Cluster, saved: Path) -> None:
    """Make a snapshot the data of all members."""
    for member in cluster.members:
        command = [need("etcdctl"), "snapshot", "restore", str(saved), f"--name={member.name}"]
        command += [f"--data-dir={member.folder}", f"--initial-cluster={cluster.peers}"]
        command += [f"--initial-advertise-peer-urls={member.peer}"]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        subprocess.run(command, check=True, capture_output=True, env=environment)


def main() -> None:
    """Make a fleet, and go through its day."""
    with tempfile.TemporaryDirectory(prefix="ketama-fleet-") as made:
        folder = Path(made)
        os.environ["KETAMA_SHM_DIR"] = made
        engine = folder / "etcd"
        engine.mkdir()
        with running(engine, 3) as cluster:
            names = [f"web{i:02}" for i in range(MACHINES)]
            with following(folder, cluster.url(), names) as machines:
                live(Day(folder, cluster, machines))


if __name__ == "__main__":
    main()
