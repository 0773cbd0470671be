"""The signals of tickets, surveys, opinions, and of the account itself.

Pure functions of the state at its own day, like those of usage. Means use `fsum`, whose result does not depend on the
order of its parts.
"""

from __future__ import annotations

from math import ceil, fsum
from typing import Final

from service.scoring.recording import PART_FACTS, PART_SURVEYS, PART_TENURE, PART_TICKETS
from service.scoring.records import NEVER, NO_SEVERITY, SEVERITIES, STATUS_SOLVED, STATUS_UNKNOWN, SurveyAnswer
from service.scoring.signal import (
    NO_DAY,
    Words,
    count_of,
    growing_next,
    leaving,
    never_next,
    no_words,
    signal,
)
from service.scoring.state import DAY_MS, RING_DAYS, WINDOW_DAYS, AccountState

SEVERITY_LOAD: Final = {"low": 1.0, "normal": 2.0, "high": 4.0, "urgent": 8.0}
BUG_TAG: Final = "bug"
NPS_NEGATIVE_PERCENT: Final = 60.0  # 6 of 10 and less: a detractor
NEGATIVE_BELOW_PERCENT: Final = 50.0
_LOAD_BY_RANK: Final = tuple(SEVERITY_LOAD[name] for name in SEVERITIES)
_NORMAL: Final = SEVERITIES.index("normal")
_HIGH: Final = SEVERITIES.index("high")


# -- tickets ---------------------------------------------------------------------------------------------


def _has_tickets(state: AccountState) -> bool:
    return state.more is not None and state.more.has_tickets


def _open_ranks(state: AccountState) -> list[int]:
    """List the severity of every open ticket, normal when none was given."""
    if state.more is None:
        return []
    return [
        _NORMAL if ticket.severity == NO_SEVERITY else ticket.severity
        for ticket in state.more.tickets.values()
        if ticket.status != STATUS_SOLVED
    ]


def ticket_load(state: AccountState) -> float | None:
    """Add up the open tickets by severity (low 1, normal or unknown 2, high 4, urgent 8); None without any."""
    return sum((_LOAD_BY_RANK[rank] for rank in _open_ranks(state)), 0.0) if _has_tickets(state) else None


def open_tickets(state: AccountState) -> float | None:
    """Count the open tickets."""
    return float(len(_open_ranks(state))) if _has_tickets(state) else None


def pressing_tickets(state: AccountState) -> float | None:
    """Count the open tickets of severity high or urgent."""
    return float(sum(rank >= _HIGH for rank in _open_ranks(state))) if _has_tickets(state) else None


def _open_tickets_next(state: AccountState, _low: float, _high: float) -> int:
    # A ticket whose opening was never seen is forgotten when its last news leaves the ring.
    if state.more is None:
        return NO_DAY
    unknown = (t.last_ms // DAY_MS for t in state.more.tickets.values() if t.status == STATUS_UNKNOWN)
    return leaving(state, unknown, RING_DAYS)


def _ticket_words(state: AccountState) -> Words:
    ranks = _open_ranks(state)
    pressing = sum(rank >= _HIGH for rank in ranks)
    of_them = "" if not pressing else " of high severity" if len(ranks) == 1 else f", {pressing} of high severity"
    if len(ranks) == 1 and SEVERITIES[ranks[0]] == "urgent":
        of_them = ", urgent"
    tickets = f"{count_of(len(ranks), 'open ticket')}{of_them}" if ranks else "No open ticket"
    return {"tickets": count_of(len(ranks), "open ticket"), "pressing": str(pressing), "open_tickets": tickets}


def _bug_days(state: AccountState) -> list[int]:
    if state.more is None:
        return []
    days = [ticket.tags_ms // DAY_MS for ticket in state.more.tickets.values() if BUG_TAG in ticket.tags]
    return [day for day in days if state.day - day < WINDOW_DAYS]


def bug_tickets(state: AccountState) -> float | None:
    """Count the tickets tagged `bug` in the last 30 days, open or solved."""
    return float(len(_bug_days(state))) if _has_tickets(state) else None


def _bug_tickets_next(state: AccountState, _low: float, _high: float) -> int:
    return leaving(state, _bug_days(state), WINDOW_DAYS)


def _bug_words(state: AccountState) -> Words:
    return {"bugs": count_of(len(_bug_days(state)), "ticket")}


def _oldest_open_day(state: AccountState) -> int | None:
    if state.more is None:
        return None
    days = (ticket.first_ms // DAY_MS for ticket in state.more.tickets.values() if ticket.status != STATUS_SOLVED)
    return min(days, default=None)


def ticket_age_days(state: AccountState) -> float | None:
    """Count the days since the oldest open ticket was first heard of; 0 without one."""
    if not _has_tickets(state):
        return None
    day = _oldest_open_day(state)
    return 0.0 if day is None else float(state.day - day)


def _ticket_age_next(state: AccountState, low: float, high: float) -> int:
    day = _oldest_open_day(state)
    if day is None:
        return NO_DAY
    return min(growing_next(day, state.day, low, high), _open_tickets_next(state, low, high))


def _ticket_age_words(state: AccountState) -> Words:
    return {"age": count_of(round(ticket_age_days(state) or 0), "day")}


def solve_days(state: AccountState) -> float | None:
    """Give the mean days from the opening to the solution, over the tickets solved in the last 90 days."""
    if state.more is None:
        return None
    oldest_ms = (state.day - RING_DAYS + 1) * DAY_MS
    spans = [
        max(0.0, (ticket.status_ms - ticket.first_ms) / DAY_MS)
        for ticket in state.more.tickets.values()
        if ticket.status == STATUS_SOLVED and ticket.is_opening_known and ticket.status_ms >= oldest_ms
    ]
    return fsum(spans) / len(spans) if spans else None


def _solve_next(state: AccountState, _low: float, _high: float) -> int:
    if state.more is None:
        return NO_DAY
    solved = (t.status_ms // DAY_MS for t in state.more.tickets.values() if t.status == STATUS_SOLVED)
    return leaving(state, solved, RING_DAYS)


def ticket_sentiment(state: AccountState) -> float | None:
    """Give the mean sentiment of the tickets in which one was stated in the last 30 days."""
    if state.more is None:
        return None
    stated = [
        ticket.sentiment
        for ticket in state.more.tickets.values()
        if ticket.sentiment is not None and state.day - ticket.sentiment_ms // DAY_MS < WINDOW_DAYS
    ]
    return fsum(stated) / len(stated) if stated else None


def _ticket_sentiment_next(state: AccountState, _low: float, _high: float) -> int:
    if state.more is None:
        return NO_DAY
    stated = (t.sentiment_ms // DAY_MS for t in state.more.tickets.values() if t.sentiment is not None)
    return leaving(state, stated, WINDOW_DAYS)


# -- surveys and opinions --------------------------------------------------------------------------------


def _latest_answer(state: AccountState) -> SurveyAnswer | None:
    """Give the answer with the latest time; of one instant, the worst."""
    if state.more is None or not state.more.surveys:
        return None
    return max(state.more.surveys.values(), key=lambda answer: answer.news)


def latest_survey(state: AccountState) -> float | None:
    """Give the latest survey answer of the last 90 days on a scale of 0 to 100."""
    answer = _latest_answer(state)
    return None if answer is None else answer.percent


def survey_mean(state: AccountState) -> float | None:
    """Give the mean answer of the last 90 days on a scale of 0 to 100."""
    if state.more is None or not state.more.surveys:
        return None
    return fsum(answer.percent for answer in state.more.surveys.values()) / len(state.more.surveys)


def negative_surveys(state: AccountState) -> float | None:
    """Count the negative answers of the last 90 days: NPS detractors, CSAT and CES below the middle."""
    if state.more is None or not state.more.surveys:
        return None
    return float(
        sum(
            answer.percent <= NPS_NEGATIVE_PERCENT if answer.kind == "nps" else answer.percent < NEGATIVE_BELOW_PERCENT
            for answer in state.more.surveys.values()
        )
    )


def _surveys_next(state: AccountState, _low: float, _high: float) -> int:
    if state.more is None:
        return NO_DAY
    return leaving(state, (answer.time_ms // DAY_MS for answer in state.more.surveys.values()), RING_DAYS)


def _survey_words(state: AccountState) -> Words:
    answer = _latest_answer(state)
    answers = len(state.more.surveys) if state.more is not None else 0
    negative = round(negative_surveys(state) or 0)
    return {
        "kind": "survey" if answer is None else answer.kind.upper(),
        "answers": count_of(answers, "survey answer"),
        "negative": count_of(negative, "negative survey answer"),
    }


def _opinion_day(state: AccountState) -> int:
    facts = state.attributes
    return NEVER if facts is None else facts.time_of("csm_sentiment") // DAY_MS


def csm_sentiment(state: AccountState) -> float | None:
    """Give what the customer success manager thinks, -1 to 1; None once it was said 90 days ago."""
    facts = state.attributes
    if facts is None or facts.csm_sentiment is None or state.day - _opinion_day(state) >= RING_DAYS:
        return None
    return facts.csm_sentiment


def _csm_sentiment_next(state: AccountState, _low: float, _high: float) -> int:
    if state.attributes is None or state.attributes.csm_sentiment is None:
        return NO_DAY
    return leaving(state, (_opinion_day(state),), RING_DAYS)


# -- the account -----------------------------------------------------------------------------------------


def renewal_days(state: AccountState) -> float | None:
    """Count the days until the renewal; negative once it is past."""
    facts = state.attributes
    return None if facts is None or facts.renewal_ms is None else float(facts.renewal_ms // DAY_MS - state.day)


def _renewal_next(state: AccountState, low: float, high: float) -> int:
    facts = state.attributes
    if facts is None or facts.renewal_ms is None:
        return NO_DAY
    renewal_day = facts.renewal_ms // DAY_MS
    if renewal_day - state.day <= low:
        return NO_DAY
    first_below = renewal_day - ceil(min(high, float(NO_DAY))) + 1
    return max(state.day + 1, first_below)


def _renewal_words(state: AccountState) -> Words:
    days = renewal_days(state)
    return {"renewal": "unknown" if days is None else f"in {count_of(round(days), 'day')}"}


def tenure_days(state: AccountState) -> float | None:
    """Count the days since the account was first heard of, or came back."""
    return None if state.first_seen_day == NEVER else float(state.day - state.first_seen_day)


def _tenure_next(state: AccountState, low: float, high: float) -> int:
    return NO_DAY if state.first_seen_day == NEVER else growing_next(state.first_seen_day, state.day, low, high)


def onboarding(state: AccountState) -> float | None:
    """Tell whether the stage is `onboarding` or unknown: 1, else 0."""
    stage = None if state.attributes is None else state.attributes.stage
    return 1.0 if stage is None or stage == "onboarding" else 0.0


SUPPORT_SIGNALS: Final = (
    signal(ticket_load, PART_TICKETS, _open_tickets_next, _ticket_words),
    signal(open_tickets, PART_TICKETS, _open_tickets_next, _ticket_words),
    signal(pressing_tickets, PART_TICKETS, _open_tickets_next, _ticket_words),
    signal(bug_tickets, PART_TICKETS, _bug_tickets_next, _bug_words),
    signal(ticket_age_days, PART_TICKETS, _ticket_age_next, _ticket_age_words),
    signal(solve_days, PART_TICKETS, _solve_next, no_words),
    signal(ticket_sentiment, PART_TICKETS, _ticket_sentiment_next, no_words),
    signal(latest_survey, PART_SURVEYS, _surveys_next, _survey_words),
    signal(survey_mean, PART_SURVEYS, _surveys_next, _survey_words),
    signal(negative_surveys, PART_SURVEYS, _surveys_next, _survey_words),
    signal(csm_sentiment, PART_FACTS, _csm_sentiment_next, no_words),
    signal(renewal_days, PART_FACTS, _renewal_next, _renewal_words),
    signal(tenure_days, PART_TENURE, _tenure_next, no_words),
    signal(onboarding, PART_FACTS, never_next, no_words),
)
