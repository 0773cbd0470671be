"""Everything remembered about one account, as small as its signals allow.

Only the layout, the passing of days and the fresh start of a returning account live here. Counters are in event time
and UTC days; `day` is the newest day of the ring and follows the day of `clock_ms`, except that it stands still while
the account is churned. What most accounts never need is in `more`, or a shared empty value until its first use.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from service.scoring.people import KeyUser
from service.scoring.records import NEVER, STATUS_OPEN, Attributes, Invoice, SurveyAnswer, TicketRecord
from service.scoring.views import Alert, Band

if TYPE_CHECKING:
    from service.scoring.acting import Acting
    from service.scoring.model import Model, Plan

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
RING_DAYS: Final = 90  # three windows of 30 days: the last, the one before, and one for late events
WINDOW_DAYS: Final = 30
SOURCES: Final = 7  # five topics of events, the internal re-keyed one, the actions
SCORE_DAYS: Final = 31
NO_SCORE: Final = 0xFFFF
PURCHASE_DAYS: Final = 365

RING_MASK: Final = (1 << RING_DAYS) - 1
_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
_NO_VALUES: Final = array("d")
_NO_DAYS: Final = array("i")


class Purchases:
    """Purchases by day: count, and amounts by currency; the days kept end with the latest purchase."""

    __slots__ = ("days", "first_day")

    def __init__(self) -> None:
        self.first_day = NEVER
        self.days: dict[int, tuple[int, dict[str, int]]] = {}


class More:
    """The parts of a state that accounts known by their logins alone do not have."""

    __slots__ = (
        "failures",
        "features",
        "has_features",
        "has_payments",
        "has_tickets",
        "invoices",
        "key_users",
        "mrr_facts",
        "purchases",
        "surveys",
        "tickets",
    )

    def __init__(self) -> None:
        self.key_users: Mapping[str, KeyUser | None] = _EMPTY  # every listed key user; None until their first login
        self.has_features = False  # any feature event was counted
        self.features: Mapping[str, int] = _EMPTY  # key feature -> day of its latest use
        self.has_payments = False
        self.failures: Mapping[int, int] = _EMPTY  # day -> failed payments
        self.invoices: Mapping[str, Invoice] = _EMPTY
        self.mrr_facts: tuple[tuple[int, int], ...] = ()  # (time, MRR), ordered by time
        self.has_tickets = False
        self.tickets: Mapping[str, TicketRecord] = _EMPTY
        self.surveys: Mapping[str, SurveyAnswer] = _EMPTY
        self.purchases: Purchases | None = None


class AccountState:
    """The aggregate of one account.

    `logins` counts per day at index `day % 90`, in one byte per day until a day exceeds 255. Bit n of `active_mask`
    is set when there was any usage n days before the day of `last_usage_ms`. `scores` holds the scores at the ends of
    the last days in hundredths, at index `day % 31`. The fields under "cache" are never stored.
    """

    __slots__ = (
        "account",
        "acting",
        "active_mask",
        "applied",
        "attributes",
        "band",
        "baseline",
        "better_band",
        "better_since_ms",
        "clock_ms",
        "computed_band",
        "coverage",
        "day",
        "dues",
        "first_login_day",
        "first_seen_day",
        "first_usage_day",
        "key_features",
        "last_login_day",
        "last_usage_ms",
        "logins",
        "model",
        "model_changed",
        "model_mark",
        "more",
        "next_due_ms",
        "outputs",
        "plan",
        "previous_logins",
        "recent_began_ms",
        "recent_logins",
        "recent_new",
        "recent_old",
        "rest",
        "returned_ms",
        "revision",
        "rules",
        "score",
        "score_seq",
        "scores",
        "seq",
        "suppressed",
        "told",
        "told_ms",
        "truths",
        "unsent",
        "users",
    )

    def __init__(self, account: str) -> None:
        self.account = account
        self.revision = 0
        self.clock_ms = NEVER
        self.applied = array("q", [NEVER] * SOURCES)
        self.attributes: Attributes | None = None
        self.seq = 0
        self.score_seq = 0
        self.unsent: tuple[Alert, ...] = ()
        self.returned_ms = NEVER
        self.acting: Acting | None = None  # what people did, once anyone did something
        # event ids seen
        self.recent_new = b""
        self.recent_old = b""
        self.recent_began_ms = NEVER
        # the model that made the stored score
        self.model_mark = b""
        self.model_changed = False
        # cache
        self.model: Model | None = None  # the one that `plan`, `outputs`, `truths` and `dues` are of
        self.plan: Plan | None = None
        self.key_features: tuple[str, ...] = ()
        self.outputs = _NO_VALUES
        self.truths = 0
        self.dues = _NO_DAYS
        self.rest: bytes | None = None  # what of the stored form rarely changes; None when it may have
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forget what was counted, judged and told; facts, offsets, event ids and numbers stay."""
        self.rest = None
        self.next_due_ms: int | None = None
        # what was published and told
        self.band: Band = "unknown"
        self.computed_band: Band = "unknown"
        self.better_band: Band = "unknown"
        self.better_since_ms = NEVER
        self.told: Band = "healthy"
        self.told_ms: Mapping[str, int] = _EMPTY  # kind -> time of the latest alert of that kind
        self.rules: Mapping[str, int] = _EMPTY  # kinds of alerts that are due or were told while their rule holds
        self.suppressed = 0
        self.score: float | None = None
        self.coverage = 0.0
        self.baseline = b""
        self.scores: array[int] | None = None
        # usage
        self.day = NEVER
        self.logins = array("B", bytes(RING_DAYS))
        self.recent_logins = 0
        self.previous_logins = 0
        self.active_mask = 0
        self.first_login_day = NEVER
        self.last_login_day = NEVER
        self.first_usage_day = NEVER
        self.last_usage_ms = NEVER
        self.first_seen_day = NEVER
        self.users = b""
        self.more: More | None = None

    @property
    def is_churned(self) -> bool:
        """True while the account's stage freezes its aggregates, score and band."""
        attributes = self.attributes
        return attributes is not None and attributes.stage == "churned"


def roll_days(state: AccountState, day: int) -> None:
    """Move the ring's newest day forward to the later `day`, dropping what leaves it; O(days passed), at most 90."""
    passed = day - state.day
    if state.day == NEVER or passed >= RING_DAYS:
        state.logins = array("B", bytes(RING_DAYS))
        state.recent_logins = state.previous_logins = 0
    else:
        logins = state.logins
        for new_day in range(state.day + 1, day + 1):
            ageing = logins[(new_day - WINDOW_DAYS) % RING_DAYS]
            state.recent_logins -= ageing
            state.previous_logins += ageing - logins[(new_day - 2 * WINDOW_DAYS) % RING_DAYS]
            logins[new_day % RING_DAYS] = 0
    state.day = day
    if state.more is not None and _forget_old(state.more, day):
        state.rest = None


def _forget_old(more: More, day: int) -> bool:
    """Drop what is older than the ring; events that could still touch it would be late, so order cannot matter.

    True when anything was.
    """
    before = (len(more.failures), len(more.surveys), len(more.invoices), len(more.tickets))
    oldest_day = day - RING_DAYS + 1
    oldest_ms = oldest_day * DAY_MS
    if more.failures:
        more.failures = {day: count for day, count in more.failures.items() if day >= oldest_day}
    if more.surveys:
        more.surveys = {key: answer for key, answer in more.surveys.items() if answer.time_ms >= oldest_ms}
    if more.invoices:
        more.invoices = {
            key: invoice
            for key, invoice in more.invoices.items()
            if invoice.is_overdue or invoice.is_failing or invoice.last_ms >= oldest_ms
        }
    if more.tickets:
        more.tickets = {
            key: ticket
            for key, ticket in more.tickets.items()
            if ticket.status == STATUS_OPEN or ticket.last_ms >= oldest_ms
        }
    return before != (len(more.failures), len(more.surveys), len(more.invoices), len(more.tickets))


def keep_daily_scores(state: AccountState, day: int, *, has_band: bool) -> None:
    """Keep the present score as that of every day from the ring's newest to the one before `day`."""
    scores = state.scores
    has_band = has_band and state.score is not None
    if scores is None:
        if not has_band or state.day == NEVER:
            return
        state.scores = scores = array("H", [NO_SCORE] * SCORE_DAYS)
    value = round(state.score * 100) if has_band and state.score is not None else NO_SCORE
    for ended in range(max(state.day, day - SCORE_DAYS), day):
        scores[ended % SCORE_DAYS] = value


def score_before(state: AccountState, days: int) -> int | None:
    """Give the score at the end of the day `days` before the account's day, in hundredths."""
    if state.scores is None or state.day == NEVER:
        return None
    value = state.scores[(state.day - days) % SCORE_DAYS]
    return None if value == NO_SCORE else value
