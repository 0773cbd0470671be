"""`vitals model diff`: options and tables; the comparison is `service.model_diff`'s."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from service.cli.terminal import print_table, printable, reading_progress
from service.cli.watch import json_line

if TYPE_CHECKING:
    from service.model_diff import ModelDiff

DEFAULT = "default"
SHOWN_ACCOUNTS = 20

HELP = f"""Replay a log with two models, and show who ends in another band and whose alerts differ.

A and B are model files; the word `{DEFAULT}` is the packaged model. The files are read as `vitals replay` reads them.

Examples:

  vitals model diff {DEFAULT} my-model.yaml events.ndjson.gz

  vitals model diff old.yaml new.yaml usage.ndjson payments.ndjson --until 2025-06-30 --json
"""

ModelArgument = Annotated[str, typer.Argument(help=f"model file, or the word {DEFAULT}")]


def register(group: typer.Typer) -> None:
    """Add `diff` to the group of `vitals model`."""

    @group.command(help=HELP)
    def diff(
        *,
        a: ModelArgument,
        b: ModelArgument,
        files: FilesArgument,
        kind: KindOption = None,
        columns: ColumnsOption = None,
        constants: SetOption = None,
        strict: StrictOption = False,
        until: UntilOption = None,
        lateness: LatenessOption = None,
        as_json: Annotated[bool, typer.Option("--json", help="print every difference as JSON")] = False,
    ) -> None:
        from service.model.loader import load_model
        from service.model_diff import compare_models
        from service.replay import ReplayOptions

        models = load_model(_path_of(a)), load_model(_path_of(b))
        opened = input_files(files, kind, columns, constants, strict=strict)
        options = ReplayOptions(until_ms(until), lateness_ms(lateness))
        decoder = wall_clock_decoder()
        with naming_refused() as refuse, reading_progress("comparing", opened) as progress:
            found = compare_models(opened, decoder, models, options, refuse=refuse, progress=progress)
        if not found.a["events"] and not found.a["after_until"]:
            raise no_event(opened, sum(found.a["refused"].values()))
        if as_json:
            print(json_line(found.as_json()))
        else:
            _show(found)


def _path_of(word: str) -> Path | None:
    return None if word == DEFAULT else Path(word)


def _show(found: ModelDiff) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = found.as_json()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in (f"to {shown['until']}", f"A: {found.a['model_version']}", f"B: {found.b['model_version']}"):
        table.add_column(title, justify="left" if title.startswith("to") else "right")
    for row in _rows(found.a, found.b):
        table.add_row(*row)
    console.print(table)
    warned = shown["warned"]
    print_table(
        "first warnings (at_risk or endangered)",
        [
            ("accounts warned by both", f"{warned['both']:,}"),
            ("  earlier by B", f"{warned['earlier_in_b']:,}"),
            ("  later by B", f"{warned['later_in_b']:,}"),
            ("by A alone", _names(found.warned_only_a)),
            ("by B alone", _names(found.warned_only_b)),
        ],
    )
    moves = [(f"  {move}", f"{count:,}") for move, count in found.moves.items()]
    print_table("accounts that end in another band", [("all", f"{len(found.changes):,}"), *moves])
    for change in found.changes[:SHOWN_ACCOUNTS]:
        scores = f"{_points(change.score_a)} > {_points(change.score_b)}"
        console.print(f"  {printable(change.account):<32} {change.band_a} > {change.band_b}  {scores}")
    if len(found.changes) > SHOWN_ACCOUNTS:
        console.print(f"  ... and {len(found.changes) - SHOWN_ACCOUNTS:,} more; --json has them all")


def _rows(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = [
        ("events", f"{a['events']:,}", f"{b['events']:,}"),
        ("accounts", f"{a['accounts']:,}", f"{b['accounts']:,}"),
    ]
    for part in ("bands", "alerts"):
        names = sorted(a[part].keys() | b[part].keys())
        rows += [(f"{part}: {name}", f"{a[part].get(name, 0):,}", f"{b[part].get(name, 0):,}") for name in names]
    name = "alerts_per_account_month"
    rows.append(("alerts per account-month", f"{a[name]:.3f}", f"{b[name]:.3f}"))
    rows.append(("flap rate", f"{a['flap_rate']:.2%}", f"{b['flap_rate']:.2%}"))
    return rows


def _names(accounts: list[str]) -> str:
    more = f" ... (of {len(accounts):,})" if len(accounts) > SHOWN_ACCOUNTS else ""
    return f"{len(accounts):,} {', '.join(printable(name) for name in accounts[:SHOWN_ACCOUNTS])}{more}".strip()


def _points(score: float | None) -> str:
    return "-" if score is None else f"{score:.1f}"
