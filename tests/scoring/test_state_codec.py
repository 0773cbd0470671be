"""The stored form: lossless, versioned, bounded in size, and honest about damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import StateError
from service.scoring import effects, engine, state_codec
from service.scoring.people import user_day
from service.scoring.signals import SIGNALS
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
    """An account of two busy months is stored in at most 600 bytes, one with a bit of everything in at most 900."""
    state = typical_account()
    engine.mark_sent(state, state.seq)
    assert len(state_codec.encode(state)) <= 900
    plain, clock = AccountState("acme"), Clock()
    for day in range(65):
        for user in ("ann", "bob", "cy"):
            time_ms = T0 + day * DAY + 9 * HOUR
            engine.step(plain, clock.login(time_ms, user), time_ms, MODEL)
    assert len(state_codec.encode(plain)) <= 400
    assert len(state_codec.encode(AccountState("acme"))) <= 250


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
    newer = bytes([state_codec.ACTED_VERSION + 1]) + state_codec.encode(typical_account())[1:]
    for reading in (lambda: state_codec.decode("acme", newer), lambda: state_codec.peek_next_due(newer)):
        with pytest.raises(StateError, match="version 5"):
            reading()


def test_damage_is_refused() -> None:
    """A value cut anywhere or with a broken rest is refused with StateError, whatever breaks inside."""
    value = state_codec.encode(typical_account())
    whole_head = value.index(b"{")
    for end in [*range(0, whole_head, 7), whole_head + 1, len(value) - 1]:
        with pytest.raises(StateError, match="acme"):
            state_codec.decode("acme", value[:end])
    with pytest.raises(StateError, match="damaged"):
        state_codec.decode("acme", value[:whole_head] + b'{"m":{"h":0,"t":[1]}}')


def stored_v1(name: str) -> bytes:
    """Read a value that the release before wrote."""
    return bytes.fromhex((Path(__file__).parent / f"{name}.v1.hex").read_text(encoding="ascii"))


def test_version_1_is_read() -> None:
    """What the release before stored comes back: counts, parts, facts, alerts not yet sent, and what was told."""
    state = state_codec.decode("acme", stored_v1("full_state"))
    assert (state.band, state.told, state.seq) == ("endangered", "endangered", 2)
    assert [alert.kind for alert in state.unsent] == ["at_risk", "endangered"]
    assert state.unsent[0].factors[0].sentence.endswith("points")
    assert (state.recent_logins, state.previous_logins) == (0, 14)
    values = {name: SIGNALS[name].read(state) for name in SIGNALS}
    day = T0 // DAY + 110
    assert state.day == day
    assert (values["no_login_days"], values["recency_days"], values["overdue_days"]) == (46.0, 46.0, 110.0)
    assert (values["ticket_load"], values["bug_tickets"], values["ticket_age_days"]) == (4.0, 0.0, 110.0)
    assert (values["csm_sentiment"], values["renewal_days"], values["failed_payments"]) == (-0.5, 90.0, 0.0)
    assert values["active_days_trend"] == (0 + 3) / (14 + 3)
    assert state.attributes is not None
    assert (state.attributes.name, state.attributes.key_users) == ("Größe & Söhne", ("ann", "bob"))
    assert state_codec.peek_next_due(stored_v1("login_state")) == 1645574400000
    assert state_codec.peek_revision(stored_v1("login_state")) == 85


def test_version_2_is_read() -> None:
    """What version 2 stored comes back as it was, its users in the order that they are now kept in."""
    value = bytes.fromhex((Path(__file__).parent / "full_state.v2.hex").read_text(encoding="ascii"))
    state = state_codec.decode("acme", value)
    values = {name: SIGNALS[name].read(state) for name in SIGNALS}
    assert (values["active_users"], values["active_user_share"]) == (31.0, 1.0)
    assert (values["login_trend"], values["recency_days"], values["purchase_days"]) == (1.4, 14.0, 14.0)
    assert (values["key_user_drop"], values["overdue_days"], values["ticket_load"]) == (1 - 14 / 30, 80.0, 4.0)
    assert (state.band, state.seq, len(state.unsent), dict(state.rules)) == ("at_risk", 2, 2, {"key_user_quiet": 2})
    days = [user_day(state.users, index) for index in range(31)]
    assert days == sorted(days)
    assert days[-1] == T0 // DAY + 66
    again = state_codec.encode(state)
    assert (value[0], again[0]) == (2, 3)
    assert snapshot(state_codec.decode("acme", again)) == snapshot(state)


def test_upgrade_is_no_alert() -> None:
    """The default model of this release is another one: the account is scored anew, marked, and nobody is told."""
    state = state_codec.decode("acme", stored_v1("login_state"))
    assert engine.use_model(state, MODEL) & effects.SCORED
    assert (state.unsent, state.model_changed) == ((), True)
    recovered = state_codec.decode("acme", state_codec.encode(state))
    assert snapshot(recovered) == snapshot(state)


def test_damaged_version_1_is_refused() -> None:
    """A cut value of version 1 is refused like any other."""
    value = stored_v1("full_state")
    for end in range(0, len(value), 97):
        with pytest.raises(StateError, match="acme"):
            state_codec.decode("acme", value[:end])
