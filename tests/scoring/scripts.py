"""Cases for what chance rarely meets: bounds of what is kept, known ids, bands that swing around their waits."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.scoring.logs import DAY, HOUR
from tests.scoring.wire_logs import COOL_DOWNS, DAYS, STARTS_MS, Case, Document, Drawn, Step

MINUTE = 60_000


def _document(dwell_days: float = 0, cool_down_days: float = 0, rules: Document | None = None) -> Document:
    curve = [[-1, 0], [1, 100]]
    factor = {"label": "x", "signal": "csm_sentiment", "weight": 1, "curve": curve, "sentence": "x"}
    return {
        "version": "script",
        "min_coverage": 0,
        "bands": {
            "at_risk": {"enter": 50, "leave": 60},
            "endangered": {"enter": 20, "leave": 30},
            "dwell_days": dwell_days,
            "cool_down_days": cool_down_days,
        },
        "factors": {"csm": factor},
        "rules": rules or {},
    }


def _event(gap_ms: int, kind: str, **data: Any) -> Step:
    return Step("event", gap_ms, "keep", (Drawn(kind, data),))


def _burst(kind: str, times: int, spacing_ms: int, gap_ms: int = 0, **data: Any) -> Step:
    return Step("burst", gap_ms, "keep", (Drawn(kind, data),), 0, times, spacing_ms)


def _walk(days: int) -> Step:
    return Step("walk", days * DAY, "keep")


def _repeat(gap_ms: int, which: int) -> Step:
    return Step("repeat", gap_ms, "keep", order=which)


def _case(*steps: Step) -> Case:
    return Case(STARTS_MS[0], [_document()], list(steps))


SCRIPTS = {
    "users": _case(_burst("login", 70, 9 * HOUR, user="u{n}"), _walk(5)),
    "busy key user": _case(
        _event(0, "account_updated", key_users=["ann"]),
        _burst("login", 20, 1, user="ann"),
        _burst("login", 3, 1, 30 * DAY, user="ann"),
        _walk(40),
    ),
    "purchases": _case(_burst("purchase", 60, 3 * DAY), _burst("purchase", 60, DAY, DAY), _walk(9)),
    "ids of an hour": _case(
        _event(0, "login", user="ann"),
        _event(40 * MINUTE, "login", user="bob"),
        _event(40 * MINUTE, "login", user="cy"),
        _repeat(0, 3),
        _repeat(3 * HOUR, 1),
    ),
    "many ids": _case(
        _burst("session", 300, 0, user="ann", duration_seconds=60), *(_repeat(0, n) for n in (1, 44, 255, 300))
    ),
}


@st.composite
def swings(draw: st.DrawFn, *, is_acted_on: bool = False) -> Case:
    """Generate an account whose band goes up and down at the very instants that its model waits for.

    One that is acted on is snoozed now and then, and its alerts are taken up.
    """
    cool_down = st.sampled_from(COOL_DOWNS)
    low = {"label": "x", "sentence": "x", "all": [{"signal": "csm_sentiment", "at_most": 0}], "alert": True}
    document = _document(
        draw(st.sampled_from(DAYS)), draw(cool_down), {"low": {**low, "cool_down_days": draw(cool_down)}}
    )
    gaps = st.sampled_from([1, HOUR, *(round(days * DAY) for days in (*DAYS, *COOL_DOWNS))])
    word = st.sampled_from([-1, -0.5, -0.3, 0, 0.1, 0.5, 1]).map(lambda value: {"csm_sentiment": value})
    stage = st.sampled_from(["churned", "active"]).map(lambda value: {"stage": value})
    facts = st.one_of(word, word, word, word, stage)
    event = st.tuples(gaps, facts).map(lambda drawn: _event(drawn[0], "account_updated", **drawn[1]))
    time = gaps.map(lambda gap_ms: Step("time", gap_ms, "keep"))
    happenings = [event, event, event, time]
    if is_acted_on:
        until = st.tuples(gaps, st.sampled_from([0, 0, HOUR, 9 * DAY, 50 * DAY])).map(
            lambda drawn: Step(
                "event", drawn[0], "keep", (Drawn("snooze_alerts", {"actor": "a"}, {"until": drawn[1]}),)
            )
        )
        about = st.tuples(gaps, st.sampled_from(["acknowledge_alert", "resolve_alert"]), st.integers(1, 4)).map(
            lambda drawn: _event(drawn[0], drawn[1], actor="b", alert_seq=drawn[2])
        )
        happenings += [until, about]
    steps = draw(st.lists(st.one_of(happenings), min_size=2, max_size=20))
    return Case(STARTS_MS[1], [document, document], steps)
