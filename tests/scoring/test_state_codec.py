"""The stored form: lossless, versioned, bounded in size, and honest about damage."""

from __future__ import annotations

import pytest

from service.errors import StateError
from service.scoring import engine, state_codec
from service.scoring.state import AccountState
from tests.scoring.laws import MODEL, snapshot
from tests.scoring.logs import DAY, HOUR, T0, Clock


def typical_account() -> AccountState:
    """Play two months of an account with a bit of everything."""
    state, clock = AccountState("acme"), Clock()
    facts = {"name": "Größe & Söhne", "tier": "high_touch", "mrr_minor": 99_00, "currency": "EUR", "owner": "eve"}
    engine.step(state, clock.update(T0, **facts, stage="active", key_users=("ann", "bob")), T0, MODEL)
    engine.step(state, clock.payment(T0, "invoice_overdue", invoice="i-1"), T0, MODEL)
    engine.step(state, clock.payment(T0, "payment_failed"), T0, MODEL)
    engine.step(state, clock.ticket(T0, "opened", "t-1", "high", tags=("bug",), sentiment=-0.5), T0, MODEL)
    engine.step(state, clock.survey(T0, 6.0), T0, MODEL)
    for day in range(65):
        time_ms = T0 + day * DAY + 9 * HOUR
        engine.step(state, clock.login(time_ms), time_ms, MODEL)
    return state


def test_typical_account_is_small() -> None:
    """An account with a bit of everything is stored in at most 800 bytes, one with logins only in at most 400."""
    state = typical_account()
    engine.mark_sent(state, state.seq)
    assert len(state_codec.encode(state)) <= 800
    assert len(state_codec.encode(AccountState("acme"))) <= 400


def test_busy_ring_and_unsent_alerts_are_lossless() -> None:
    """Days of more than 255 logins and alerts with all their reasons come back as they were."""
    state, clock = typical_account(), Clock("acme", 10_000)
    for _ in range(300):
        engine.step(state, clock.login(T0 + 65 * DAY), T0 + 65 * DAY, MODEL)
    engine.advance(state, T0 + 130 * DAY, MODEL)
    assert state.unsent
    recovered = state_codec.decode("acme", state_codec.encode(state))
    assert snapshot(recovered) == snapshot(state)
    assert recovered.unsent == state.unsent


def test_new_account_is_lossless() -> None:
    """An account without any event can be stored, too."""
    fresh = AccountState("acme")
    assert snapshot(state_codec.decode("acme", state_codec.encode(fresh))) == snapshot(fresh)


def test_peeks_read_fixed_places() -> None:
    """Due instant and revision are read without decoding the rest."""
    state = typical_account()
    head = state_codec.encode(state)
    assert state_codec.peek_next_due(head) == state.next_due_ms == T0 + 65 * DAY
    assert state_codec.peek_revision(head) == state.revision
    assert state_codec.peek_next_due(state_codec.encode(AccountState("acme"))) is None


def test_newer_version_is_refused() -> None:
    """A value of an unknown version is refused by name, never guessed at."""
    newer = bytes([state_codec.VERSION + 1]) + state_codec.encode(typical_account())[1:]
    for reading in (lambda: state_codec.decode("acme", newer), lambda: state_codec.peek_next_due(newer)):
        with pytest.raises(StateError, match="version 2"):
            reading()


def test_damage_is_refused() -> None:
    """A value cut anywhere or with a broken rest is refused with StateError, whatever breaks inside."""
    value = state_codec.encode(typical_account())
    whole_head = value.index(b"{")
    for end in [*range(0, whole_head, 7), whole_head + 1, len(value) - 1]:
        with pytest.raises(StateError, match="acme"):
            state_codec.decode("acme", value[:end])
    with pytest.raises(StateError, match="damaged"):
        state_codec.decode("acme", value[:whole_head] + b'{"t":[1]}')
