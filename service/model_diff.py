"""What another model would change: one log through both, and who ends in another band or is alerted otherwise.

Both models see the same events in the same order. Memory is bounded by the accounts, twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from schemas.times import time_text
from service.ingest import Decoder
from service.input_files import InputFile, RefusedLine
from service.replay import Progress, Refuse, Replay, ReplayOptions
from service.replay.files import PROGRESS_EVENTS, read_events
from service.scoring.model import Model
from service.scoring.state import DAY_MS
from service.scoring.views import Alert, Band

RISK_KINDS: Final = frozenset({"at_risk", "endangered"})


@dataclass(frozen=True, slots=True)
class BandChange:
    """An account that ends in another band with model B than with model A."""

    account: str
    band_a: Band
    band_b: Band
    score_a: float | None
    score_b: float | None


class _Side:
    """One model's replay, and when each account was first warned."""

    def __init__(self, model: Model, options: ReplayOptions) -> None:
        self.warned_ms: dict[str, int] = {}
        self.replay = Replay(
            model, until_ms=options.until_ms, lateness_ms=options.lateness_ms, take_alert=self._take_alert
        )

    def _take_alert(self, alert: Alert) -> None:
        if alert.kind in RISK_KINDS:
            self.warned_ms.setdefault(alert.account, alert.time_ms)


@dataclass(frozen=True, slots=True)
class ModelDiff:
    """The differences; `warned_...` are accounts by their first at_risk or endangered alert."""

    a: dict[str, Any]
    b: dict[str, Any]
    until_ms: int | None
    changes: list[BandChange]
    moves: dict[str, int]
    warned_both: int
    warned_only_a: list[str]
    warned_only_b: list[str]
    days_earlier_in_b: list[float]

    def as_json(self) -> dict[str, Any]:
        """Return everything ready for JSON."""
        return {
            "until": None if self.until_ms is None else time_text(self.until_ms),
            "a": self.a,
            "b": self.b,
            "moves": self.moves,
            "changes": [
                {
                    "account": change.account,
                    "band_a": change.band_a,
                    "band_b": change.band_b,
                    "score_a": change.score_a,
                    "score_b": change.score_b,
                }
                for change in self.changes
            ],
            "warned": {
                "both": self.warned_both,
                "only_a": self.warned_only_a,
                "only_b": self.warned_only_b,
                "earlier_in_b": sum(days > 0 for days in self.days_earlier_in_b),
                "later_in_b": sum(days < 0 for days in self.days_earlier_in_b),
                "median_days_earlier_in_b": median(self.days_earlier_in_b) if self.days_earlier_in_b else None,
            },
        }


def compare_models(
    files: Sequence[InputFile],
    decoder: Decoder,
    models: tuple[Model, Model],
    options: ReplayOptions,
    *,
    refuse: Refuse = lambda _: None,
    progress: Progress = lambda _: None,
) -> ModelDiff:
    """Replay files with both models; raises InputError when a file cannot be read."""
    sides = [_Side(model, options) for model in models]

    def note(line: RefusedLine) -> None:
        for side in sides:
            side.replay.summary.refused[line.reason] += 1
        refuse(line)

    apply_a, apply_b = (side.replay.apply for side in sides)
    for count, event in enumerate(read_events(files, decoder, note)):
        apply_a(event)
        apply_b(event)
        if not count % PROGRESS_EVENTS:
            progress(count)
    for side in sides:
        side.replay.drain()
    until_ms = sides[0].replay.latest_ms if options.until_ms is None else options.until_ms
    return _diff(sides[0], sides[1], until_ms)


def _diff(a: _Side, b: _Side, until_ms: int | None) -> ModelDiff:
    changes: list[BandChange] = []
    moves: Counter[str] = Counter()
    for state_a, state_b in zip(a.replay.finish(until_ms), b.replay.finish(until_ms), strict=True):
        if state_a.band != state_b.band:
            moves[f"{state_a.band} > {state_b.band}"] += 1
            changes.append(BandChange(state_a.account, state_a.band, state_b.band, state_a.score, state_b.score))
    both = sorted(a.warned_ms.keys() & b.warned_ms.keys())
    return ModelDiff(
        a=a.replay.summary.as_json(),
        b=b.replay.summary.as_json(),
        until_ms=until_ms,
        changes=changes,
        moves=dict(sorted(moves.items())),
        warned_both=len(both),
        warned_only_a=sorted(a.warned_ms.keys() - b.warned_ms.keys()),
        warned_only_b=sorted(b.warned_ms.keys() - a.warned_ms.keys()),
        days_earlier_in_b=[(a.warned_ms[account] - b.warned_ms[account]) / DAY_MS for account in both],
    )
