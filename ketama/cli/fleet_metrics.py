"""A fleet's state as metrics in Prometheus's text format."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ketama.fleet.status import FleetStatus


def metrics_text(found: FleetStatus, expected: int | None) -> str:
    """Return the metrics of a fleet."""
    domain = _label("domain", found.domain)
    lines = [
        ok_text(found.domain, found.is_ok(expected)),
        *_head("version", "The version of the list in etcd; 0 without a list."),
        f"ketama_fleet_version{{{domain}}} {found.version}",
        *_head("prepared_version", "The version of the list that is prepared; 0: none."),
        f"ketama_fleet_prepared_version{{{domain}}} {found.prepared}",
    ]
    if expected is not None:
        lines += [
            *_head("machines_expected", "How many machines there must be."),
            f"ketama_fleet_machines_expected{{{domain}}} {expected}",
        ]
    lines += _head("machines", "How many machines have a version and a state.")
    lines += [
        f"ketama_fleet_machines{{{domain},{_label('state', state)},"
        f"{_label('version', str(version))}}} {count}"
        for (version, state), count in sorted(found.groups.items())
    ]
    return "\n".join(lines) + "\n"


def ok_text(domain: str, is_ok: bool) -> str:
    """Return the metric that is there even if etcd does not answer."""
    head = "\n".join(_head("ok", "Whether etcd answers, and all machines have the list."))
    return f"{head}\nketama_fleet_ok{{{_label('domain', domain)}}} {int(is_ok)}"


def _head(name: str, what: str) -> tuple[str, str]:
    return f"# HELP ketama_fleet_{name} {what}", f"# TYPE ketama_fleet_{name} gauge"


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{name}="{escaped}"'
