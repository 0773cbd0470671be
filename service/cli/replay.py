"""`vitals replay`: options, progress and summary; the work is `service.replay`'s."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import orjson
import typer

from service.cli.input_options import (
    ColumnsOption,
    FilesArgument,
    KindOption,
    SetOption,
    StrictOption,
    input_files,
    name_refused,
    wall_clock_decoder,
)
from service.cli.terminal import print_table, reading_progress
from service.csv_events import time_or_date_ms
from service.errors import InputError
from service.input_files import InputFile
from service.settings import load_settings

HELP = """Score files of events without Kafka: the same core, the same scores, bands and alert ids as the worker's.

Time is the events' own: it moves with them, through every day between, and for all accounts on to --until. With --out
the folder gets scores.ndjson (one line an account), alerts.ndjson (ordered by time) and summary.json.

Examples:

  vitals replay events.ndjson.gz

  vitals replay logins.csv.gz --columns account=account,user=user,time=date --set type=login --out result

  vitals replay usage.ndjson payments.ndjson --until 2025-06-30 --model my-model.yaml --json
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals replay`."""

    @cli.command(help=HELP)
    def replay(
        *,
        files: FilesArgument,
        kind: KindOption = None,
        columns: ColumnsOption = None,
        constants: SetOption = None,
        strict: StrictOption = False,
        until: Annotated[
            str | None, typer.Option(metavar="TIME", help="date or RFC 3339 time of the end; default: the latest event")
        ] = None,
        model: Annotated[Path | None, typer.Option(help="health model file; default: the packaged model")] = None,
        out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder for scores, alerts and summary")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
    ) -> None:
        opened = input_files(files, kind, columns, constants, strict=strict)
        run_replay(opened, until_ms=_until_ms(until), model_path=model, out=out, as_json=as_json)


def run_replay(
    files: list[InputFile], *, until_ms: int | None, model_path: Path | None, out: Path | None, as_json: bool
) -> None:
    """Replay the files and print the summary."""
    from service.model.loader import load_model
    from service.replay import replay_files

    model = load_model(load_settings(model=model_path).model)
    begin = time.monotonic()
    with reading_progress("replaying", files) as progress:
        summary = replay_files(
            files, wall_clock_decoder(), model, until_ms=until_ms, out=out, refuse=name_refused, progress=progress
        )
    seconds = time.monotonic() - begin
    per_second = summary.events / seconds
    if as_json:
        result = {**summary.as_json(), "seconds": round(seconds, 3), "events_per_second": round(per_second)}
        sys.stdout.buffer.write(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE))
        return
    shown = summary.as_json()
    print_table(
        f"replayed to {shown['until']} with model {shown['model_version']}",
        [
            ("events", f"{summary.events:,}"),
            ("accounts", f"{summary.accounts:,}"),
            *((f"  {band}", f"{count:,}") for band, count in summary.bands.items()),
            ("alerts", f"{sum(summary.alerts.values()):,}"),
            *((f"  {alert_kind}", f"{count:,}") for alert_kind, count in summary.alerts.items()),
            ("refused", f"{sum(summary.refused.values()):,}"),
            *((f"  {reason}", f"{count:,}") for reason, count in summary.refused.items()),
            ("duplicates", f"{summary.duplicates:,}"),
            ("late", f"{summary.late:,}"),
            ("after the end", f"{summary.after_until:,}"),
            ("seconds", f"{seconds:.1f}"),
            ("events/s", f"{per_second:,.0f}"),
        ],
    )


def _until_ms(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return time_or_date_ms(text)
    except ValueError as error:
        raise InputError(f"--until {text}: {error}; write it like 2025-06-30 or 2025-06-30T12:00:00Z") from None
