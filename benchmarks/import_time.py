"""Measure what `import ketama` adds to the start of an interpreter: make bench.

And what the backend of Django adds to that of Django itself, which imports it anyway.
"""

from __future__ import annotations

import sys

import pyperf

# What Django imports for its own backend of pymemcache.
DJANGO = "import django.core.cache.backends.memcached, pymemcache.serde"


def main() -> None:
    """Measure fresh interpreters, from start to exit."""
    runner = pyperf.Runner()
    results = [
        (name, runner.bench_command(name, [sys.executable, "-c", program]))
        for name, program in (
            ("python -c pass", "pass"),
            ("python -c 'import ketama'", "import ketama"),
            ("python -c 'import typing'", "import typing"),
            ("Django's PyMemcacheCache", DJANGO),
            ("ketama.clients.django", "import ketama.clients.django"),
        )
    ]
    if runner.args.worker:
        return
    base = results[0][1].mean()
    print(f"\n{'':<34}{'ms':>6}{'over a bare one':>20}")
    for name, result in results:
        print(f"{name:<34}{1e3 * result.mean():>6.1f}{1e3 * (result.mean() - base):>20.1f}")


if __name__ == "__main__":
    main()
