"""How fast a change of a fleet's list is on its machines, and what a follower costs.

Usage: etcd.py [--followers N] [--pushes N] [--idle SECONDS] [--watches N] [--buckets N]. It
starts an etcd of one member and real followers. With --watches, so many connections also watch
the member, as the followers of other machines would. With --buckets, the list is a map of so
many buckets; the connections watch the notices of its changes, and then the map itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fleet.etcd import Cluster, running
from fleet.machines import Machine, following

from ketama import fleet
from ketama.admin.buckets import new_map
from ketama.fleet.gateway import LINE_MAX, encode
from ketama.fleet.store import Store
from ketama.fleet.watch import spread_over

TICKS = os.sysconf("SC_CLK_TCK")
SERVERS = 100
LEASE = 30  # seconds, as by default
WORKER = """
import sys, time, ketama
continuum = ketama.Continuum(sys.argv[1], auto_roll=1.0)
while True:
    continuum.lookup("user:42")
    if continuum.addresses != getattr(sys, "before", None):
        sys.before = continuum.addresses
        print(time.monotonic_ns(), flush=True)
    time.sleep(0.001)
"""


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> tuple[float, float]:
    """Return all memory of a process, and what is its alone, MiB."""
    rows = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, _ = line.split()
        rows[name] = int(value) / 1024
    return rows["Rss:"], rows["Private_Clean:"] + rows["Private_Dirty:"]


def pid_of(machine: Machine) -> int:
    """Return the process id of a follower."""
    if machine.process is None:
        raise RuntimeError(f"{machine.name} does not run")
    return machine.process.pid


class Timed(Store):
    """A store that knows when its last list was sent, on the monotonic clock, seconds."""

    sent = 0.0

    def _write(self, *args: Any, **options: Any) -> int:
        self.sent = time.monotonic()
        return super()._write(*args, **options)


def edit(store: Store, number: int) -> bytes:
    """Push a change; return the new list."""
    with fleet.edit(store) as editing:
        editing.set_weight("10.0.0.1:11211", 100 + number)
    text = store.read().servers
    if text is None:
        raise RuntimeError("there is no list")
    return text


def wait_until_all_have(machines: list[Machine], before: dict[str, int]) -> list[float]:
    """Return when each machine's file was replaced, on the monotonic clock, seconds.

    It checks so seldom that it leaves the processors to the followers: every 0.2 ms for one
    file, every 10 ms for 50, so it may be as late as that.
    """
    waiting = {machine.name: machine for machine in machines}
    times = []
    while waiting:
        for name, machine in [*waiting.items()]:
            node = machine.file.stat().st_ino
            if node != before[name]:
                times.append(time.monotonic())
                del waiting[name]
        time.sleep(0.0002 * len(machines))
    return times


def nodes(machines: list[Machine]) -> dict[str, int]:
    """Return what changes when a file is replaced."""
    return {machine.name: machine.file.stat().st_ino for machine in machines}


def summary(what: str, seconds: list[float]) -> None:
    """Print percentiles."""
    cuts = quantiles(seconds, n=100)
    print(
        f"{what}: p50 {1000 * cuts[49]:.1f} ms, p99 {1000 * cuts[98]:.1f} ms, "
        f"max {1000 * max(seconds):.1f} ms ({len(seconds)} times)",
        flush=True,
    )


def measure_push(store: Timed, machines: list[Machine], pushes: int) -> None:
    """Measure from the moment when the list is sent to etcd to each file."""
    all_times, checks = [], []
    spent = sum(cpu_seconds(pid_of(machine)) for machine in machines)
    for number in range(pushes):
        before, begun = nodes(machines), time.monotonic()
        pushing = threading.Thread(target=edit, args=(store, number))
        pushing.start()
        times = wait_until_all_have(machines, before)
        pushing.join()
        all_times += [at - store.sent for at in times]
        checks.append(store.sent - begun)
        time.sleep(0.5)
    spent = sum(cpu_seconds(pid_of(machine)) for machine in machines) - spent
    summary("check before a push", checks)
    summary(f"push to file, {len(machines)} followers", all_times)
    print(f"CPU of a follower per push: {1000 * spent / pushes / len(machines):.1f} ms")


def measure_lookup(store: Timed, machine: Machine, pushes: int) -> None:
    """Measure from the moment when a list is sent to the lookup of a worker of its user."""
    command = [sys.executable, "-c", WORKER, str(machine.file)]
    times = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        for number in range(pushes):
            with fleet.edit(store) as editing:
                if number % 2:
                    editing.remove("10.9.9.9:11211")
                else:
                    editing.add("10.9.9.9:11211", 100)
            times.append(int(worker.stdout.readline()) / 1e9 - store.sent)
            time.sleep(0.05)
        worker.kill()
    summary("push to the lookup of a worker", times)


def measure_idle(machines: list[Machine], seconds: float) -> None:
    """Measure what followers take while nothing happens."""
    before = [cpu_seconds(pid_of(machine)) for machine in machines]
    time.sleep(seconds)
    after = [cpu_seconds(pid_of(machine)) for machine in machines]
    used = sum(after) - sum(before)
    print(f"CPU of an idle follower: {100 * used / seconds / len(machines):.3f} % of a core")
    total, private = memory(pid_of(machines[0]))
    print(f"memory of a follower: {total:.0f} MiB, {private:.0f} MiB its own", flush=True)


def request(path: str, body: dict[str, object]) -> bytes:
    """Return a request to etcd's gateway."""
    text = json.dumps(body)
    return f"POST {path} HTTP/1.0\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


async def read_list(host: str, port: int, key: str, most: float) -> None:
    """Read the list after a pause, as a follower does after a notice."""
    await asyncio.sleep(random.uniform(0, most))
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request("/v3/kv/range", {"key": key}))
    while await reader.read(LINE_MAX):
        pass
    writer.close()


async def watch_many(cluster: Cluster, store: Store, count: int, name: str) -> None:
    """Measure how long it takes until so many watches of a key have the list of a push."""
    host, digits = cluster.members[0].client.removeprefix("http://").split(":")
    port = int(digits)
    key = encode(f"/ketama/{store.domain}/{name}".encode())
    listed = encode(f"/ketama/{store.domain}/servers".encode())
    watch = request("/v3/watch", {"create_request": {"key": key}})
    size = len(store.read().servers or b"")
    spread = spread_over(size, count) if name == "changed" else 0.0
    readers = []

    async def begin() -> None:
        reader, writer = await asyncio.open_connection(host, port, limit=LINE_MAX)
        writer.write(watch)
        while b'"created":true' not in await reader.readline():
            pass
        readers.append((reader, writer))

    for start in range(0, count, 200):
        await asyncio.gather(*(begin() for _ in range(min(200, count - start))))

    async def hear(reader: asyncio.StreamReader) -> float:
        while b'"events"' not in await reader.readline():
            pass
        if name == "changed":
            await read_list(host, port, listed, spread)
        return time.monotonic()

    for number in range(5):
        tasks = [asyncio.create_task(hear(reader)) for reader, _ in readers]
        begun = time.monotonic()
        await asyncio.to_thread(edit, store, 1000 + number)
        times = [at - begun for at in await asyncio.gather(*tasks)]
        summary(f"push to {count} watches of {name}, {size} bytes", times)
        await asyncio.sleep(0.5)
    process = cluster.members[0].process
    if process is not None:
        print(
            f"etcd with {count} watches of {name}: {memory(process.pid)[0]:.0f} MiB", flush=True
        )
    for _, writer in readers:
        writer.close()


def main() -> None:
    """Start everything, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--followers", type=int, default=50)
    parser.add_argument("--pushes", type=int, default=40)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--watches", type=int, default=0)
    parser.add_argument("--buckets", type=int)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with (
        tempfile.TemporaryDirectory(prefix="ketama-etcd-") as made,
        tempfile.TemporaryDirectory(prefix="ketama-etcd-", dir="/dev/shm") as images,
    ):
        folder = Path(made)
        os.environ["KETAMA_SHM_DIR"] = images
        with running(folder / "etcd", 1) as cluster:
            store = Timed(cluster.url())
            listed = folder / "shop.servers"
            listed.write_text("".join(f"10.0.0.{i}:11211 600\n" for i in range(1, SERVERS + 1)))
            if options.buckets:
                listed.write_bytes(new_map(listed, buckets=options.buckets))
            fleet.push(listed, store)
            names = [f"web{i:03}" for i in range(options.followers)]
            if options.watches:
                for name in ("changed", "servers") if options.buckets else ("servers",):
                    asyncio.run(watch_many(cluster, store, options.watches, name))
            with following(folder, store.url.text, names, LEASE) as machines:
                while any(not machine.text for machine in machines):
                    time.sleep(0.1)
                for machine in machines[1:]:
                    machine.end()
                measure_push(store, machines[:1], options.pushes)
                measure_lookup(store, machines[0], options.pushes)
                for machine in machines[1:]:
                    machine.start()
                while len(store.clients()) < len(machines):
                    time.sleep(0.1)
                time.sleep(3)
                measure_push(store, machines, options.pushes)
                measure_idle(machines, options.idle)


if __name__ == "__main__":
    main()
