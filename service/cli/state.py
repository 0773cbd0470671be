"""`vitals state`: what is stored of an account, read from the changelog as recovery reads it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.terminal import print_table, printable
from service.cli.topics import quiet_settings
from service.cli.watch import json_line
from service.errors import InputError

HELP = """Show an account's stored state: signals, band, numbers, applied offsets, what is unsent, when it is due.

Reads the partition of the changelog that the account's id hashes to and takes the highest epoch, then the highest
revision, as a worker does when it recovers. What a worker has not flushed yet is not in it. --raw writes the stored
bytes as they are.

Examples:

  vitals state show acme

  vitals state show acme --json | jq .applied_offsets

  vitals state show acme --raw > acme.state
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals state show`."""
    group = typer.Typer(no_args_is_help=True, help="The state of an account, as the changelog has it.")
    group.callback()(lambda: None)
    group.command("show", help=HELP)(show_state)
    cli.add_typer(group, name="state")


def show_state(
    *,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="the account's id")],
    model: Annotated[Path | None, typer.Option(help="health model file [default: the packaged model]")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="write the stored bytes and nothing else")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Run `vitals state show`."""
    # Faust, which comes with the runtime, takes a second to import, so only the command that needs it pays.
    from agents.stored_account import describe_state, read_stored_account
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.model.loader import load_model
    from service.topic_catalogue import TopicNames

    settings = quiet_settings(model=model)
    names = TopicNames.from_settings(settings)
    found = asyncio.run(read_stored_account(resolve_bootstrap(settings), names, account))
    if found is None:
        raise InputError(
            f"no state of account {account!r} in {names.changelog}; is the id written as in the events, and did a "
            "worker score it?"
        )
    if raw:
        sys.stdout.buffer.write(found.stored)
        return
    told = describe_state(found, names, load_model(settings.model))
    if as_json:
        print(json_line(told))
    else:
        _show(told)


def _show(told: dict[str, Any]) -> None:
    signals, applied, unsent = told.pop("signals"), told.pop("applied_offsets"), told.pop("unsent_alerts")
    states, actions = told.pop("alert_states"), told.pop("unsent_actions")
    account = told.pop("account")
    print_table(account, [(name.replace("_", " "), _text(value)) for name, value in told.items()])
    alerts = [(f"{alert['seq']} {alert['kind']}", f"{alert['as_of']}  {alert['id']}") for alert in unsent]
    parts = {
        "applied offsets": [(topic, _text(offset)) for topic, offset in applied.items()],
        "unsent alerts": alerts or [("none", "")],
        "alerts that were acted on": [(str(seq), state) for seq, state in states.items()] or [("none", "")],
        "unsent actions": [(f"{each['seq']} {each['action']}", each["action_id"]) for each in actions]
        or [("none", "")],
        "signals": [(name, _text(value)) for name, value in signals.items()],
    }
    for title, rows in parts.items():
        print()
        print_table(title, rows)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else printable(str(value))
