"""`vitals plan`: how many workers, partitions and bytes a load takes, computed from what was measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from service.capacity import EMPTY_MIB, Need, Plan, plan
from service.errors import UsageError

HELP = """Compute how many workers, partitions and how much memory and disk a load takes.

The figures behind it are measured (docs/capacity.md): a worker is planned for half of what it did on a machine of two
cores that it shared with its broker. Measure on your own machines before you buy them.

Examples:

  vitals plan --events-per-second 20000 --accounts 500000

  vitals plan --events-per-second 300 --accounts 20000 --worker-mib 512 --json
"""
WORDS = {
    "workers": "workers",
    "partitions": "partitions of every topic; they cannot be added later",
    "worker_mib": "MiB of memory for each worker, at most",
    "recovery_seconds": "seconds until a worker that starts again is ready",
    "changelog_mib": "MiB of the changelog, on each replica",
    "scores_mib": "MiB of the scores, on each replica",
    "inputs_mib": "MiB of the inputs, on each replica",
    "redis_mib": "MiB of Redis, without alerts",
}


def register(cli: typer.Typer) -> None:
    """Add `vitals plan`."""

    @cli.command("plan", help=HELP)
    def plan_(
        *,
        events_per_second: Annotated[float, typer.Option(min=0, help="of all kinds, at the busiest time")],
        accounts: Annotated[int, typer.Option(min=1, help="customer accounts")],
        event_bytes: Annotated[int, typer.Option(min=1, help="of an event's JSON")] = 300,
        retention_days: Annotated[float, typer.Option(min=0.01, help="of the inputs")] = 14,
        worker_mib: Annotated[int, typer.Option(min=1, help="memory that a worker may have")] = 2048,
        as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    ) -> None:
        if worker_mib <= EMPTY_MIB:
            raise UsageError(f"--worker-mib {worker_mib}: a worker without any account has {EMPTY_MIB} MiB; give more")
        found = plan(Need(events_per_second, accounts, event_bytes, retention_days, worker_mib))
        typer.echo(json.dumps(asdict(found)) if as_json else in_words(found))


def in_words(found: Plan) -> str:
    """Tell a plan for people, a figure a line."""
    shown = {name: f"{value:,.0f}" for name, value in asdict(found).items()}
    width = max(map(len, shown.values()))
    return "\n".join(f"{shown[name]:>{width}}  {words}" for name, words in WORDS.items())
