"""The parts of an account that resolve by event time: tickets, invoices, survey answers, MRR facts, attributes.

The rule that lives here: the latest event wins per fact, whatever order the events arrive in. Two events of the
same instant are settled by value, never by arrival: the one that is worse news, for plain attributes the greater.
"""

from __future__ import annotations

from array import array
from sys import intern
from typing import Any, Final, NamedTuple

from service.scoring.events import AccountUpdate, Ticket

NEVER: Final = -1  # no such instant or day yet

OVERRIDE_BANDS: Final = ("healthy", "at_risk", "endangered")
SEVERITIES: Final = ("low", "normal", "high", "urgent")
NO_SEVERITY: Final = -1
STATUS_UNKNOWN: Final = 0  # only updates are known, so the ticket was opened before our time
STATUS_OPEN: Final = 1
STATUS_SOLVED: Final = 2


class TicketRecord:
    """One ticket, each fact with the time of the event that set it; solved ones stay until out of the ring."""

    __slots__ = (
        "first_ms",
        "is_opening_known",
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
        self.first_ms = NEVER
        self.last_ms = NEVER
        self.is_opening_known = False

    @property
    def is_open(self) -> bool:
        """True unless its latest opening or solving event solved it."""
        return self.status != STATUS_SOLVED

    def merge(self, event: Ticket) -> None:
        """Take from `event` every fact that is newer than the one known."""
        time_ms = event.time_ms
        self.last_ms = max(self.last_ms, time_ms)
        self.first_ms = time_ms if self.first_ms == NEVER else min(self.first_ms, time_ms)
        if event.action != "updated":
            self.is_opening_known |= event.action == "opened"
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
        """List every fact; times as milliseconds before `last_ms` (null: never), because most are equal to it."""
        last = self.last_ms
        ages = [
            None if time_ms == NEVER else last - time_ms
            for time_ms in (self.status_ms, self.severity_ms, self.tags_ms, self.sentiment_ms, self.first_ms)
        ]
        return [last, self.status, self.severity, self.tags, self.sentiment, int(self.is_opening_known), *ages]

    @classmethod
    def from_row(cls, row: list[Any]) -> TicketRecord:
        """Rebuild from what `to_row` gave, with JSON lists for tuples."""
        record = cls()
        last, record.status, record.severity, tags, record.sentiment, known, *ages = row
        times = [NEVER if age is None else last - age for age in ages]
        record.last_ms = last
        record.tags = tuple(map(intern, tags))
        record.is_opening_known = bool(known)
        record.status_ms, record.severity_ms, record.tags_ms, record.sentiment_ms, record.first_ms = times
        return record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TicketRecord) and self.to_row() == other.to_row()

    __hash__ = None  # type: ignore[assignment]  # mutable, so never a key


class Invoice(NamedTuple):
    """The latest time of each kind of news of one invoice; `since_ms` is when it became overdue."""

    paid_ms: int = NEVER
    overdue_ms: int = NEVER
    since_ms: int = NEVER
    failed_ms: int = NEVER

    @property
    def is_overdue(self) -> bool:
        """True while no payment followed the latest overdue notice; of one instant, the payment counts."""
        return self.overdue_ms > self.paid_ms

    @property
    def is_failing(self) -> bool:
        """True while no payment followed the latest failed charge; of one instant, the payment counts."""
        return self.failed_ms > self.paid_ms

    @property
    def last_ms(self) -> int:
        """The latest news of any kind."""
        return max(self.paid_ms, self.overdue_ms, self.failed_ms)

    def paid(self, time_ms: int) -> Invoice:
        """Take note of a payment."""
        return self._replace(paid_ms=max(self.paid_ms, time_ms))

    def failed(self, time_ms: int) -> Invoice:
        """Take note of a charge that was refused."""
        return self._replace(failed_ms=max(self.failed_ms, time_ms))

    def overdue(self, time_ms: int, since_ms: int) -> Invoice:
        """Take note that it is unpaid since `since_ms`; of two notices of one instant, the earlier start counts."""
        if (time_ms, -since_ms) > (self.overdue_ms, -self.since_ms):
            return self._replace(overdue_ms=time_ms, since_ms=since_ms)
        return self


class SurveyAnswer(NamedTuple):
    """The latest version of one response; `percent` is the answer on 0..100, higher is better."""

    time_ms: int
    percent: float
    kind: str

    @property
    def news(self) -> tuple[int, float, str]:
        """Order versions and answers: the latest counts, of one instant the worse (NPS judges hardest)."""
        return self.time_ms, -self.percent, self.kind


class Override(NamedTuple):
    """A band set by hand until an instant; of two of one instant, the worse band counts."""

    rank: int  # of OVERRIDE_BANDS
    until_ms: int
    reason: str


def _override_of(event: AccountUpdate) -> Override | None:
    if event.override_band is None:
        return None
    rank = OVERRIDE_BANDS.index(event.override_band)
    return Override(rank, event.override_until_ms or 0, event.override_reason or "")


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
        "override",
    )
    # What signals read: a churned account is frozen, so these are not taken given with or after the churn.
    JUDGED: Final = frozenset(("renewal_ms", "key_users", "csm_sentiment", "override"))
    PUBLISHED: Final = frozenset(
        ("name", "tier", "mrr_minor", "currency", "owner", "stage", "csm_sentiment", "override")
    )
    WORSE_IS_LESS: Final = frozenset(("csm_sentiment",))  # of two of one instant, the worse counts
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
        self.override: Override | None = None
        self.times = array("q", [NEVER] * len(self.FIELDS))

    def time_of(self, field: str) -> int:
        """Give the time of the event that set `field`; NEVER when nothing did."""
        return self.times[self.FIELDS.index(field)]

    def offer(self, field: str, value: Any, time_ms: int) -> bool:
        """Set `field` unless it is known from a later event; True when its value changed."""
        index = self.FIELDS.index(field)
        known_ms = self.times[index]
        known = getattr(self, field)
        if time_ms < known_ms or (time_ms == known_ms and (value <= known) != (field in self.WORSE_IS_LESS)):
            return False
        self.times[index] = time_ms
        setattr(self, field, intern(value) if field in self.SHARED else value)
        return bool(known != value)

    def merge(self, event: AccountUpdate) -> set[str]:
        """Offer every fact that the event states; returns the names of those that changed."""
        changed = set()
        for field in self.FIELDS:  # the stage comes before what it freezes
            if field in self.JUDGED and self.stage == "churned":
                continue
            value = _override_of(event) if field == "override" else getattr(event, field)
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
            if value is None:
                continue
            if field == "key_users":
                attributes.key_users = tuple(value)
            elif field == "override":
                attributes.override = Override(*value)
            else:
                setattr(attributes, field, intern(value) if field in cls.SHARED else value)
        attributes.times = array("q", [NEVER if age is None else latest - age for age in ages])
        return attributes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attributes) and self.to_row() == other.to_row()

    __hash__ = None  # type: ignore[assignment]  # mutable, so never a key
