"""The closed registry of signals: what a model can read from the state of an account.

Each is a pure function of the state at its own day (UTC); none reads a clock. None means that there is nothing
to judge yet, so the factor is left out and the other weights share its place. `moves` tells whether time alone can
still change the signal; when no signal of an account moves, time passes for it at no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from service.scoring.recording import (
    PART_LOGINS,
    PART_OPINION,
    PART_PAYMENTS,
    PART_SURVEYS,
    PART_TICKETS,
    PART_USAGE,
)
from service.scoring.records import NEVER, NO_SEVERITY, SEVERITIES, STATUS_UNKNOWN, SurveyAnswer
from service.scoring.state import DAY_MS, WINDOW_DAYS, AccountState

Read: TypeAlias = Callable[[AccountState], float | None]
Moves: TypeAlias = Callable[[AccountState, float], bool]
Words: TypeAlias = Mapping[str, str]

TREND_MAX: Final = 2.0  # at least doubled; also what a first login after a silent window gives
SEVERITY_LOAD: Final = {"low": 1.0, "normal": 2.0, "high": 4.0, "urgent": 8.0}
_LOAD_BY_RANK: Final = tuple(SEVERITY_LOAD[name] for name in SEVERITIES)
_ACTIVE_WINDOW_MASK: Final = (1 << WINDOW_DAYS) - 1


@dataclass(frozen=True, slots=True)
class Signal:
    """One entry of the registry.

    `parts` are the PART_* bits whose change can change it. `moves(state, last_x)` is True while days passing
    can change it; beyond `last_x`, where the factor's curve is flat, a change does not count. `words` are
    what a sentence template may name besides {value}.
    """

    name: str
    read: Read
    parts: int
    moves: Moves
    words: Callable[[AccountState], Words]
    word_names: frozenset[str]


def login_trend(state: AccountState) -> float | None:
    """Divide the logins of the last 30 days by those of the 30 before, at most 2; None until both windows are full."""
    if state.first_login_day == NEVER or state.day - state.first_login_day < 2 * WINDOW_DAYS - 1:
        return None
    if state.previous_logins == 0:
        return TREND_MAX if state.recent_logins else 0.0
    return min(state.recent_logins / state.previous_logins, TREND_MAX)


def recency_days(state: AccountState) -> float | None:
    """Count whole UTC days since the last usage of any kind."""
    if state.last_usage_ms == NEVER:
        return None
    return float(state.day - state.last_usage_ms // DAY_MS)


def active_days(state: AccountState) -> float | None:
    """Count the days with usage among the last 30; None before the account has been known for 30 days."""
    if state.first_usage_day == NEVER or state.day - state.first_usage_day < WINDOW_DAYS - 1:
        return None
    return float((state.active_mask & _ACTIVE_WINDOW_MASK).bit_count())


def failed_payments(state: AccountState) -> float | None:
    """Count the failed payments of the last 30 days; None when no payment event was ever seen."""
    if state.last_payment_ms == NEVER:
        return None
    return float(sum(count for day, count in state.failures.items() if state.day - day < WINDOW_DAYS))


def overdue_days(state: AccountState) -> float | None:
    """Count the days that the longest overdue invoice is overdue, 0 without one; None without any payment event."""
    if state.last_payment_ms == NEVER:
        return None
    return float(max((state.day - since for since in _overdue_since_days(state)), default=0))


def ticket_load(state: AccountState) -> float | None:
    """Add up the open tickets by severity (low 1, normal or unknown 2, high 4, urgent 8); None without any."""
    if state.last_ticket_ms == NEVER:
        return None
    return sum(
        _LOAD_BY_RANK[SEVERITIES.index("normal") if ticket.severity == NO_SEVERITY else ticket.severity]
        for ticket in state.tickets.values()
        if ticket.is_open
    )


def latest_survey(state: AccountState) -> float | None:
    """Give the latest survey answer of the last 90 days on a scale of 0 to 100."""
    answer = _latest_answer(state)
    return None if answer is None else answer.percent


def csm_sentiment(state: AccountState) -> float | None:
    """Give what the account's customer success manager thinks, -1 to 1."""
    return None if state.attributes is None else state.attributes.csm_sentiment


def _overdue_since_days(state: AccountState) -> list[int]:
    return [invoice.since_ms // DAY_MS for invoice in state.invoices.values() if not invoice.paid]


def _latest_answer(state: AccountState) -> SurveyAnswer | None:
    if not state.surveys:
        return None
    return max(state.surveys.values(), key=lambda answer: (answer.time_ms, -answer.percent))


def _login_trend_moves(state: AccountState, _last_x: float) -> bool:
    return state.recent_logins > 0 or state.previous_logins > 0


def _recency_moves(state: AccountState, last_x: float) -> bool:
    return state.last_usage_ms != NEVER and state.day - state.last_usage_ms // DAY_MS < last_x


def _active_days_move(state: AccountState, _last_x: float) -> bool:
    return state.active_mask & _ACTIVE_WINDOW_MASK != 0


def _failed_payments_move(state: AccountState, _last_x: float) -> bool:
    return any(state.day - day < WINDOW_DAYS for day in state.failures)


def _overdue_moves(state: AccountState, last_x: float) -> bool:
    return any(state.day - since < last_x for since in _overdue_since_days(state))


def _ticket_load_moves(state: AccountState, _last_x: float) -> bool:
    # A ticket whose opening was never seen is forgotten when its last news leaves the ring.
    return any(ticket.status == STATUS_UNKNOWN for ticket in state.tickets.values())


def _surveys_move(state: AccountState, _last_x: float) -> bool:
    return bool(state.surveys)


def _never_moves(_state: AccountState, _last_x: float) -> bool:
    return False


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _login_words(state: AccountState) -> Words:
    recent, previous = state.recent_logins, state.previous_logins
    verb = "fell" if recent < previous else "rose" if recent > previous else "stayed"
    return {"verb": verb, "previous": str(previous), "recent": str(recent)}


def _recency_words(state: AccountState) -> Words:
    days = 0 if state.last_usage_ms == NEVER else state.day - state.last_usage_ms // DAY_MS
    return {"when": "today" if days == 0 else f"{_count(days, 'day')} ago"}


def _failed_words(state: AccountState) -> Words:
    return {"failures": _count(round(failed_payments(state) or 0), "failed payment")}


def _overdue_words(state: AccountState) -> Words:
    open_count = len(_overdue_since_days(state))
    longest = _count(round(overdue_days(state) or 0), "day")
    return {"invoices": _count(open_count, "overdue invoice"), "longest": longest}


def _ticket_words(state: AccountState) -> Words:
    ranks = [ticket.severity for ticket in state.tickets.values() if ticket.is_open]
    pressing = sum(rank >= SEVERITIES.index("high") for rank in ranks)
    return {"tickets": _count(len(ranks), "open ticket"), "pressing": str(pressing)}


def _survey_words(state: AccountState) -> Words:
    answer = _latest_answer(state)
    return {"kind": "survey" if answer is None else answer.kind.upper()}


def _no_words(_state: AccountState) -> Words:
    return {}


def _registry(*rows: tuple[Read, int, Moves, Callable[[AccountState], Words]]) -> Mapping[str, Signal]:
    nobody = AccountState("")
    return {
        read.__name__: Signal(read.__name__, read, parts, moves, words, frozenset(words(nobody)))
        for read, parts, moves, words in rows
    }


SIGNALS: Final = _registry(
    (login_trend, PART_LOGINS, _login_trend_moves, _login_words),
    (recency_days, PART_USAGE, _recency_moves, _recency_words),
    (active_days, PART_USAGE, _active_days_move, _no_words),
    (failed_payments, PART_PAYMENTS, _failed_payments_move, _failed_words),
    (overdue_days, PART_PAYMENTS, _overdue_moves, _overdue_words),
    (ticket_load, PART_TICKETS, _ticket_load_moves, _ticket_words),
    (latest_survey, PART_SURVEYS, _surveys_move, _survey_words),
    (csm_sentiment, PART_OPINION, _never_moves, _no_words),
)
