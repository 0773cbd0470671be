"""Tickets and surveys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import fsum

from tests.oracle.wire import DAY_MS, Wire, day_of, instant, kind_of, stated

TICKET_EVENTS = frozenset({"ticket_opened", "ticket_updated", "ticket_solved"})
TICKETS_MAX = 64
SURVEYS_MAX = 16
SEVERITIES = ("low", "normal", "high", "urgent")
LOADS = {"low": 1, "normal": 2, None: 2, "high": 4, "urgent": 8}


class Ticket:
    """Every event of one ticket."""

    def __init__(self) -> None:
        self.events: list[Wire] = []

    def _states(self, field: str) -> list[tuple[int, Wire]]:
        return [(instant(event["time"]), event) for event in self.events if stated(event, field)]

    @property
    def first_ms(self) -> int:
        return min(instant(event["time"]) for event in self.events)

    @property
    def news_ms(self) -> int:
        return max(instant(event["time"]) for event in self.events)

    @property
    def has_opening(self) -> bool:
        return any(kind_of(event) == "ticket_opened" for event in self.events)

    @property
    def solved_ms(self) -> int | None:
        """When it was solved; None while it is open."""
        turns = [
            (instant(event["time"]), kind_of(event) == "ticket_solved")
            for event in self.events
            if kind_of(event) != "ticket_updated"
        ]
        time_ms, is_solved = max(turns, default=(0, False))
        return time_ms if is_solved else None

    @property
    def is_update_only(self) -> bool:
        return all(kind_of(event) == "ticket_updated" for event in self.events)

    @property
    def severity(self) -> str | None:
        said = [(time_ms, SEVERITIES.index(event["data"]["severity"])) for time_ms, event in self._states("severity")]
        return SEVERITIES[max(said)[1]] if said else None

    @property
    def tags(self) -> tuple[int, list[str]]:
        """When tags were last given, and which."""
        said = [(time_ms, sorted(set(event["data"]["tags"]))) for time_ms, event in self._states("tags")]
        return max(said, default=(0, []))

    @property
    def sentiment(self) -> tuple[int, float] | None:
        """When a sentiment was last given, and which."""
        said = [
            (instant(event["time"]), -stated(event, "sentiment"))
            for event in self.events
            if stated(event, "sentiment") is not None
        ]
        return (max(said)[0], -max(said)[1]) if said else None


class Tickets:
    """The tickets that are kept."""

    def __init__(self) -> None:
        self.any = False
        self.kept: dict[str, Ticket] = {}

    def count(self, event: Wire, today: int) -> None:
        """Count one ticket event that arrives on day `today`."""
        self.any = True
        self.forget(today)
        self.kept.setdefault(stated(event, "ticket"), Ticket()).events.append(event)
        while len(self.kept) > TICKETS_MAX:
            del self.kept[min(self.kept, key=self._need)]

    def forget(self, today: int) -> None:
        """Forget solved tickets, and those known from updates only, without news for 90 days."""
        for name, ticket in list(self.kept.items()):
            if (ticket.solved_ms is not None or ticket.is_update_only) and today - day_of(ticket.news_ms) >= 90:
                del self.kept[name]

    def _need(self, name: str) -> tuple[bool, int, str]:
        return self.kept[name].solved_ms is None, self.kept[name].news_ms, name

    @property
    def open(self) -> list[Ticket]:
        return [ticket for ticket in self.kept.values() if ticket.solved_ms is None]


def _ticket_load(tickets: Tickets, _today: int) -> float | None:
    return sum(LOADS[ticket.severity] for ticket in tickets.open)


def _open_tickets(tickets: Tickets, _today: int) -> float | None:
    return len(tickets.open)


def _pressing_tickets(tickets: Tickets, _today: int) -> float | None:
    return sum(ticket.severity in {"high", "urgent"} for ticket in tickets.open)


def _bug_tickets(tickets: Tickets, today: int) -> float | None:
    said = [ticket.tags for ticket in tickets.kept.values()]
    return sum("bug" in tags and today - day_of(time_ms) < 30 for time_ms, tags in said)


def _ticket_age_days(tickets: Tickets, today: int) -> float | None:
    return max((today - day_of(ticket.first_ms) for ticket in tickets.open), default=0)


def _solve_days(tickets: Tickets, today: int) -> float | None:
    took = [
        max(0, ticket.solved_ms - ticket.first_ms) / DAY_MS
        for ticket in tickets.kept.values()
        if ticket.solved_ms is not None and ticket.has_opening and today - day_of(ticket.solved_ms) < 90
    ]
    return fsum(took) / len(took) if took else None


def _ticket_sentiment(tickets: Tickets, today: int) -> float | None:
    said = [ticket.sentiment for ticket in tickets.kept.values()]
    moods = [one[1] for one in said if one is not None and today - day_of(one[0]) < 30]
    return fsum(moods) / len(moods) if moods else None


TICKET_SIGNALS: dict[str, Callable[[Tickets, int], float | None]] = {
    "ticket_load": _ticket_load,
    "open_tickets": _open_tickets,
    "pressing_tickets": _pressing_tickets,
    "bug_tickets": _bug_tickets,
    "ticket_age_days": _ticket_age_days,
    "solve_days": _solve_days,
    "ticket_sentiment": _ticket_sentiment,
}


@dataclass(frozen=True)
class Answer:
    """One version of an answer."""

    time_ms: int
    percent: float
    kind: str

    def news(self) -> tuple[int, float, str]:
        """Order answers and versions of them: the latest counts, of one instant the worse."""
        return self.time_ms, -self.percent, self.kind

    @property
    def is_negative(self) -> bool:
        return self.percent <= 60 if self.kind == "nps" else self.percent < 50


class Surveys:
    """The latest version of every answer."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}

    def count(self, event: Wire) -> None:
        """Count an answer, or a version of one."""
        low, high = stated(event, "scale_min"), stated(event, "scale_max")
        if low is None or high is None:
            low, high = 0, 10
        percent = 100 * (stated(event, "score") - low) / (high - low)
        new = Answer(instant(event["time"]), percent, stated(event, "kind"))
        versions = [new, self.answers.get(stated(event, "response"), new)]
        self.answers[stated(event, "response")] = max(versions, key=Answer.news)

    def of_last_90(self, today: int) -> list[Answer]:
        """List the answers that count."""
        recent = {name: answer for name, answer in self.answers.items() if today - day_of(answer.time_ms) < 90}
        kept = sorted(recent, key=lambda name: (recent[name].time_ms, name))[-SURVEYS_MAX:]
        return sorted((recent[name] for name in kept), key=Answer.news)


def _latest_survey(answers: list[Answer]) -> float | None:
    return answers[-1].percent


def _survey_mean(answers: list[Answer]) -> float | None:
    return fsum(answer.percent for answer in answers) / len(answers)


def _negative_surveys(answers: list[Answer]) -> float | None:
    return sum(answer.is_negative for answer in answers)


SURVEY_SIGNALS: dict[str, Callable[[list[Answer]], float | None]] = {
    "latest_survey": _latest_survey,
    "survey_mean": _survey_mean,
    "negative_surveys": _negative_surveys,
}
