"""The options of `publish` and `replay` that say what the files hold; both commands take exactly these."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from schemas.catalogue import INPUT_KINDS
from service.cli.terminal import printable
from service.csv_events import CsvMapping, parse_fields
from service.errors import InputError, UsageError
from service.ingest import Decoder
from service.input_files import InputFile, RefusedLine

FilesArgument = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="NDJSON or CSV, plain or gzipped; - = stdin")
]
KindOption = Annotated[str | None, typer.Option(help=f"accept this kind only: {', '.join(INPUT_KINDS)}")]
ColumnsOption = Annotated[
    str | None, typer.Option(metavar="FIELD=COLUMN,...", help="CSV: which column fills which field of the event")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="CSV: a field alike in all rows; may be repeated"),
]
NAMED_LINES = 10

StrictOption = Annotated[bool, typer.Option("--strict", help="stop at the first bad line, with exit code 1")]


def input_files(
    files: list[str], kind: str | None, columns: str | None, constants: list[str] | None, *, strict: bool
) -> list[InputFile]:
    """Make the input files of the options; raises InputError for a missing file, UsageError for a wrong option."""
    if kind is not None and kind not in INPUT_KINDS:
        raise UsageError(f"--kind {kind}: expected one of {', '.join(INPUT_KINDS)}")
    mapping = None
    if columns is not None or constants:
        fixed = {name: value for text in constants or () for name, value in parse_fields(text, "--set").items()}
        mapping = CsvMapping(parse_fields(columns, "--columns") if columns is not None else {}, fixed)
    return [InputFile(path, kind=kind, mapping=mapping, strict=strict) for path in files]


def wall_clock_decoder() -> Decoder:
    """Make a decoder that refuses what lies in the future now."""
    return Decoder(lambda: time.time_ns() // 1_000_000)


@contextmanager
def naming_refused() -> Iterator[Callable[[RefusedLine], None]]:
    """Name bad lines on standard error: the first of each reason, and at the end how many more there were."""
    counts: Counter[str] = Counter()

    def name(line: RefusedLine) -> None:
        counts[line.reason] += 1
        if counts[line.reason] <= NAMED_LINES:
            sys.stderr.write(printable(str(line)) + "\n")

    try:
        yield name
    finally:
        for reason, count in sorted(counts.items()):
            if count > NAMED_LINES:
                sys.stderr.write(f"{reason}: and {count - NAMED_LINES:,} more\n")


def no_event(files: Sequence[InputFile], refused: int) -> InputError:
    """Make the error for files that hold no event at all."""
    why = f"all {refused:,} lines are refused; is it NDJSON, or CSV with --columns?" if refused else "nothing is in it"
    return InputError(f"no event in {', '.join(file.path for file in files)}: {why}")
