"""The fleet of a day: its list, its processes, and what is printed of them."""

from __future__ import annotations

import itertools
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from comet.processes import Process, free_addresses, wait_for
from comet.protocol import keys
from ketama import Continuum, fleet

GATEWAYS = 2
PATIENCE = 30  # seconds without an acknowledgement, after which the open messages are lost
NODES_CHECK = 0.5  # seconds, after which nodes check the list


class Day:
    """What there is: a list in `store`, nodes by address, gateways, a publisher."""

    def __init__(
        self, stack: ExitStack, folder: Path, store: fleet.Store, options: Namespace
    ) -> None:
        self.stack, self.folder, self.store, self.options = stack, folder, store, options
        self.numbers = itertools.count()
        self.users = options.users
        names = enumerate(free_addresses(8), 1)
        text = "".join(f"{address} 100 node{number}\n" for number, address in names)
        path = folder / "pushed"  # a copy of what is given, as a push writes its version to it
        path.write_text(options.servers.read_text() if options.servers else text)
        fleet.push(path, store)
        self.addresses = Continuum(path, shared=False).addresses
        self.nodes: dict[str, Process] = {}

    def begin(self) -> None:
        """Start all processes, and wait until all users are connected."""
        began = time.monotonic()
        for address in self.addresses:
            self.start_node(address)
        late, users = self.options.late, self.users
        numbers = range(1, GATEWAYS + 1)
        self.gateways = [self.start("gateway", late, n, GATEWAYS, users) for n in numbers]
        ignore = ["ignore"] if self.options.ignore_not_owner else []
        self.publisher = self.start("publisher", late, users, self.options.rate, *ignore)
        wait_for(lambda: self.all_connected(self.addresses))
        seconds = time.monotonic() - began
        print(f"{users:,} users are connected to {len(self.nodes)} nodes", end=" ")
        print(f"through {GATEWAYS} gateways, {seconds:.1f} s after these were started")

    def start(self, module: str, *arguments: object) -> Process:
        """Start a process, which follows a server file of its own."""
        file = self.folder / f"{module}-{next(self.numbers)}.servers"
        fleet.pull(self.store, file)
        process = Process(module, self.store.url.text, file, *arguments)
        self.stack.callback(process.kill)
        return process

    def start_node(self, address: str) -> None:
        """Start a node, which owns nobody until it is in the list."""
        self.nodes[address] = self.start("node", NODES_CHECK, address)

    def all_connected(self, addresses: tuple[str, ...]) -> bool:
        """Return whether all users are connected to their nodes, by a list of these."""
        reports = [node.ask() for node in self.nodes.values()]
        users = sum(report["users"] for report in reports)
        lists = [report["servers"] for report in reports]
        return users == self.users and all(each == sorted(addresses) for each in lists)

    def connects(self) -> Counter[str]:
        """Return how many times users have connected to each node that is there."""
        return Counter({name: node.ask()["connects"] for name, node in self.nodes.items()})

    def traffic(self) -> None:
        """Let a sixth of all messages pass."""
        count = self.publisher.ask()["acknowledged"] + self.options.messages // 6
        wait_for(lambda: self.publisher.ask()["acknowledged"] >= count)

    def change(self, do: Callable[[fleet.FleetEdit], None]) -> None:
        """Change the list under traffic; print what users and messages go through."""
        messages, connects = self.publisher.ask(), self.connects()
        with fleet.edit(self.store) as servers:
            do(servers)
            pushed = time.monotonic()
        wait_for(lambda: self.all_connected(servers.after.addresses))
        seconds = time.monotonic() - pushed
        now, moved = self.publisher.ask(), (self.connects() - connects).total()
        expected, share = self.expected(servers.before or servers.after, servers.after)
        print(f"  {moved:,} users reconnected, {moved / self.users:.2%} of all")
        print(f"  expected: {expected:,}, as {share:.2%} of all hashes have another node now")
        print(f"  all users were at their new nodes {seconds:.1f} s after the list was pushed")
        counts = [now[name] - messages[name] for name in ("acknowledged", "resent")]
        print("  meanwhile {:,} messages were acknowledged, {:,} sent again".format(*counts))

    def expected(self, before: Continuum, after: Continuum) -> tuple[int, float]:
        """Return how many users get another node, and the share of all hashes that do."""
        users = keys(range(self.users))
        owners = zip(before.lookup_many(users), after.lookup_many(users), strict=True)
        return sum(old != new for old, new in owners), before.diff(after).moved

    def end(self) -> bool:
        """Wait until no message is on its way; return whether all came, and in order."""
        sent, changed = self.publisher.ask("stop"), time.monotonic()
        while sent["open"] and time.monotonic() < changed + PATIENCE:
            time.sleep(0.05)
            before, sent = sent, self.publisher.ask("stop")
            changed = changed if before["open"] == sent["open"] else time.monotonic()
        reports = [gateway.ask() for gateway in self.gateways]
        users = {name: sum(report[name] for report in reports) for name in reports[0]}
        lost = sent["published"] - users["received"]
        print(f"\nmessages: {sent['published']:,}")
        print(f"acknowledged: {sent['acknowledged']:,}")
        print(f"sent again: {sent['resent']:,}")
        print(f"came twice, which users see by the number: {users['repeated']:,}")
        print(f"lost: {lost:,}")
        print(f"out of order, or without the one before: {users['out_of_order']:,}")
        return not lost and not users["out_of_order"]
