"""`vitals doctor`: looks at machine, brokers, topics and workers, and says what to do about each fault."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from service.cli.terminal import printable
from service.cli.topics import quiet_settings
from service.cli.watch import json_line
from service.errors import VitalsError

if TYPE_CHECKING:
    from service.doctor import Finding

STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}

HELP = """Look at this machine, the brokers, the topics and the workers: one line each, OK, WARN or FAIL, with the cure.

Nothing is changed, but for a few records in a topic of its own, <app id>-clock, that tell the brokers' clocks.

Examples:

  vitals doctor

  vitals doctor --json | jq '.findings[] | select(.level != "OK")'

Exit code 0: nothing failed, there may be warnings. 1: something failed.
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals doctor`."""

    @cli.command(help=HELP)
    def doctor(as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
        console = Console(highlight=False, markup=False, soft_wrap=True)
        findings: list[Finding] = []

        def take(finding: Finding) -> None:
            findings.append(finding)
            if not as_json:
                console.print(_line(finding))

        asyncio.run(_examine(take))
        failed = any(finding.level == "FAIL" for finding in findings)
        if as_json:
            print(json_line({"failed": failed, "findings": [dataclasses.asdict(finding) for finding in findings]}))
        if failed:
            raise typer.Exit(1)


async def _examine(take: Callable[[Finding], None]) -> None:
    from agents.runtime.versions import TESTED_VERSIONS
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.doctor import NO_BROKER_CURE, Finding, examine_cluster, judge_machine

    try:
        settings = quiet_settings()
    except VitalsError as error:
        take(Finding("settings", "FAIL", str(error), "see docs/settings.md"))
        return
    for finding in judge_machine(settings, TESTED_VERSIONS):
        take(finding)
    try:
        bootstrap = resolve_bootstrap(settings)
    except VitalsError as error:
        take(Finding("brokers", "FAIL", str(error), NO_BROKER_CURE))
        return
    async for finding in examine_cluster(settings, bootstrap):
        take(finding)


def _line(finding: Finding) -> Text:
    line = Text(f"{finding.level:<5}", STYLES[finding.level])
    line.append(f"{finding.check:<17} {printable(finding.message)}", "")
    if finding.cure:
        line.append(f"\n{'':<23}{printable(finding.cure)}", "dim")
    return line
