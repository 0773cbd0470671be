"""`vitals publish`: options, progress and summary; the work is `service.publish`'s."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from itertools import chain
from typing import Annotated

import typer

from service.cli.input_options import (
    ColumnsOption,
    FilesArgument,
    KindOption,
    SetOption,
    StrictOption,
    input_files,
    naming_refused,
    wall_clock_decoder,
)
from service.cli.terminal import print_table, reading_progress
from service.cli.watch import json_line
from service.input_files import InputFile, RefusedLine
from service.settings import load_settings

INTERRUPTED = 130
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

HELP = """Publish files of events to their topics, in order, keyed by account; every event is acknowledged.

NDJSON holds one CloudEvent a line. CSV needs --columns; a date without a time is 00:00 UTC of that day, tags are
split at "|", and publishing a file twice gives the same event ids. A bad line is counted and left out;
the first 10 of each reason are named.

Examples:

  vitals publish events.ndjson.gz

  vitals publish logins.csv.gz --columns account=account,user=user,time=date --set type=login

  vitals publish billing.csv --kind payment --columns account=org,type=event,time=at,amount_minor=cents,currency=cur

  vitals simulate --accounts 50 --days 90 --seed 1 | vitals publish -
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals publish`."""

    @cli.command(help=HELP)
    def publish(
        *,
        files: FilesArgument,
        kind: KindOption = None,
        columns: ColumnsOption = None,
        constants: SetOption = None,
        strict: StrictOption = False,
        as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
    ) -> None:
        sys.exit(run_publish(input_files(files, kind, columns, constants, strict=strict), as_json=as_json))


def run_publish(files: list[InputFile], *, as_json: bool) -> int:
    """Publish the files to the brokers of the settings and print the summary; return the exit code."""
    # aiokafka takes a while to import, so only the commands that need it pay.
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.publish import PublishSummary, publish_events
    from service.topic_catalogue import TopicNames

    settings = load_settings()
    bootstrap = resolve_bootstrap(settings)
    decoder = wall_clock_decoder()
    refused: Counter[str] = Counter()

    async def run(name: Callable[[RefusedLine], None]) -> PublishSummary:
        def refuse(line: RefusedLine) -> None:
            refused[line.reason] += 1
            name(line)

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            stop.set()
            for number in STOP_SIGNALS:  # a second one does not wait for acknowledgements
                loop.remove_signal_handler(number)

        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, interrupt)
        events = chain.from_iterable(file.events(decoder, refuse) for file in files)
        with reading_progress("publishing", files) as progress:
            names = TopicNames.from_settings(settings)
            return await publish_events(bootstrap, names, events, stop=stop, progress=progress)

    with naming_refused() as name:
        summary = asyncio.run(run(name))
    counts = dict(sorted(refused.items()))
    if as_json:
        per_second = round(summary.events_per_second)
        result = {**asdict(summary), "refused": counts, "events_per_second": per_second}
        print(json_line(result))
    else:
        print_table(
            "interrupted; published so far" if summary.interrupted else "published",
            [
                *((topic, f"{count:,}") for topic, count in sorted(summary.topics.items())),
                *((f"refused: {reason}", f"{count:,}") for reason, count in counts.items()),
                ("events", f"{summary.events:,}"),
                ("seconds", f"{summary.seconds:.1f}"),
                ("events/s", f"{summary.events_per_second:,.0f}"),
            ],
        )
    if summary.interrupted:
        return INTERRUPTED
    return 1 if refused and not summary.events else 0
