"""`vitals simulate`: writes and paces the simulated stream; what happens in it is in `service.simulation`."""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import orjson
import typer

from service.errors import InputError
from service.simulation import DEFAULT_START_DAY, Simulation, TimedLine

CHUNK_LINES = 1_000
PACE_SECONDS = 0.05

HELP = """Write a believable B2B event stream as CloudEvents, one JSON object a line, ordered by time.

The accounts are healthy, slowly dying, suddenly dying, seasonal or noisy; --truth tells which, and who dies.
The same arguments give the same bytes.

\b
Examples:
  vitals simulate --accounts 200 --days 180 --seed 7 --out events.ndjson.gz --truth truth.ndjson
  vitals simulate --accounts 50 --days 90 --seed 1 | vitals publish -
  vitals simulate --accounts 1000 --days 365 --seed 3 --rate 500 | vitals publish -
"""


def register(cli: typer.Typer) -> None:
    """Add this module's commands."""
    cli.command("simulate", help=HELP)(simulate)


def simulate(
    *,
    accounts: Annotated[int, typer.Option(min=1, max=1_000_000, help="how many customer accounts")],
    days: Annotated[int, typer.Option(min=1, max=10_000, help="how many days")],
    seed: Annotated[int, typer.Option(help="what all chance comes from")],
    rate: Annotated[float | None, typer.Option(min=0.001, help="events a second; default: as fast as possible")] = None,
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="the first day, UTC")] = datetime.fromtimestamp(
        DEFAULT_START_DAY * 86_400, UTC
    ),
    out: Annotated[
        Path | None, typer.Option(help="file to write, gzipped if it ends in .gz; default: standard output")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="file for the truth: one JSON object a line and account")] = None,
) -> None:
    """Write the stream and, if asked, the truth."""
    start_day = start.replace(tzinfo=UTC).toordinal() - datetime.fromtimestamp(0, UTC).toordinal()
    simulation = Simulation(accounts, days, seed, start_day)
    if truth is not None:
        with open_output(truth) as stream:
            stream.writelines(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in simulation.truth())
    with open_output(out) as stream:
        if rate is None:
            _write_fast(simulation.lines(), stream)
        else:
            _write_paced(simulation.lines(), stream, rate)


def _write_fast(lines: Iterator[TimedLine], stream: BinaryIO) -> None:
    chunk: list[bytes] = []
    for line in lines:
        chunk.append(line.value)
        if len(chunk) >= CHUNK_LINES:
            stream.write(b"\n".join(chunk) + b"\n")
            chunk.clear()
    if chunk:
        stream.write(b"\n".join(chunk) + b"\n")


def _write_paced(lines: Iterator[TimedLine], stream: BinaryIO, rate: float) -> None:
    """Write at most `rate` events a second, counted from the start: after a pause it catches up."""
    begin = time.monotonic()
    for written, line in enumerate(lines):
        ahead_seconds = written / rate - (time.monotonic() - begin)
        if ahead_seconds > PACE_SECONDS or (ahead_seconds > 0 and rate < 1 / PACE_SECONDS):
            stream.flush()
            time.sleep(ahead_seconds)
        stream.write(line.value + b"\n")


@contextmanager
def open_output(path: Path | None) -> Iterator[BinaryIO]:
    """Open a file for writing bytes, gzipped by its name, or standard output for None.

    Raises InputError when the file cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        raw = path.open("wb")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; name a file in a folder that exists") from None
    with raw:
        if path.suffix != ".gz":
            yield raw
            return
        # Without name and time in the header, the same stream gives the same bytes.
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
            yield cast("BinaryIO", packed)
