"""`vitals demo`: options and what is told; the demo itself is `service.demo`, its picture `service.cli.demo_view`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from service.cli.extras import require_api_extra
from service.cli.terminal import step_line
from service.errors import ConfigError, InputError
from service.settings import load_settings

if TYPE_CHECKING:
    from service.demo import Board

INTERRUPTED = 130
LINE_INTERVAL_SECONDS = 2.0
FRAMES_PER_SECOND = 4

HELP = """Show all of it together: Kafka, worker, page, and 200 simulated accounts that live a day in 0.3 seconds.

The page's address is told when it can be opened; it is there for as long as the demo runs.

It has its own broker, data and logs in .vitals/demo (VITALS_HOME/demo), emptied at every start, so it never touches
yours; VITALS_MODEL is the only other setting it takes. Everything it started is stopped when it ends: after --seconds,
or at Ctrl-C, which lets the worker finish (a second Ctrl-C does not wait for that).

Examples:

  vitals demo

  vitals demo --seconds 60 --json

  VITALS_MODEL=my-model.yaml vitals demo

Exit code 0: shown, also when Ctrl-C ended it. 1: something failed; the message says what. 130: Ctrl-C before the
broker answered.
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals demo`."""

    @cli.command(help=HELP)
    def demo(
        *,
        seconds: Annotated[
            float | None, typer.Option(min=1, help="length of the stream, from the first score on [default: Ctrl-C]")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="print the final figures as JSON, nothing else")] = False,
        picture: Annotated[
            Path | None, typer.Option(metavar="FILE.svg", help="save the view at the end of the stream as a picture")
        ] = None,
    ) -> None:
        sys.exit(run(seconds, as_json=as_json, picture=picture))


def run(seconds: float | None, *, as_json: bool, picture: Path | None) -> int:
    """Run the demo and tell about it; return the exit code."""
    if picture is not None and not picture.absolute().parent.is_dir():
        raise InputError(f"--picture {picture}: its folder does not exist; make it first")
    settings = load_settings()
    console = Console(highlight=False)
    report = _Report(console if console.is_terminal and not as_json else None, picture)
    # aiokafka takes a while to import, so only the commands that need it pay.
    from service.demo import run_demo
    from service.local.processes import last_lines_told

    with last_lines_told(report.say):
        try:
            board = run_demo(settings, seconds, report, with_page=_can_show_page(report))
        finally:
            report.close()
    if as_json:
        print(json.dumps(board.summary()))
    else:
        _print_summary(board, console)
    return 0


def _can_show_page(report: _Report) -> bool:
    try:
        require_api_extra()
    except ConfigError as error:
        report.say(f"there is no page: {error}")
        return False
    return True


class _Report:
    """Tells in a live view when there is a terminal, else in a line now and then."""

    def __init__(self, terminal: Console | None, picture: Path | None) -> None:
        self._terminal = terminal
        self._picture = picture
        self._live: Live | None = None
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._began = self._last_line = time.monotonic()

    def say(self, text: str) -> None:
        """Tell one step, with the seconds since the start."""
        console = self._live.console if self._live else self._console
        console.print(step_line(self._began, text), markup=False, soft_wrap=True)

    def show(self, board: Board) -> None:
        """Draw the view, or print a line when the last is old enough."""
        from service.cli.demo_view import DemoView, progress_line

        if not board.scores:
            return
        if self._terminal is None:
            if time.monotonic() - self._last_line >= LINE_INTERVAL_SECONDS:
                self._last_line = time.monotonic()
                self.say(progress_line(board))
        elif self._live is None:
            self._live = Live(DemoView(board), console=self._terminal, refresh_per_second=FRAMES_PER_SECOND)
            self._live.start(refresh=True)

    def stream_ended(self, board: Board) -> None:
        """Save the picture, if one is wanted."""
        if self._picture is not None:
            from service.cli.demo_picture import save_picture
            from service.cli.demo_view import DemoView

            save_picture(DemoView(board), self._picture)
            self.say(f"the picture is saved as {self._picture}")

    def close(self) -> None:
        """Leave the last view on the screen and draw no more."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _print_summary(board: Board, console: Console) -> None:
    from service.cli.demo_view import progress_line

    console.print(f"{board.seconds:.0f} s of stream, until {progress_line(board)}", soft_wrap=True)
