"""`vitals replay`: options, progress and summary; the work is `service.replay`'s."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.input_options import (
    ColumnsOption,
    FilesArgument,
    KindOption,
    SetOption,
    StrictOption,
    input_files,
    naming_refused,
    no_event,
    wall_clock_decoder,
)
from service.cli.replay_options import LatenessOption, UntilOption, lateness_ms, until_ms
from service.cli.terminal import print_table, reading_progress
from service.cli.watch import json_line
from service.input_files import InputFile
from service.settings import load_settings

if TYPE_CHECKING:
    from service.replay import ReplayOptions, ReplaySummary

HELP = """Score files of events without Kafka: the same core, the same scores, bands and alert ids as the worker's.

Time is the events' own: it moves with them, through every day between, and for all accounts on to --until. With --out
the folder gets scores.ndjson (one line an account, with all signals), alerts.ndjson and
actions.ndjson (ordered by time) and summary.json.

Events that are out of order are applied as they come, unless --lateness says how late they may be to be put in order.

Examples:

  vitals replay events.ndjson.gz

  vitals replay logins.csv.gz --columns account=account,user=user,time=date --set type=login --out result

  vitals replay usage.ndjson payments.ndjson --until 2025-06-30 --model my-model.yaml --json

  vitals replay export.ndjson.gz --lateness 2d --processes 4 --out result
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
        until: UntilOption = None,
        lateness: LatenessOption = None,
        model: Annotated[Path | None, typer.Option(help="health model file; default: the packaged model")] = None,
        processes: Annotated[int, typer.Option(min=1, max=256, help="processes that share the accounts")] = 1,
        out: Annotated[
            Path | None, typer.Option(metavar="DIR", help="folder for scores, alerts, actions and summary")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
    ) -> None:
        from service.replay import ReplayOptions

        opened = input_files(files, kind, columns, constants, strict=strict)
        options = ReplayOptions(until_ms(until), lateness_ms(lateness), out)
        run_replay(opened, options, model_path=model, processes=processes, as_json=as_json)


def run_replay(
    files: list[InputFile], options: ReplayOptions, *, model_path: Path | None, processes: int, as_json: bool
) -> None:
    """Replay the files and print the summary."""
    from service.model.loader import load_model
    from service.replay import replay_files, replay_in_processes

    model_path = load_settings(model=model_path).model
    model = load_model(model_path)
    begin = time.monotonic()
    with naming_refused() as refuse, reading_progress("replaying", files) as progress:
        if processes > 1:
            summary = replay_in_processes(files, model_path, options, processes, refuse=refuse, progress=progress)
        else:
            decoder = wall_clock_decoder()
            summary = replay_files(files, decoder, model, options, refuse=refuse, progress=progress)
    seconds = time.monotonic() - begin
    if not summary.events and not summary.after_until:
        raise no_event(files, summary.refused.total())
    if as_json:
        result = {
            **summary.as_json(),
            "seconds": round(seconds, 3),
            "events_per_second": round(summary.events / seconds),
        }
        print(json_line(result))
        return
    _print_summary(summary, seconds)


def _print_summary(summary: ReplaySummary, seconds: float) -> None:
    shown = summary.as_json()
    print_table(
        f"replayed to {shown['until']} with model {shown['model_version']}",
        [
            ("events", f"{summary.events:,}"),
            ("accounts", f"{summary.accounts:,}"),
            *counted(shown["bands"]),
            ("coverage, in accounts", ""),
            *counted({f"from {tenth}": count for tenth, count in shown["coverage"].items()}),
            ("alerts", f"{summary.alerts.total():,}"),
            *counted(shown["alerts"]),
            ("actions", f"{summary.actions.total():,}"),
            *counted(shown["actions"]),
            ("alerts per account-month", f"{summary.alerts_per_account_month:.3f}"),
            ("flap rate", f"{summary.flap_rate:.2%} of {summary.band_entries:,} band changes"),
            ("refused", f"{summary.refused.total():,}"),
            *counted(shown["refused"]),
            ("duplicates", f"{summary.duplicates:,}"),
            ("late", f"{summary.late:,}"),
            ("of erased accounts", f"{summary.erased:,}"),
            ("out of order", f"{summary.out_of_order:,}"),
            ("after the end", f"{summary.after_until:,}"),
            ("seconds", f"{seconds:.1f}"),
            ("events/s", f"{summary.events / seconds:,.0f}"),
        ],
    )


def counted(counts: dict[str, int]) -> list[tuple[str, str]]:
    """Make the indented rows of a table of counts."""
    return [(f"  {name}", f"{count:,}") for name, count in counts.items()]
