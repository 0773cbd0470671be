"""How the examples of the core feed an account and read what it was told."""

from __future__ import annotations

from service.scoring import engine
from service.scoring.events import Event
from service.scoring.state import AccountState
from tests.scoring.laws import MODEL
from tests.scoring.logs import DAY, HOUR, T0, Clock


def feed(state: AccountState, *events: Event) -> int:
    """Step over the events at their own times; returns the effects of all."""
    result = 0
    for event in events:
        result |= engine.step(state, event, event.time_ms, MODEL)
    return result


def daily_logins(clock: Clock, days: range) -> list[Event]:
    return [clock.login(T0 + day * DAY + 9 * HOUR) for day in days]


def told(state: AccountState) -> list[tuple[str, int]]:
    """List kind and day (after T0) of every alert not yet sent."""
    return [(alert.kind, (alert.time_ms - T0) // DAY) for alert in state.unsent]
