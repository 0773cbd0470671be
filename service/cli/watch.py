"""`vitals watch`: shows what `service.watch` reads, one line a message, safe for terminals."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from service.cli.terminal import alert_words, printable
from service.settings import load_settings

if TYPE_CHECKING:
    from service.watch import WatchedMessage

INTERRUPTED = 130
STYLES = {
    "healthy": "green",
    "recovered": "green",
    "at_risk": "yellow",
    "endangered": "bold red",
    "unknown": "dim",
}

HELP = """Follow scores, alerts, actions or dead letters, one line a message: time, account, band, score and why.

Of alerts the kind stands in the band's place (the rule's name when a rule alerts), of actions what was done, to which
alert and by whom. Of dead letters: when, where the record stands (topic/partition/offset), reason, size and detail.
Nothing is committed; Ctrl-C ends it. The broker is that of VITALS_BROKER, else the embedded one.

Examples:

  vitals watch alerts

  vitals watch scores --from-start --json --seconds 5

  vitals watch dlq --from-start --limit 20
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals watch`."""

    @cli.command(help=HELP)
    def watch(
        *,
        what: Annotated[
            Literal["scores", "alerts", "actions", "dlq"], typer.Argument(help="scores, alerts, actions or dlq")
        ],
        from_start: Annotated[bool, typer.Option("--from-start", help="also what is there already")] = False,
        limit: Annotated[int | None, typer.Option(min=1, help="end after so many messages")] = None,
        seconds: Annotated[float | None, typer.Option(min=0, help="end after so many seconds")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="print each message as a line of JSON")] = False,
    ) -> None:
        sys.exit(run_watch(what, from_start=from_start, limit=limit, seconds=seconds, as_json=as_json))


def run_watch(
    what: Literal["scores", "alerts", "actions", "dlq"],
    *,
    from_start: bool,
    limit: int | None,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Follow the topic of the settings' broker and print; return the exit code."""
    # aiokafka takes a while to import, so only the commands that need it pay.
    from contextlib import aclosing

    from schemas.times import time_text
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.topic_catalogue import TopicNames
    from service.watch import describe, follow, watched_topics

    settings = load_settings()
    bootstrap = resolve_bootstrap(settings)
    topics = watched_topics(what, TopicNames.from_settings(settings))
    console = Console(highlight=False, markup=False, soft_wrap=True)

    async def run() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        shown = 0
        records = follow(bootstrap, topics, from_start=from_start, stop=stop, seconds=seconds)
        async with aclosing(records):
            async for record in records:
                message = describe(what, record)
                if as_json:
                    print(json_line(message.as_json), flush=True)
                else:
                    cells = (message.subject, message.state, message.figure, _why(message))
                    console.print(table_line(time_text(message.time_ms), *cells))
                shown += 1
                if shown == limit:
                    break
        return INTERRUPTED if stop.is_set() else 0

    return asyncio.run(run())


def _why(message: WatchedMessage) -> str:
    if message.alert_seq is None:
        return message.sentence
    return alert_words(message.alert_seq, message.sentence, message.suppressed)


def json_line(message: dict[str, object]) -> str:
    """Encode one message in printable ASCII only, so that nothing in it can reach a terminal as a command."""
    return json.dumps(message, separators=(",", ":")).replace("\x7f", "\\u007f")


def table_line(time: str, subject: str, state: str, figure: str, sentence: str) -> Text:
    """Lay out one message: time, account, band, score, sentence; with hostile texts escaped."""
    line = Text(f"{time}  {printable(subject):<24} ")
    line.append(f"{printable(state):<16} ", STYLES.get(state, ""))
    return line.append(f"{figure:>8}  {printable(sentence)}")
