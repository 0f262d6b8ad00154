"""Measure what `import ketama` adds to the start of an interpreter: make bench.

And what the backend of Django adds to that of Django itself, which imports it anyway. Writes
results/imports.tsv.
"""

from __future__ import annotations

import sys

import pyperf
import results as stored

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
    figures = ((name, f"{1e3 * result.mean():.1f}") for name, result in results)
    stored.save("imports", "program\tms", figures)


if __name__ == "__main__":
    main()
