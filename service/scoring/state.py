"""Everything remembered about one account, as small as its signals allow.

Only the layout and the passing of days live here. Counters are in event time and UTC days; `day` is the newest
day of the ring and follows the day of `clock_ms`, except that it stands still while the account is churned.
Absent collections are shared empty values, replaced at first use, because most accounts never need them.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from service.scoring.records import NEVER, STATUS_OPEN, Attributes, Invoice, SurveyAnswer, TicketRecord
from service.scoring.views import Alert, Band

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
RING_DAYS: Final = 90  # three windows of 30 days: the last, the one before, and one for late events
WINDOW_DAYS: Final = 30
SOURCES: Final = 6  # five input topics and the internal re-keyed one

_RING_MASK: Final = (1 << RING_DAYS) - 1
_NO_TICKETS: Final[Mapping[str, TicketRecord]] = MappingProxyType({})
_NO_INVOICES: Final[Mapping[str, Invoice]] = MappingProxyType({})
_NO_SURVEYS: Final[Mapping[str, SurveyAnswer]] = MappingProxyType({})
_NO_OUTPUTS: Final = array("d")
_NO_FAILURES: Final[Mapping[int, int]] = MappingProxyType({})


class AccountState:
    """The aggregate of one account.

    `logins` counts per day at index `day % 90`, in one byte per day until a day exceeds 255. Bit n of `active_mask`
    is set when there was any usage n days before `day`. `outputs` and `outputs_model` are a cache, never stored.
    """

    __slots__ = (
        "account",
        "active_mask",
        "alarm",
        "applied",
        "attributes",
        "band",
        "baseline",
        "clock_ms",
        "coverage",
        "day",
        "failures",
        "first_login_day",
        "first_usage_day",
        "invoices",
        "last_payment_ms",
        "last_ticket_ms",
        "last_usage_ms",
        "logins",
        "next_due_ms",
        "outputs",
        "outputs_model",
        "previous_logins",
        "recent_began_ms",
        "recent_logins",
        "recent_new",
        "recent_old",
        "revision",
        "score",
        "score_seq",
        "seq",
        "surveys",
        "tickets",
        "unsent",
    )

    def __init__(self, account: str) -> None:
        self.account = account
        self.revision = 0
        self.clock_ms = NEVER
        self.next_due_ms: int | None = None
        self.applied = array("q", [NEVER] * SOURCES)
        # what was published
        self.band: Band = "unknown"
        self.alarm: Band = "healthy"  # what the alerts so far told: healthy, at_risk or endangered
        self.score: float | None = None
        self.coverage = 0.0
        self.seq = 0
        self.score_seq = 0
        self.baseline = b""
        self.unsent: tuple[Alert, ...] = ()
        # usage
        self.day = NEVER
        self.logins = array("B", bytes(RING_DAYS))
        self.recent_logins = 0
        self.previous_logins = 0
        self.active_mask = 0
        self.first_login_day = NEVER
        self.first_usage_day = NEVER
        self.last_usage_ms = NEVER
        # payments, support, opinions, facts
        self.last_payment_ms = NEVER
        self.last_ticket_ms = NEVER
        self.failures = _NO_FAILURES  # day -> failed payments
        self.invoices = _NO_INVOICES
        self.tickets = _NO_TICKETS
        self.surveys = _NO_SURVEYS
        self.attributes: Attributes | None = None
        # event ids seen
        self.recent_new = b""
        self.recent_old = b""
        self.recent_began_ms = NEVER
        # cache
        self.outputs = _NO_OUTPUTS
        self.outputs_model: object | None = None  # the Model they were computed with

    @property
    def is_churned(self) -> bool:
        """True while the account's stage freezes its aggregates, score and band."""
        return self.attributes is not None and self.attributes.stage == "churned"


def roll_days(state: AccountState, day: int) -> None:
    """Move the ring's newest day forward to the later `day`, dropping what leaves it; O(days passed), at most 90."""
    passed = day - state.day
    if state.day == NEVER or passed >= RING_DAYS:
        state.logins = array("B", bytes(RING_DAYS))
        state.recent_logins = state.previous_logins = state.active_mask = 0
    else:
        logins = state.logins
        for new_day in range(state.day + 1, day + 1):
            ageing = logins[(new_day - WINDOW_DAYS) % RING_DAYS]
            state.recent_logins -= ageing
            state.previous_logins += ageing - logins[(new_day - 2 * WINDOW_DAYS) % RING_DAYS]
            logins[new_day % RING_DAYS] = 0
        state.active_mask = (state.active_mask << passed) & _RING_MASK
    state.day = day
    _forget_old(state)


def _forget_old(state: AccountState) -> None:
    """Drop what is older than the ring; events that could still touch it would be late, so order cannot matter."""
    oldest_day = state.day - RING_DAYS + 1
    oldest_ms = oldest_day * DAY_MS
    if state.failures:
        state.failures = {day: count for day, count in state.failures.items() if day >= oldest_day}
    if state.surveys:
        state.surveys = {key: answer for key, answer in state.surveys.items() if answer.time_ms >= oldest_ms}
    if state.invoices:
        state.invoices = {
            key: invoice for key, invoice in state.invoices.items() if not invoice.paid or invoice.last_ms >= oldest_ms
        }
    if state.tickets:
        state.tickets = {
            key: ticket
            for key, ticket in state.tickets.items()
            if ticket.status == STATUS_OPEN or ticket.last_ms >= oldest_ms
        }
