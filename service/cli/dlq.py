"""`vitals dlq`: what stands in the dead letters, one of them in full, and sending them back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from service.cli.replay_options import time_option_ms
from service.cli.terminal import print_table, printable
from service.cli.topics import WIDTH, quiet_settings
from service.cli.watch import json_line
from service.errors import InputError, UsageError

if TYPE_CHECKING:
    from service.adapters.topic_reader import ConsumedRecord
    from service.dead_letters import Filters, Letter, Listing
    from service.redrive import RedriveSummary
    from service.topic_catalogue import TopicNames

EXIT_LEFT = 3
SHOWN_BYTES = 4_096

ReasonOption = Annotated[
    list[str] | None, typer.Option("--reason", metavar="REASON", help="only of this reason; may be repeated")
]
TopicOption = Annotated[
    list[str] | None, typer.Option("--topic", metavar="TOPIC", help="only from this input topic; may be repeated")
]
SinceOption = Annotated[str | None, typer.Option(metavar="TIME", help="only set aside at this time or later")]
UntilOption = Annotated[str | None, typer.Option(metavar="TIME", help="only set aside before this time")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]

LIST_HELP = """Count the dead letters by reason and input topic, or list them.

A record that the worker set aside twice, after a crash, counts once; one that was sent back and refused again counts
anew. `open` are those that were not sent back. TIME is a date or an RFC 3339 time.

Examples:

  vitals dlq list

  vitals dlq list --records --reason invalid_event --since 2026-03-01

  vitals dlq list --records --json | jq -r .detail | sort | uniq -c
"""
SHOW_HELP = """Show one dead letter: where it comes from, why it was set aside, its headers and its payload.

The place is that of the record in its input topic, as `vitals dlq list --records` and `vitals watch dlq` show it, or
that of the dead letter itself (a topic that ends in .dlq). A record of an input topic that was not set aside is shown
as it stands there. Everything is escaped; --raw writes the payload as it is.

Examples:

  vitals dlq show product-usage/3/1201

  vitals dlq show product-usage.dlq/3/17 --raw > payload.bin
"""
REDRIVE_HELP = """Publish dead letters to their input topics again: key, value and headers as they came.

Each is published once, however often this runs, also after a crash half-way. Records that this version would refuse
again stay, unless --reason asks for theirs; so do those that were refused 3 times. A record that fails again comes back
to the dead letters with one attempt more.

Examples:

  vitals dlq redrive --dry-run

  vitals dlq redrive --reason future_time --since 2026-03-01T08:00:00Z --until 2026-03-01T09:00:00Z

Exit code 0: all that were asked for are published, now or before. 3: some stay; the counts say why. 1: it stopped; run
it again.
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals dlq list`, `show` and `redrive`."""
    group = typer.Typer(no_args_is_help=True, help="The dead letters: records that could not be scored.")
    group.command("list", help=LIST_HELP)(list_letters)
    group.command("show", help=SHOW_HELP)(show_letter)
    group.command("redrive", help=REDRIVE_HELP)(redrive_letters)
    cli.add_typer(group, name="dlq")


def list_letters(
    *,
    records: Annotated[bool, typer.Option("--records", help="one line for each instead of counts")] = False,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print one JSON object, or with --records one a line")
    ] = False,
) -> None:
    """Run `vitals dlq list`."""
    from service.adapters.topic_reader import open_reader
    from service.dead_letters import dead_letter_partitions, list_letters

    bootstrap, names = _deployment()
    filters = _filters(names, reason, topic, since, until)

    async def run() -> Listing:
        partitions = await dead_letter_partitions(bootstrap, names)
        async with open_reader(bootstrap) as reader:
            return await list_letters(reader, names, partitions, filters, with_records=records)

    listing = asyncio.run(run())
    if records:
        _show_records(listing, as_json=as_json)
    else:
        _show_counts(listing, as_json=as_json)


def show_letter(
    *,
    place: Annotated[str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET")],
    raw: Annotated[bool, typer.Option("--raw", help="write the payload's bytes and nothing else")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run `vitals dlq show`."""
    from service.adapters.topic_reader import open_reader
    from service.dead_letters import (
        SourcePlace,
        dead_letter_partitions,
        find_input_record,
        find_letter,
        payload_json,
        record_json,
    )

    wanted = SourcePlace.parse(place)
    bootstrap, names = _deployment()

    async def run() -> tuple[Letter | None, ConsumedRecord | None]:
        partitions = await dead_letter_partitions(bootstrap, names)
        async with open_reader(bootstrap) as reader:
            letter = await find_letter(reader, names, partitions, wanted)
            found = letter.record if letter else await find_input_record(reader, names, partitions, wanted)
            return letter, found

    letter, record = asyncio.run(run())
    if record is None:
        raise InputError(f"no record at {place}; `vitals dlq list --records` shows where dead letters are")
    if raw:
        sys.stdout.buffer.write(record.value or b"")
        return
    told = letter.as_json() if letter else record_json(record)
    if as_json:
        headers = [[name, _text(value)] for name, value in record.headers]
        print(json_line({**told, "headers": headers, **payload_json(record)}))
        return
    if letter is None:
        told["dead_letter"] = "none: not set aside; this is the record in the topic"
    _show_record(str(wanted if letter is None else letter.source), told, record)


def redrive_letters(
    *,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, publish nothing")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run `vitals dlq redrive`."""
    from service.redrive import RedriveOptions, redrive

    bootstrap, names = _deployment()
    filters = _filters(names, reason, topic, since, until)
    with _progress() as progress:
        options = RedriveOptions(filters, dry_run=dry_run, progress=progress, waiting=_tell_waiting)
        summary = asyncio.run(redrive(bootstrap, names, options, lambda: time.time_ns() // 1_000_000))
    if as_json:
        told = {**dataclasses.asdict(summary), "refused_again": dict(summary.refused_again)}  # asdict spoils a Counter
        print(json.dumps({"dry_run": dry_run, **told, "left": summary.left}))
    else:
        _show_summary(summary, dry_run=dry_run)
    if summary.left:
        raise typer.Exit(EXIT_LEFT)


def _deployment() -> tuple[str, TopicNames]:
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.topic_catalogue import TopicNames

    settings = quiet_settings()
    return resolve_bootstrap(settings), TopicNames.from_settings(settings)


def _filters(
    names: TopicNames, reasons: list[str] | None, topics: list[str] | None, since: str | None, until: str | None
) -> Filters:
    from typing import get_args

    from schemas.outputs import DeadLetterReason
    from service.dead_letters import Filters, source_topics

    known = get_args(DeadLetterReason)
    if unknown := sorted(set(reasons or ()) - set(known)):
        raise UsageError(f"--reason {unknown[0]}: no reason of a dead letter; the reasons are {', '.join(known)}")
    return Filters(
        frozenset(reasons or ()),
        source_topics(names, topics or ()),
        time_option_ms("--since", since),
        time_option_ms("--until", until),
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show records done of all, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (TextColumn("dead letters"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell_waiting(seconds: float) -> None:
    print(f"a redrive began and has not ended; waiting {seconds:.0f} s for it", file=sys.stderr)


def _show_counts(listing: Listing, *, as_json: bool) -> None:
    from schemas.times import time_text

    counts = sorted(listing.counts.values(), key=lambda counted: (-counted.records, counted.reason, counted.topic))
    if as_json:
        told = [
            {
                "reason": counted.reason,
                "topic": counted.topic,
                "records": counted.records,
                "redriven": counted.redriven,
                "open": counted.open,
                "first": time_text(counted.first_ms),
                "last": time_text(counted.last_ms),
            }
            for counted in counts
        ]
        print(json_line({"counts": told, "unreadable": listing.unreadable}))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("reason", "topic", "records", "redriven", "open", "first", "last"):
        justify: Literal["left", "right"] = "right" if title in {"records", "redriven", "open"} else "left"
        table.add_column(title, justify=justify, no_wrap=True)
    for counted in counts:
        times = (time_text(counted.first_ms), time_text(counted.last_ms))
        figures = (f"{counted.records:,}", f"{counted.redriven:,}", f"{counted.open:,}")
        table.add_row(counted.reason, printable(counted.topic), *figures, *times)
    if counts:
        Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH).print(table)
    else:
        print("no dead letters")
    _tell_unreadable(listing.unreadable)


def _show_records(listing: Listing, *, as_json: bool) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for shown, redriven in listing.letters:
        if as_json:
            print(json_line({**shown, "redriven": redriven}))
            continue
        place = f"{shown['topic']}/{shown['partition']}/{shown['offset']}"
        mark = "redriven" if redriven else ""
        size = f"{shown['size']} B"
        line = f"{shown['failed_at']}  {place:<28} {shown['reason']:<15} {mark:<8} {size:>10}  {shown['detail']}"
        console.print(printable(line))
    if not as_json:
        _tell_unreadable(listing.unreadable)


def _tell_unreadable(count: int) -> None:
    if count:
        print(f"{count} records in the dead-letter topics are not dead letters", file=sys.stderr)


def _show_record(title: str, told: dict[str, Any], record: ConsumedRecord) -> None:
    rows: list[tuple[str, str]] = [
        (name, str(told[name])) for name in ("reason", "detail", "failed_at", "attempts", "app_version") if name in told
    ]
    rows += [("dead letter", told["dead_letter"]), ("key", told["key"]), ("size", f"{told['size']} B")]
    rows += [(f"header {name}", _text(value)) for name, value in record.headers if not name.startswith("dlq.")]
    print_table(title, rows)
    value = record.value
    if value is None:
        print("no payload")
        return
    text = value[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print()
    for line in text.splitlines():
        console.print(printable(line))
    if len(value) > SHOWN_BYTES:
        console.print(f"... {len(value) - SHOWN_BYTES} bytes more: --raw writes them all")


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "backslashreplace")


def _show_summary(summary: RedriveSummary, *, dry_run: bool) -> None:
    from service.dead_letters import cure_of

    rows: list[tuple[str, int, str]] = [
        ("selected", summary.selected, ""),
        ("would publish" if dry_run else "published", summary.published, ""),
        ("already redriven", summary.already_redriven, ""),
        ("refused 3 times", summary.attempts_used_up, "mend the events and publish them anew"),
        ("too large for the topic", summary.too_large_for_topic, "publish smaller events"),
        ("of other topics", summary.foreign, "set aside by a deployment with other names"),
    ]
    rows += [
        (f"would fail again: {reason}", count, f"{cure_of(reason)}; --reason {reason} sends them all the same")
        for reason, count in sorted(summary.refused_again.items())
    ]
    always = {"selected", "published", "would publish"}
    shown: list[tuple[str, Any]] = [
        (name, f"{count:,}  {cure}" if cure else f"{count:,}") for name, count, cure in rows if count or name in always
    ]
    print_table("dead letters" + (" (nothing was published)" if dry_run else ""), shown)
    _tell_unreadable(summary.unreadable)
