"""The parts of an account that resolve by event time: tickets, invoices, survey answers, attributes.

The rule that lives here: the latest event wins per fact, whatever order the events arrive in. Two events of the
same instant are settled by value, never by arrival: the one that is worse news, for plain attributes the greater.
"""

from __future__ import annotations

from array import array
from sys import intern
from typing import Any, Final, NamedTuple

from service.scoring.events import AccountUpdate, Ticket

NEVER: Final = -1  # no such instant or day yet

SEVERITIES: Final = ("low", "normal", "high", "urgent")
NO_SEVERITY: Final = -1
STATUS_UNKNOWN: Final = 0  # only updates are known, so the ticket was opened before our time
STATUS_OPEN: Final = 1
STATUS_SOLVED: Final = 2


class TicketRecord:
    """One ticket, each fact with the time of the event that set it; solved ones stay until out of the ring."""

    __slots__ = (
        "last_ms",
        "sentiment",
        "sentiment_ms",
        "severity",
        "severity_ms",
        "status",
        "status_ms",
        "tags",
        "tags_ms",
    )

    def __init__(self) -> None:
        self.status = STATUS_UNKNOWN
        self.status_ms = NEVER
        self.severity = NO_SEVERITY
        self.severity_ms = NEVER
        self.tags: tuple[str, ...] = ()
        self.tags_ms = NEVER
        self.sentiment: float | None = None
        self.sentiment_ms = NEVER
        self.last_ms = NEVER

    @property
    def is_open(self) -> bool:
        """True unless its latest opening or solving event solved it."""
        return self.status != STATUS_SOLVED

    def merge(self, event: Ticket) -> None:
        """Take from `event` every fact that is newer than the one known."""
        time_ms = event.time_ms
        self.last_ms = max(self.last_ms, time_ms)
        if event.action != "updated":
            status = STATUS_SOLVED if event.action == "solved" else STATUS_OPEN
            if (time_ms, status) > (self.status_ms, self.status):
                self.status, self.status_ms = status, time_ms
        if event.severity is not None:
            severity = SEVERITIES.index(event.severity)
            if (time_ms, severity) > (self.severity_ms, self.severity):
                self.severity, self.severity_ms = severity, time_ms
        if event.tags:
            tags = tuple(sorted(intern(tag) for tag in set(event.tags)))
            if (time_ms, tags) > (self.tags_ms, self.tags):
                self.tags, self.tags_ms = tags, time_ms
        if event.sentiment is not None:
            known = 1.0 if self.sentiment is None else self.sentiment
            if (time_ms, -event.sentiment) > (self.sentiment_ms, -known):
                self.sentiment, self.sentiment_ms = event.sentiment, time_ms

    def to_row(self) -> list[Any]:
        """List every fact; times as milliseconds before `last_ms`, because most are equal to it."""
        last = self.last_ms
        return [
            last,
            self.status,
            last - self.status_ms,
            self.severity,
            last - self.severity_ms,
            self.tags,
            last - self.tags_ms,
            self.sentiment,
            last - self.sentiment_ms,
        ]

    @classmethod
    def from_row(cls, row: list[Any]) -> TicketRecord:
        """Rebuild from what `to_row` gave, with JSON lists for tuples."""
        record = cls()
        last, record.status, status, record.severity, severity, tags, tagged, record.sentiment, felt = row
        record.last_ms = last
        record.status_ms = last - status if status else last
        record.severity_ms = last - severity if severity else last
        record.tags = tuple(map(intern, tags))
        record.tags_ms = last - tagged if tagged else last
        record.sentiment_ms = last - felt if felt else last
        return record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TicketRecord) and self.to_row() == other.to_row()

    __hash__ = None  # type: ignore[assignment]  # mutable, so never a key


class Invoice(NamedTuple):
    """The latest news of one invoice; `since_ms` is when it became overdue, NEVER when only its payment is known."""

    last_ms: int
    paid: bool
    since_ms: int


class SurveyAnswer(NamedTuple):
    """The latest version of one response; `percent` is the answer on 0..100, higher is better."""

    time_ms: int
    percent: float
    kind: str


class Attributes:
    """Facts about the account, each with the time of the event that set it (`times`, in the order of FIELDS)."""

    FIELDS: Final = (
        "name",
        "tier",
        "mrr_minor",
        "currency",
        "owner",
        "stage",
        "renewal_ms",
        "key_users",
        "csm_sentiment",
    )
    PUBLISHED: Final = frozenset(("name", "tier", "mrr_minor", "currency", "owner", "stage"))
    SHARED: Final = frozenset(("tier", "currency", "owner", "stage"))  # few values, many accounts: interned

    __slots__ = (*FIELDS, "times")

    def __init__(self) -> None:
        self.name: str | None = None
        self.tier: str | None = None
        self.mrr_minor: int | None = None
        self.currency: str | None = None
        self.owner: str | None = None
        self.stage: str | None = None
        self.renewal_ms: int | None = None
        self.key_users: tuple[str, ...] | None = None
        self.csm_sentiment: float | None = None
        self.times = array("q", [NEVER] * len(self.FIELDS))

    def offer(self, field: str, value: Any, time_ms: int) -> bool:
        """Set `field` unless it is known from a later event; True when its value changed."""
        index = self.FIELDS.index(field)
        known_ms = self.times[index]
        known = getattr(self, field)
        if time_ms < known_ms or (time_ms == known_ms and value <= known):
            return False
        self.times[index] = time_ms
        setattr(self, field, intern(value) if field in self.SHARED else value)
        return bool(known != value)

    def merge(self, event: AccountUpdate) -> set[str]:
        """Offer every fact that the event states; returns the names of those that changed.

        A churned account's score is frozen, so an opinion given with or after the churn is not taken.
        """
        changed = set()
        for field in self.FIELDS:  # the stage comes before the opinion
            if field == "csm_sentiment" and self.stage == "churned":
                continue
            value = getattr(event, field)
            if value is not None and self.offer(field, value, event.time_ms):
                changed.add(field)
        return changed

    def to_row(self) -> list[Any]:
        """List the values, the latest time, and the milliseconds before it of each value's own (null = never)."""
        latest = max(self.times)
        ages = [None if time_ms == NEVER else latest - time_ms for time_ms in self.times]
        return [*(getattr(self, field) for field in self.FIELDS), latest, ages]

    @classmethod
    def from_row(cls, row: list[Any]) -> Attributes:
        """Rebuild from what `to_row` gave, with JSON lists for tuples."""
        attributes = cls()
        *values, latest, ages = row
        for field, value in zip(cls.FIELDS, values, strict=True):
            if value is not None:
                setattr(attributes, field, intern(value) if field in cls.SHARED else value)
        if attributes.key_users is not None:
            attributes.key_users = tuple(attributes.key_users)
        attributes.times = array("q", [NEVER if age is None else latest - age for age in ages])
        return attributes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attributes) and self.to_row() == other.to_row()

    __hash__ = None  # type: ignore[assignment]  # mutable, so never a key
