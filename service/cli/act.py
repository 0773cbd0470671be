"""`vitals act`: what a person does about an account, published as a command; the work is `service.commands`'."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schemas.times import time_text
from service.cli.replay_options import time_option_ms
from service.cli.terminal import action_words, printable
from service.cli.topics import JsonOption, quiet_settings
from service.cli.watch import json_line
from service.errors import DependencyError

if TYPE_CHECKING:
    from service.commands import CommandName

SOURCE = "vitals-act"
WAIT_SECONDS = 30.0

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="the account's id")]
ActorOption = Annotated[str, typer.Option(help="who acts")]
AlertOption = Annotated[int, typer.Option("--alert", min=1, help="the alert's number (seq) within the account")]
UntilOption = Annotated[str, typer.Option(metavar="TIME", help="date or RFC 3339 time of the end; a past one lifts")]
NoteOption = Annotated[str | None, typer.Option(help="a sentence to be kept with it")]
IdOption = Annotated[str | None, typer.Option("--id", help="idempotency key; the same again counts once")]
WaitOption = Annotated[bool, typer.Option("--wait", help="until the worker applied or refused it, at most 30 s")]

HELP = """Acknowledge, snooze or resolve alerts, set the band by hand, say how you feel, leave a note, erase an account.

The command goes to the topic account-actions; a worker applies it in the order of the account's events and tells what
became of it in account-audit. With --wait the exit code is 1 when it was refused. An action has today's time: under the
event clock it takes a whole partition of old logs to today, as an event of today does.

Examples:

  vitals act acknowledge acme --alert 3 --actor dana --wait

  vitals act snooze acme --until 2026-04-01 --actor dana --note "on holiday"

  vitals act override acme --band endangered --reason "champion left" --until 2026-04-20 --actor dana

  vitals act sentiment acme --value=-0.5 --actor dana --json

  vitals act erase acme --reason "request 17" --actor dana --wait
"""


EXAMPLES = {
    "acknowledge": "acme --alert 3 --actor dana --wait",
    "snooze": "acme --until 2026-04-01 --actor dana",
    "resolve": 'acme --alert 3 --actor dana --note "fixed"',
    "override": 'acme --band endangered --reason "champion left" --until 2026-04-20 --actor dana',
    "sentiment": "acme --value=-0.5 --actor dana",
    "note": 'acme --note "new head of IT" --actor dana',
    "erase": 'acme --reason "request 17" --actor dana --wait',
}


def register(cli: typer.Typer) -> None:
    """Add `vitals act`."""
    group = typer.Typer(no_args_is_help=True, help=HELP)
    for command in (acknowledge, snooze, resolve, override, sentiment, note, erase):
        name = command.__name__
        group.command(epilog=f"Example: vitals act {name} {EXAMPLES[name]}")(command)
    cli.add_typer(group, name="act")


def acknowledge(
    account: AccountArgument,
    *,
    alert: AlertOption,
    actor: ActorOption,
    note: NoteOption = None,
    action_id: IdOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take care of an alert."""
    said = {"actor": actor, "note": note, "alert_seq": alert}
    _act("acknowledge", account, said, action_id, wait=wait, as_json=as_json)


def snooze(
    account: AccountArgument,
    *,
    until: UntilOption,
    actor: ActorOption,
    alert: Annotated[int | None, typer.Option("--alert", min=1, help="the alert to mark as snoozed")] = None,
    note: NoteOption = None,
    action_id: IdOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have the account raise no alert until then."""
    said = {"actor": actor, "note": note, "alert_seq": alert, "until": _time(until)}
    _act("snooze", account, said, action_id, wait=wait, as_json=as_json)


def resolve(
    account: AccountArgument,
    *,
    alert: AlertOption,
    actor: ActorOption,
    note: NoteOption = None,
    action_id: IdOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say that what an alert was about is dealt with."""
    _act("resolve", account, {"actor": actor, "note": note, "alert_seq": alert}, action_id, wait=wait, as_json=as_json)


def override(
    account: AccountArgument,
    *,
    band: Annotated[Literal["healthy", "at_risk", "endangered"], typer.Option(help="the band to publish")],
    reason: Annotated[str, typer.Option(help="why")],
    until: UntilOption,
    actor: ActorOption,
    note: NoteOption = None,
    action_id: IdOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Set the band by hand until then."""
    said = {"actor": actor, "note": note, "band": band, "reason": reason, "until": _time(until)}
    _act("override", account, said, action_id, wait=wait, as_json=as_json)


def sentiment(
    account: AccountArgument,
    *,
    value: Annotated[float, typer.Option(min=-1, max=1, help="from -1, worst, to 1, best")],
    actor: ActorOption,
    note: NoteOption = None,
    action_id: IdOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say how you feel about the account."""
    _act(
        "sentiment", account, {"actor": actor, "note": note, "sentiment": value}, action_id, wait=wait, as_json=as_json
    )


def note(
    account: AccountArgument,
    *,
    note: Annotated[str, typer.Option(help="what is to be remembered")],
    actor: ActorOption,
    action_id: IdOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Leave a note."""
    _act("note", account, {"actor": actor, "note": note}, action_id, wait=wait, as_json=as_json)


def erase(
    account: AccountArgument,
    *,
    reason: Annotated[str, typer.Option(help="why; it stays in the audit, so name no person")],
    actor: ActorOption,
    action_id: IdOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove all that is kept of the account, for good; what other topics hold stays until their retention ends."""
    _act("erase", account, {"actor": actor, "reason": reason}, action_id, wait=wait, as_json=as_json)


def _time(text: str) -> str:
    return time_text(time_option_ms("--until", text) or 0)


def _act(
    action: CommandName, account: str, said: dict[str, Any], action_id: str | None, *, wait: bool, as_json: bool
) -> None:
    """Publish the command, wait if asked to, and print what is known of it."""
    told = asyncio.run(_published(action, account, said, action_id, wait=wait))
    outcome = told["outcome"]
    if as_json:
        print(json_line(told))
    elif outcome is None:
        print(printable(f"published: {action} {account}, action {told['action_id']}"))
    elif action == "erase":
        found = "" if outcome["found"] else "; nothing was known of it"
        print(printable(f"{account}: erased from {', '.join(outcome['stores'])}{found}; as of {outcome['as_of']}"))
    else:
        print(printable(f"{account}: {action_words(outcome)}; as of {outcome['as_of']}"))
    if outcome is not None and outcome.get("refusal") is not None:
        raise typer.Exit(1)


async def _published(
    action: CommandName, account: str, said: dict[str, Any], action_id: str | None, *, wait: bool
) -> dict[str, Any]:
    # aiokafka takes a while to import, so only what needs it pays.
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.commands import make_command, open_desk
    from service.topic_catalogue import TopicNames

    given = {name: value for name, value in said.items() if value is not None}
    command = make_command(action, account, given, source=SOURCE, action_id=action_id)
    settings = quiet_settings()
    async with open_desk(resolve_bootstrap(settings), TopicNames.from_settings(settings)) as desk:
        taken = await desk.settle(command, WAIT_SECONDS if wait else 0)
    action_id = command.key.action_id
    if wait and taken is None:
        raise DependencyError(
            f"action {action_id} is published, but nothing became of it in {WAIT_SECONDS:.0f} s; "
            "does a worker run? It is applied when one does, or was it an older action's id?"
        )
    outcome = None if taken is None else taken.model_dump(by_alias=True)
    return {"account": account, "action_id": action_id, "outcome": outcome}
