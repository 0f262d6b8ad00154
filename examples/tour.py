"""Show where keys live, and what a new server would move. Usage: tour.py SERVERFILE."""

from __future__ import annotations

import sys
import time

import ketama

KEYS = ["user:42", "session:9f86d081", "product/1234/price", "naïve café"]
SAMPLE = 100_000


def moved(before: list[str], after: list[str]) -> float:
    """Return the percentage of the sample whose server changed."""
    return 100 * sum(was != now for was, now in zip(before, after, strict=True)) / len(before)


def main(path: str) -> None:
    """Print the servers, where some keys live, and what a new server would move."""
    continuum = ketama.roll(path)
    servers = continuum.servers
    total = sum(server.weight for server in servers)

    print(f"{path}: {len(servers)} servers, {len(continuum.get_points())} points\n")
    print(f"{'server':<22}{'weight':>8}{'% of weight':>13}{'% of keys':>11}{'points':>8}")
    for server in servers:
        part, share = 100 * server.weight / total, 100 * server.share
        print(
            f"{server.address:<22}{server.weight:>8}{part:>13.2f}{share:>11.2f}{server.points:>8}"
        )

    print("\nkey                   its server")
    for key in KEYS:
        print(f"{key:<22}{continuum[key]}")

    print("\nthe same keys by server, for a get_multi")
    for address, keys in continuum.group_by_server(KEYS).items():
        print(f"{address:<22}{', '.join(keys)}")
    order = continuum.successors(KEYS[0], 3)
    print(f"\n{KEYS[0]} lives on {order[0]}; if that is down, on {', then '.join(order[1:])}")

    new = ("10.0.1.99:11211", total // len(servers))
    addresses = [server.address for server in servers]
    larger = ketama.Continuum([*servers, new])
    sample = [f"key-{number}" for number in range(SAMPLE)]
    begin = time.perf_counter()
    before = continuum.lookup_many(sample)
    seconds = time.perf_counter() - begin
    ring = moved(before, larger.lookup_many(sample))
    hashes = [ketama.hashi(key) for key in sample]
    modulo = moved(
        [addresses[h % len(addresses)] for h in hashes],
        [[*addresses, new[0]][h % (len(addresses) + 1)] for h in hashes],
    )
    print(f"\nAdding {new[0]} with weight {new[1]} would move, of {SAMPLE:,} keys:")
    print(f"  {ring:5.1f} %  with ketama (the new server has ", end="")
    print(f"{100 * new[1] / (total + new[1]):.1f} % of the weight)")
    print(f"  {modulo:5.1f} %  with hash(key) % number_of_servers")
    print(f"\nOne call looked up the {SAMPLE:,} keys in {1e3 * seconds:.1f} ms.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} SERVERFILE")
    try:
        main(sys.argv[1])
    except ketama.KetamaError as error:
        sys.exit(str(error))
