"""Another model: which accounts it scores anew, what is marked, and what of it can be told without decoding a state."""

from __future__ import annotations

from importlib import resources

import yaml

from service.model.loader import parse_model
from service.scoring import effects, engine, state_codec
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.state import AccountState
from tests.scoring.logs import DAY, T0, Clock
from tests.scoring.models import DEFAULT, RESTLESS


def with_factors(*names: str) -> Model:
    """Make the packaged model with these factors only, and without rules and profiles."""
    text = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    document["factors"] = {name: document["factors"][name] for name in names}
    return parse_model(yaml.safe_dump({**document, "rules": {}, "profiles": {}}, sort_keys=False), "m.yaml")


def test_an_account_without_a_score_gets_one_from_the_model_that_can_give_it() -> None:
    """Where the old model had no factor with data, the new one scores what is known, at once and by time alone."""
    tickets, usage = with_factors("open_tickets"), with_factors("recency", "login_trend")
    state, clock = AccountState("acme"), Clock()
    engine.step(state, clock.login(T0), T0, tickets)
    assert (state.score, state.next_due_ms) == (None, None)
    assert engine.use_model(state, usage) & effects.SCORED
    assert state.score == 100.0
    assert score_view(state, usage).model_changed
    assert state.next_due_ms is not None
    engine.advance(state, T0 + 90 * DAY, usage)
    assert state.band == "endangered"


def test_a_changed_attribute_after_a_new_model_is_not_marked() -> None:
    """Only the first score of a new model carries the mark, also when the next one differs by an attribute alone."""
    state, clock = AccountState("acme"), Clock()
    engine.step(state, clock.login(T0), T0, DEFAULT)
    engine.use_model(state, RESTLESS)
    assert state.model_changed
    assert engine.step(state, clock.update(T0, owner="eve"), T0, RESTLESS) & effects.SCORED
    assert not state.model_changed


def test_the_mark_of_the_model_is_read_without_decoding() -> None:
    """A stored state tells the model that made its score; a new account has none, one of version 1 cannot tell."""
    state, clock = AccountState("acme"), Clock()
    assert state_codec.peek_model_mark(state_codec.encode(state)) == b""
    for model in (DEFAULT, RESTLESS):
        engine.step(state, clock.login(T0), T0, model)
        assert state_codec.peek_model_mark(state_codec.encode(state)) == model.fingerprint
    assert state_codec.peek_model_mark(b"\x01" + state_codec.encode(state)[1:]) is None
