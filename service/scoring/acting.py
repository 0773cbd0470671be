"""What people did about an account: which actions count, what they change here, and what is told of each.

An action counts once by its id, is refused or applied in the place where the account's records have it, and its outcome
waits in `unsent` until it is acknowledged, like an alert. Only the latest alerts can be acted on, so that what is kept
is bounded. A snooze is no alert's but the account's: the latest by the time of the person who acted is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

from service.scoring.events import AccountUpdate, Action
from service.scoring.records import NEVER, OVERRIDE_BANDS, Override
from service.scoring.state import AccountState
from service.scoring.views import ActionTaken, AlertState, Refusal

MAX_ALERTS: Final = 32  # the latest ones that can be acted on
MAX_IDS: Final = 32  # the latest actions that are known by their ids
STATING: Final = frozenset(("override", "sentiment"))  # actions that state what an event of the account could state too
ALERT_STATES: Final[dict[str, AlertState]] = {
    "acknowledge": "acknowledged",
    "snooze": "snoozed",
    "resolve": "resolved",
}

_HASH_BYTES: Final = 8
_ID_SEPARATOR: Final = "\x1f"
_NO_ALERTS: Final[Mapping[Any, Any]] = MappingProxyType({})


class Acting:
    """What is remembered of an account's actions; an account without any has none."""

    __slots__ = ("alerts", "ids", "seq", "snoozed_ms", "snoozed_until_ms", "unsent")

    def __init__(self) -> None:
        self.seq = 0
        self.ids = b""
        self.alerts: Mapping[int, AlertState] = _NO_ALERTS  # by seq; those that nobody acted on are new
        self.snoozed_ms = NEVER  # when the snooze was said
        self.snoozed_until_ms = NEVER
        self.unsent: tuple[ActionTaken, ...] = ()

    def is_new(self, event_id: str) -> bool:
        """Note an action's id; False when it is one of the last that are known."""
        mark = blake2b(event_id.encode(), digest_size=_HASH_BYTES).digest()
        ids = self.ids
        if any(ids[at : at + _HASH_BYTES] == mark for at in range(0, len(ids), _HASH_BYTES)):
            return False
        self.ids = (ids + mark)[-MAX_IDS * _HASH_BYTES :]
        return True


def acting_of(state: AccountState) -> Acting:
    """Give what is remembered of the account's actions, begun if need be."""
    if state.acting is None:
        state.acting = Acting()
    return state.acting


def snooze_end_ms(state: AccountState) -> int:
    """Give the end of the snooze in force; NEVER when there is none."""
    acting = state.acting
    return acting.snoozed_until_ms if acting is not None and state.clock_ms < acting.snoozed_until_ms else NEVER


def why_refused(state: AccountState, action: Action) -> Refusal | None:
    """Say why the action cannot be applied as the account stands; None when it can."""
    seq = action.alert_seq
    if seq is not None:
        if seq > state.seq:
            return "unknown_alert"
        if seq <= state.seq - MAX_ALERTS:
            return "old_alert"
        if acting_of(state).alerts.get(seq) == "resolved":
            return "resolved_alert"
    if state.is_churned and action.action in {"override", "sentiment", "snooze"}:
        return "churned"
    return None


def snooze(state: AccountState, action: Action) -> bool:
    """Snooze the account's alerts; False when a later action said otherwise."""
    acting, until_ms = acting_of(state), action.until_ms or NEVER
    if (action.time_ms, until_ms) < (acting.snoozed_ms, acting.snoozed_until_ms):
        return False
    acting.snoozed_ms, acting.snoozed_until_ms = action.time_ms, until_ms
    return True


def stated_facts(action: Action) -> AccountUpdate:
    """Give the event about the account that says what the action says."""
    return AccountUpdate(
        action.account,
        action.event_id,
        action.time_ms,
        csm_sentiment=action.sentiment,
        override_band=action.band,
        override_reason=action.reason,
        override_until_ms=action.until_ms,
    )


def holds(state: AccountState, action: Action) -> bool:
    """Tell whether the fact that the action stated is the one known now."""
    facts = state.attributes
    if facts is None:
        return False
    if action.action == "sentiment":
        return facts.time_of("csm_sentiment") == action.time_ms and facts.csm_sentiment == action.sentiment
    if action.band is None:
        return False
    stated = Override(OVERRIDE_BANDS.index(action.band), action.until_ms or 0, action.reason or "")
    return facts.time_of("override") == action.time_ms and facts.override == stated


def conclude(state: AccountState, action: Action, refusal: Refusal | None) -> None:
    """Mark the alert that was acted on, and have the outcome told."""
    acting, seq = acting_of(state), action.alert_seq
    alert_state: AlertState | None = None
    if seq is not None and refusal is None:
        alert_state = ALERT_STATES[action.action]
        kept = {known: mark for known, mark in acting.alerts.items() if known > state.seq - MAX_ALERTS}
        acting.alerts = {**kept, seq: alert_state}
    acting.seq += 1
    source, _, action_id = action.event_id.partition(_ID_SEPARATOR)
    taken = ActionTaken(
        account=state.account,
        seq=acting.seq,
        action_id=action_id,
        source=source,
        action=action.action,
        actor=action.actor,
        acted_ms=action.time_ms,
        time_ms=state.clock_ms,
        refusal=refusal,
        alert_seq=seq,
        alert_state=alert_state,
        until_ms=action.until_ms,
        band=action.band,
        reason=action.reason,
        sentiment=action.sentiment,
        note=action.note,
    )
    acting.unsent = (*acting.unsent, taken)
