"""`vitals up`: options and what is told; the processes are run by `service.local`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from service.cli.api import DEFAULT_PORT
from service.cli.extras import require_api_extra
from service.cli.kafka import DataOption
from service.cli.terminal import step_line
from service.settings import Settings, load_settings

if TYPE_CHECKING:
    from service.local.up import Addresses

HELP = """Run all of Vitals on this machine for your own data: Kafka, worker, Redis, projector, API and page.

It prints the page's address and key, and where producers publish. All data, logs and the key are in the folder
.vitals (--data, VITALS_HOME); a second start finds it again, also after a crash. Every other command that is started in
the same folder finds this broker. It listens on loopback only; its parts take their settings from the environment.

Examples:

  vitals up

  vitals up --data /var/lib/vitals --port 8080 --broker-port 9092

  vitals publish events.ndjson          (in another terminal, in the same folder)

Exit code 0: stopped by SIGTERM or Ctrl-C. 1: a part ended, or the folder or a port is in use; the message says which.
2: wrong settings, or data of another cluster or a newer Kafka. 130: Ctrl-C before the broker answered.
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals up`."""

    @cli.command(help=HELP)
    def up(
        *,
        data: DataOption = None,
        port: Annotated[int, typer.Option(min=1, max=65_535, help="the page's")] = DEFAULT_PORT,
        broker_port: Annotated[
            int | None,
            typer.Option(min=0, max=65_000, help="the broker's, 0: any free one [default: as last time, or 29092]"),
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="print the addresses and the key as one JSON object")
        ] = False,
    ) -> None:
        run(load_settings(home=data), port, broker_port, as_json=as_json)


def run(settings: Settings, port: int, broker_port: int | None, *, as_json: bool) -> None:
    """Run it until stopped, and tell about it: steps to standard error, addresses to standard output."""
    require_api_extra()
    # Kafka's client takes a while to import, so only the commands that need it pay.
    from service.local.processes import last_lines_told
    from service.local.up import run_up

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(step_line(began, text))

    def ready(found: Addresses) -> None:
        typer.echo(_as_json(found) if as_json else _told(settings, found))

    with last_lines_told(say):
        run_up(settings, port=port, broker_port=broker_port, say=say, ready=ready)


def _as_json(found: Addresses) -> str:
    return json.dumps({**asdict(found), "home": str(found.home)})


def _told(settings: Settings, found: Addresses) -> str:
    key = found.key if found.key is not None else f"one of {settings.api_keys}"
    prefix = f" VITALS_TOPIC_PREFIX={settings.topic_prefix}" if settings.topic_prefix else ""
    broker = f"VITALS_BROKER={found.bootstrap}{prefix}"
    return f"""
The page     {found.page}
Its key      {key}
Producers    {found.bootstrap}
Data, logs   {found.home}

Publish an event, in another terminal:
  {broker} vitals publish events.ndjson
  {broker} python docs/examples/publish_event.py ACCOUNT USER

Ctrl-C stops all of it; the data stays."""
