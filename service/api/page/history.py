"""The days of an account's plot, and what happened on them: alerts, bands set by hand, other models.

A mark stands on the UTC day of the account's clock. A day that has a mark and no score of its own has that of the day
before: a score stands until the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from service.account_copy.reader import HistoryDay, day_text
from service.api.page.words import BANDS, kind, moment

MOST_DAYS: Final = 90


@dataclass(slots=True)
class MarkedDay:
    """One day: its last score, and in words what happened."""

    day: str
    score: float | None = None
    band: str | None = None
    new_model: str | None = None
    alerts: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """Everything that happened, for a cell of the table."""
        model = [f"another model: {self.new_model}"] if self.new_model else []
        return [*(f"alert: {text}" for text in self.alerts), *self.overrides, *model]


def marked_days(
    days: Sequence[HistoryDay], alerts: Sequence[Mapping[str, Any]], actions: Sequence[Mapping[str, Any]]
) -> list[MarkedDay]:
    """Put the alerts and the applied overrides of a day beside its score; the last 90 days, oldest first.

    Alerts come newest first, actions oldest first, as the copy gives them.
    """
    if not days:
        return []
    found = {day_text(day.day): MarkedDay(day_text(day.day), day.score, day.band, day.new_model) for day in days}
    own = frozenset(found)
    first = day_text(days[-1].day - MOST_DAYS + 1)

    def day_of(message: Mapping[str, Any]) -> MarkedDay:
        name = message["as_of"][:10]
        return found.setdefault(name, MarkedDay(name))

    for alert in reversed(alerts):
        day_of(alert).alerts.append(kind(alert["kind"]))
    for action in actions:
        if action["action"] == "override" and action["refusal"] is None:
            day_of(action).overrides.append(_override_words(action))
    marked = [found[name] for name in sorted(found)]
    for before, day in pairwise(marked):
        if day.day not in own:
            day.score = before.score
    return [day for day in marked if day.day >= first]


def summary(days: Sequence[MarkedDay]) -> str:
    """Say in one line what the plot shows, for those who do not see it."""
    counts = Counter[str]()
    for day in days:
        counts.update(alerts=bool(day.alerts), overrides=bool(day.overrides), models=bool(day.new_model))
    known = [day for day in days if day.score is not None]
    ends = f", {known[0].score:.1f} on the first and {known[-1].score:.1f} on the last" if known else ""
    return (
        f"{ends}. Days with alerts: {counts['alerts']}, with a band set or lifted by hand: {counts['overrides']}, "
        f"with another model: {counts['models']}"
    )


def _override_words(action: Mapping[str, Any]) -> str:
    if action["until"] is None or action["until"] <= action["acted_at"]:  # a time that is past lifts it
        return f"band set by hand lifted by {action['actor']}: {action['reason']}"
    return (
        f"band set to {BANDS[action['band']]} by {action['actor']} until {moment(action['until'])}: {action['reason']}"
    )
