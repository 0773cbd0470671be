"""`vitals explain`: one account's score as a table and a picture; where it comes from is `service.explain_report`'s."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.input_options import (
    ColumnsOption,
    KindOption,
    SetOption,
    StrictOption,
    input_files,
    naming_refused,
    wall_clock_decoder,
)
from service.cli.replay_options import LatenessOption, UntilOption, lateness_ms, until_ms
from service.cli.terminal import action_words, alert_words, printable, reading_progress
from service.cli.watch import STYLES, json_line
from service.errors import InputError, UsageError
from service.settings import load_settings

if TYPE_CHECKING:
    from service.explain_report import Explanation
    from service.input_files import InputFile
    from service.replay import ReplayOptions

BAR_CELLS = 24
WIDTH = 1_000  # where nobody says how wide lines may be, so that a line can be found whole
SHOWN_ALERTS = 5
SHOWN_ACTIONS = 5
KEPT, LOST = "█", "░"

HELP = """Explain one account: every factor with its value, the points it gives and costs, the rules that hold, a band
set by hand, the trend over 7 and 30 days, what changed since the last alert, recent alerts, and what people did.

With --log the account's events are replayed from files, which are read as `vitals replay` reads them. With --live the
last score and the alerts are read from the topics of VITALS_BROKER, else the embedded broker.

Examples:

  vitals explain acme --log events.ndjson.gz

  vitals explain acme --log usage.ndjson --log payments.ndjson --until 2025-06-30 --json

  vitals explain acme --live
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals explain`."""

    @cli.command(help=HELP)
    def explain(
        *,
        account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="the account's id")],
        log: Annotated[
            list[str] | None,
            typer.Option(metavar="FILE", help="NDJSON or CSV, plain or gzipped; - = stdin; may be repeated"),
        ] = None,
        live: Annotated[bool, typer.Option("--live", help="read the topics instead")] = False,
        kind: KindOption = None,
        columns: ColumnsOption = None,
        constants: SetOption = None,
        strict: StrictOption = False,
        until: UntilOption = None,
        lateness: LatenessOption = None,
        model: Annotated[Path | None, typer.Option(help="health model file; default: the packaged model")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="print everything as JSON")] = False,
    ) -> None:
        from service.replay import ReplayOptions

        if live == bool(log):
            fault = "give one of the two" if live else "say where the account is"
            raise UsageError(f"{fault}: --log FILE for its events in files, or --live for the topics")
        if live:
            found = _from_topics(account)
        else:
            files = input_files(log or [], kind, columns, constants, strict=strict)
            found = _from_files(account, files, ReplayOptions(until_ms(until), lateness_ms(lateness)), model)
        if as_json:
            print(json_line(found.as_json()))
        else:
            show(found)


def _from_files(account: str, files: list[InputFile], options: ReplayOptions, model: Path | None) -> Explanation:
    from service.explain_report import explain_from_log
    from service.model.loader import load_model

    loaded = load_model(load_settings(model=model).model)
    with naming_refused() as refuse, reading_progress("reading", files):
        return explain_from_log(account, files, wall_clock_decoder(), loaded, options, refuse=refuse)


def _from_topics(account: str) -> Explanation:
    # aiokafka takes a while to import, so only those that need it pay.
    from service.account_topics import read_account
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.explain_report import explain_from_messages
    from service.topic_catalogue import TopicNames

    settings = load_settings()
    messages = asyncio.run(read_account(resolve_bootstrap(settings), TopicNames.from_settings(settings), account))
    if messages.score is None:
        raise InputError(f"no score of account {account!r}; is the id written as in the events, and does a worker run?")
    return explain_from_messages(messages.score, messages.alerts, messages.actions)


def show(found: Explanation) -> None:
    """Print the account for people; every text of the account is made harmless."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    score = found.score
    console.print(_heading(score))
    console.print(" · ".join(_facts(score)))
    for note in _notes(score):
        console.print(note)
    console.print(_factor_table(score["factors"]))
    if not score["factors"]:
        console.print("no data yet")
    _show_changes(console, found)
    console.print()
    alerts = found.alerts[-SHOWN_ALERTS:]
    console.print(f"last {len(alerts)} of {len(found.alerts)} alerts" if alerts else "no alerts")
    width = max((len(printable(alert["kind"])) for alert in alerts), default=0)
    for alert in reversed(alerts):
        line = Text(f"  {alert['as_of']}  ")
        line.append(f"{printable(alert['kind']):<{width}}  ", STYLES.get(alert["kind"], ""))
        why = printable(alert_words(alert["seq"], alert["sentence"], alert.get("suppressed", 0)))
        console.print(line.append(f"{_points(alert['score']):>6}  {found.alert_state(alert['seq']):<12}  {why}"))
    _show_actions(console, found)


def _show_actions(console: Console, found: Explanation) -> None:
    if not found.actions:
        return
    actions = found.actions[-SHOWN_ACTIONS:]
    console.print()
    console.print(f"last {len(actions)} of {len(found.actions)} actions")
    for action in reversed(actions):
        console.print(f"  {action['acted_at']}  {printable(action_words(action))}")


def _show_changes(console: Console, found: Explanation) -> None:
    since = found.since_last_alert()
    if since is None:
        return
    told = f"since the alert {printable(since['kind'])} at {since['as_of']} ({_points(since['score'])} points)"
    console.print()
    if since["changes"] is None:
        console.print(f"{told}: cannot be compared, another model made the score")
        return
    console.print(f"{told}: {since['points']:+.1f} points")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for title in ("points", "factor", "value", "why"):
        table.add_column(title, justify="right" if title in {"points", "value"} else "left")
    for change in since["changes"]:
        values = f"{_value(change['value_before'])} > {_value(change['value'])}"
        cells = (f"  {change['points']:+.1f}", printable(change["label"]), values, printable(change["sentence"]))
        table.add_row(*cells)
    console.print(table)


def _heading(score: dict[str, Any]) -> Text:
    name = f" ({printable(score['name'])})" if score["name"] else ""
    line = Text(f"{printable(score['account'])}{name}: {_points(score['score'])} points, ")
    return line.append(score["band"], STYLES.get(score["band"], ""))


def _facts(score: dict[str, Any]) -> Iterator[str]:
    yield f"as of {score['as_of']}"
    yield f"coverage {score['coverage']:.0%}"
    for days in (7, 30):
        change = score.get(f"trend_{days}")
        yield f"{days} days: {'no score then' if change is None else f'{change:+.1f}'}"
    for name in ("tier", "stage", "owner", "profile"):
        if score.get(name):
            yield printable(f"{name} {score[name]}")
    yield f"model {score['model_version']}"


def _notes(score: dict[str, Any]) -> Iterator[str]:
    """Say what else decides: rules that hold, a band set by hand, a new model, a return."""
    if score.get("rules"):
        yield printable(f"rules that hold: {', '.join(score['rules'])}")
    if score.get("override_until"):
        by_hand = f"{score['band']} set by hand until {score['override_until']}: {score['override_reason']}"
        yield printable(f"{by_hand}; without that it is {score['computed_band']}")
    if score.get("snoozed_until"):
        yield f"snoozed until {score['snoozed_until']}: no alert is raised"
    if score.get("csm_sentiment") is not None:
        yield f"the manager's sentiment: {score['csm_sentiment']:+g}, said at {score['csm_sentiment_at']}"
    if score.get("model_changed"):
        yield "scored anew by another model; the jump is the model's"
    if score.get("returned_at"):
        yield f"came back at {score['returned_at']} and began afresh"


def _factor_table(factors: list[dict[str, Any]]) -> Table:
    """Draw each factor as a bar as long as its weight: what it gives, then what it costs."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("factor", "value", "points", "lost", f"{KEPT} given {LOST} lost", "why"):
        table.add_column(
            title, justify="right" if title in {"value", "points", "lost"} else "left", no_wrap=title != "why"
        )
    largest = max((factor["weight"] for factor in factors), default=1.0)
    for factor in factors:
        cells = round(BAR_CELLS * factor["weight"] / largest)
        given = round(cells * factor["output"] / 100)
        table.add_row(
            printable(factor["label"]),
            f"{factor['value']:.4g}",
            f"{factor['contribution']:.1f}",
            f"{max(0.0, factor['points_lost']):.1f}",  # a rounding error may make it a little less
            KEPT * given + LOST * (cells - given),
            printable(factor["sentence"]),
        )
    return table


def _points(score: float | None) -> str:
    return "-" if score is None else f"{score:.1f}"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
