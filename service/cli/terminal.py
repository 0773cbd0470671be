"""What commands print to people: hostile text made harmless, and progress only where someone watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table

from service.input_files import InputFile


def printable(text: str) -> str:
    """Escape everything that a terminal could take as a command or that has no shape of its own, newlines too."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in text)


def step_line(began: float, text: str) -> str:
    """Write one step of a command that takes a while, with the seconds since it began."""
    return f"{time.monotonic() - began:5.1f} s  {text}"


def alert_words(seq: int, sentence: str, suppressed: int) -> str:
    """Say which of the account's alerts it is, why it came, and how many were held back since the one before it."""
    held_back = f" ({suppressed} held back before)" if suppressed else ""
    return f"alert {seq}: {sentence}{held_back}"


def action_words(taken: Mapping[str, Any]) -> str:
    """Say who did what, and what became of it."""
    about = f" alert {taken['alert_seq']}" if taken["alert_seq"] is not None else ""
    named = [str(taken[name]) for name in ("band", "sentiment", "reason") if taken[name] is not None]
    until = f" until {taken['until']}" if taken["until"] is not None else ""
    said = "".join(f" {text}" for text in named) + until
    note = f": {taken['note']}" if taken["note"] is not None else ""
    became = "applied" if taken["refusal"] is None else f"refused, {taken['refusal']}"
    return f"{taken['actor']} {taken['action']}{about}{said}{note} ({became})"


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print two columns of names and values to standard output."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(printable(name), printable(value))
    console = Console(highlight=False, markup=False)
    console.print(printable(title), soft_wrap=True)
    console.print(table)


@contextmanager
def reading_progress(title: str, files: Sequence[InputFile]) -> Iterator[Callable[[int], None]]:
    """Show how much of the files is read; the yielded function is told the events so far.

    Only on a terminal; otherwise nothing is printed.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    known = all(file.total_bytes is not None for file in files)
    columns = (
        (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        if known
        else (SpinnerColumn(), TextColumn("{task.description}"))
    )
    counter = TextColumn("{task.fields[events]:,} events")
    with Progress(*columns, counter, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=sum(file.total_bytes or 0 for file in files) if known else None, events=0)

        def show(events: int) -> None:
            progress.update(task, completed=sum(file.bytes_read for file in files), events=events)

        yield show
