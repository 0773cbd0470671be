"""How the demo looks in a terminal: figures, bands as bars, the latest alerts, the worst accounts with their reasons.

Everything drawn comes from the board and is made harmless first; nothing is computed here but lengths of bars.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from schemas.outputs import AlertData, ScoreData
from service.cli.terminal import alert_words, printable
from service.demo.board import ALERT_KINDS, Board
from service.demo.stream import DAY_SECONDS

RULES = "by rules"  # alerts whose kind is the name of a rule
# The terminal's own colours, so that the view fits light and dark ones.
COLOURS = {
    "healthy": "green",
    "recovered": "green",
    "at_risk": "yellow",
    "endangered": "red",
    "unknown": "bright_black",
    RULES: "magenta",
}
FRAME = "bright_black"
LABEL = "bright_black"
# Lines that are not rows of the two lists: figures, bands, frames, heads, and the cursor's.
FIXED_LINES = 17
ROWS_MIN, ROWS_MAX = 3, 10
REASONS = 2
ALERT_CHARS = 16


class DemoView:
    """One picture of the board, as wide and as high as the console."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or options.size.height
        rows = min(ROWS_MAX, max(ROWS_MIN, (height - FIXED_LINES) // 2))
        board = self._board
        yield Group(
            _figures(board),
            _side_by_side(_bands(board), _alert_kinds(board)),
            _latest_alerts(board.latest_alerts(rows), rows),
            _worst_accounts(board.worst(rows), rows),
        )


def progress_line(board: Board) -> str:
    """Put the board into one plain line."""
    bands = ", ".join(f"{count} {_words(band)}" for band, count in board.accounts_by_band().items() if count)
    return (
        f"{_date(board.time_ms)}: {board.events:,} events, {board.events_per_second:,.0f}/s, "
        f"lag {board.lag_records:,}, {board.alert_count} alerts; accounts: {bands}"
    )


def _figures(board: Board) -> RenderableType:
    figures = [
        ("simulated day", _date(board.time_ms), "bold"),
        ("events", f"{board.events:,}", "bold"),
        ("events/s", f"{board.events_per_second:,.0f}", "bold"),
        ("lag", f"{board.lag_records:,}", "bold"),
        ("alerts", f"{board.alert_count:,}", "bold"),
        ("MRR in danger", f"{board.mrr_in_danger_minor() / 100:,.0f} EUR", f"bold {COLOURS['at_risk']}"),
        ("dead letters", f"{board.dead_letters:,}", "bold" if not board.dead_letters else "bold red"),
    ]
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    for number in range(len(figures)):
        grid.add_column(justify="left" if number == 0 else "right", no_wrap=True)
    grid.add_row(*(Text(label, LABEL) for label, _, _ in figures))
    grid.add_row(*(Text(value, style) for _, value, style in figures))
    course = f"{len(board.scores)} simulated accounts, a day in {DAY_SECONDS} s, running for {board.seconds:.0f} s"
    return Panel(
        grid,
        title=Text("Vitals", "bold cyan").append(f"  {board.page_url}" if board.page_url else "", "not bold default"),
        title_align="left",
        subtitle=Text(course, LABEL),
        subtitle_align="right",
        border_style=FRAME,
        box=box.ROUNDED,
    )


def _side_by_side(left: RenderableType, right: RenderableType) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=3)
    grid.add_column(ratio=2)
    grid.add_row(left, right)
    return grid


def _bands(board: Board) -> RenderableType:
    return _bars("Accounts by band", board.accounts_by_band(), max(1, len(board.scores)))


def _alert_kinds(board: Board) -> RenderableType:
    kinds = {kind: board.alerts_by_kind[kind] for kind in ALERT_KINDS}
    kinds[RULES] = board.alert_count - sum(kinds.values())
    return _bars("Alerts by kind", kinds, max(1, *kinds.values()))


def _bars(title: str, counts: Mapping[Any, int], full: int) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True, width=10)
    grid.add_column(justify="right", no_wrap=True, width=4)
    grid.add_column(ratio=1)
    order = [name for name in ("healthy", "at_risk", "endangered", "recovered", "unknown", RULES) if name in counts]
    for name in order:
        colour = COLOURS[name]
        grid.add_row(Text(_words(name), colour), Text(str(counts[name]), "bold"), _Bar(counts[name] / full, colour))
    return _panel(grid, title, rows=4)


class _Bar:
    """A bar as long as its share of the cell; anything above zero is seen."""

    def __init__(self, share: float, style: str) -> None:
        self._share = share
        self._style = style

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        length = min(width, max(round(self._share * width), 1 if self._share else 0))
        yield Text("━" * length, self._style, no_wrap=True).append("━" * (width - length), f"dim {FRAME}")


def _latest_alerts(alerts: list[AlertData], rows: int) -> RenderableType:
    table = _list(("day", 11), ("account", 21), ("alert", ALERT_CHARS), ("score", 9), ("why", None))
    for alert in alerts:
        before = "-" if alert.previous_score is None else f"{alert.previous_score:.0f}"
        score = Text(f"{before:>3} → ", LABEL).append(f"{alert.score:>3.0f}", f"bold {COLOURS[alert.band]}")
        table.add_row(
            Text(_date(alert.as_of_ms), LABEL),
            _text(alert.name or alert.account, "bold"),
            _text(_words(alert.kind), COLOURS.get(alert.kind, COLOURS[RULES])),
            score,
            _text(alert_words(alert.seq, alert.sentence, alert.suppressed)),
        )
    if not alerts:
        table.add_row("", Text("none yet", LABEL))
    return _panel(table, "Latest alerts", rows + 1)


def _worst_accounts(scores: list[ScoreData], rows: int) -> RenderableType:
    table = _list(("MRR, EUR", 11), ("account", 21), ("band", 10), ("score", 9), ("main reasons", None))
    for score in scores:
        reasons = sorted(score.factors, key=lambda factor: -factor.points_lost)[:REASONS]
        told = "; ".join(factor.sentence for factor in reasons if factor.points_lost > 0)
        colour = COLOURS[score.band]
        table.add_row(
            Text("-" if score.mrr_minor is None else f"{score.mrr_minor / 100:,.0f}", LABEL),
            _text(score.name or score.account, "bold"),
            Text(_words(score.band), colour),
            Text("-" if score.score is None else f"{score.score:.0f}", f"bold {colour}"),
            _text(told),
        )
    return _panel(table, "Worst accounts", rows + 1)


def _list(*columns: tuple[str, int | None]) -> Table:
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style=LABEL)
    for head, width in columns:
        table.add_column(
            head,
            justify="right" if head in {"score", "MRR, EUR"} else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=width,
            ratio=None if width else 1,
        )
    return table


def _panel(inside: RenderableType, title: str, rows: int) -> Panel:
    heading = Text(title, "bold default")
    return Panel(inside, title=heading, title_align="left", border_style=FRAME, box=box.ROUNDED, height=rows + 2)


def _text(words: str, style: str = "") -> Text:
    return Text(printable(words), style, no_wrap=True, overflow="ellipsis")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _date(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%d %b %Y}"
