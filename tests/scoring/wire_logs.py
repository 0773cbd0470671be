"""Generated models and logs for the oracle: steps over instants that matter, events as they cross the wire.

Each case keeps to a few themes, so that its model reads what its events change. Times begin shortly before a leap day;
values come from small sets, so that thresholds, window edges and equal instants are hit exactly and often.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.scoring.logs import DAY, HOUR

Wire = dict[str, Any]
Document = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STARTS_MS = (
    19_782 * DAY,  # two days before 29 February 2024, at midnight
    19_782 * DAY + 5 * HOUR,
    12_475 * DAY - 1,  # the last millisecond before 27 February 2004
    21_184 * DAY + 17 * HOUR,  # the last day of 2027
)


def text_of(time_ms: int) -> str:
    """Write an instant as it crosses the wire."""
    return (EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds")


class Drawn(NamedTuple):
    """An event before it has a time: `instants` are data fields given in milliseconds after the event."""

    kind: str
    data: dict[str, Any]
    instants: dict[str, int] = {}  # noqa: RUF012 - never changed


class Step(NamedTuple):
    """One thing that happens `gap_ms` after the step before, moved to a midnight or the millisecond before one."""

    action: str  # event, burst, repeat, redeliver, time, walk, model, stop
    gap_ms: int
    snap: str
    drawn: tuple[Drawn, ...] = ()  # a burst takes them in turns
    lag_ms: int = 0
    times: int = 1
    spacing_ms: int = 0
    order: int = 0  # the seed that shuffles a burst, 0 leaves it in order; the event to repeat, 1 is the last


USERS = ("ann", "ann", "bob", "cy")
_user = st.sampled_from(USERS)
_many = st.sampled_from(["ann", "u{n}"])  # {n} is the number within a burst


def _with(kind: str, required: dict[str, st.SearchStrategy[Any]], **optional: Any) -> st.SearchStrategy[Drawn]:
    return st.fixed_dictionaries(required, optional=optional).map(lambda data: Drawn(kind, data))


_login = _with("login", {"user": st.one_of(_user, _many)})
_session = _with("session", {"user": _user, "duration_seconds": st.just(60)})
_feature = _with("feature_used", {"user": _user, "feature": st.sampled_from(["reports", "export", "something else"])})
_stage = _with("account_updated", {"stage": st.sampled_from(["onboarding", "active", "renewal", "churned"])})
_tier = _with("account_updated", {"tier": st.sampled_from(["high_touch", "low_touch"])})
_key_users = _with(
    "account_updated",
    {"key_users": st.sampled_from([[], ["ann"], ["ann", "bob"], ["bob", "cy"], [f"u{n}" for n in range(12)]])},
)
_csm = _with("account_updated", {"csm_sentiment": st.sampled_from([-1, -0.25, 0, 0.5, 1])})
_mrr = _with(
    "account_updated", {"mrr_minor": st.sampled_from([0, 100, 250]), "currency": st.sampled_from(["EUR", "USD"])}
)
_renewal = st.sampled_from([-DAY, 30 * DAY, 61 * DAY, 200 * DAY]).map(
    lambda after_ms: Drawn("account_updated", {}, {"renewal": after_ms})
)
_override = st.builds(
    lambda band, reason, until_ms: Drawn(
        "account_updated", {"override_band": band, "override_reason": reason}, {"override_until": until_ms}
    ),
    st.sampled_from(["healthy", "at_risk", "endangered"]),
    st.sampled_from(["by hand", "champion left"]),
    st.sampled_from([0, 1, 17 * HOUR, DAY, 9 * DAY, 50 * DAY]),
)
_facts = st.one_of(_stage, _stage, _tier, _csm, _renewal, _override, _override)
_actor = st.sampled_from(["dana", "eve"])
_seq = st.sampled_from([1, 1, 2, 3, 9, 40])
_AFTER_MS = st.sampled_from([-DAY, 0, 1, 17 * HOUR, DAY, 9 * DAY, 50 * DAY])


def _until(kind: str, required: dict[str, st.SearchStrategy[Any]], **optional: Any) -> st.SearchStrategy[Drawn]:
    data = st.fixed_dictionaries(required, optional=optional)
    return st.builds(lambda said, after_ms: Drawn(kind, said, {"until": after_ms}), data, _AFTER_MS)


_snooze = _until("snooze_alerts", {"actor": _actor}, alert_seq=_seq)
_actions = st.one_of(
    _with("acknowledge_alert", {"actor": _actor, "alert_seq": _seq}, note=st.just("on it")),
    _with("resolve_alert", {"actor": _actor, "alert_seq": _seq}),
    _snooze,
    _snooze,
    _until(
        "override_band",
        {
            "actor": _actor,
            "band": st.sampled_from(["healthy", "at_risk", "endangered"]),
            "reason": st.sampled_from(["by hand", "champion left"]),
        },
    ),
    _with("set_sentiment", {"actor": _actor, "sentiment": st.sampled_from([-1, -0.25, 0, 0.5, 1])}),
    _with("add_note", {"actor": _actor, "note": st.just("a word")}),
)
_invoice = st.sampled_from(["i1", "i2", "i{n}"])
_payments = st.one_of(
    _with("invoice_paid", {}, invoice=_invoice),
    _with("payment_failed", {}, invoice=_invoice),
    _with("invoice_overdue", {"invoice": _invoice}),
    st.builds(
        lambda invoice, due: Drawn("invoice_overdue", {"invoice": invoice}, {"due": due}),
        _invoice,
        st.sampled_from([-12 * DAY, -DAY, 0, 3 * DAY]),
    ),
)
_subscription = _with(
    "subscription_changed", {"mrr_minor": st.sampled_from([0, 100, 150, 250]), "currency": st.just("EUR")}
)
_purchase = st.one_of(
    _with("purchase", {}),
    _with(
        "purchase", {"amount_minor": st.sampled_from([0, 500, 900]), "currency": st.sampled_from(["EUR", "EUR", "USD"])}
    ),
)
_ticket_facts = {
    "severity": st.sampled_from(["low", "normal", "high", "urgent"]),
    "tags": st.sampled_from([[], ["bug"], ["billing", "bug"], ["ui"]]),
    "sentiment": st.sampled_from([-1, -0.25, 0.1, 0.5, 1]),
}
_ticket_name = {"ticket": st.sampled_from(["t1", "t2", "t{n}"])}
_tickets = st.one_of(
    *(_with(kind, _ticket_name, **_ticket_facts) for kind in ("ticket_opened", "ticket_updated", "ticket_solved"))
)
_response = st.sampled_from(["r1", "r2", "r{n}"])
_surveys = st.one_of(
    _with(
        "survey_answered", {"kind": st.just("nps"), "response": _response, "score": st.sampled_from([0, 3, 6, 7, 10])}
    ),
    _with(
        "survey_answered",
        {
            "kind": st.sampled_from(["nps", "csat", "ces"]),
            "response": _response,
            "score": st.sampled_from([1, 3, 4, 5]),
            "scale_min": st.sampled_from([0, 1]),
            "scale_max": st.sampled_from([5, 7]),
        },
    ),
)


class Theme(NamedTuple):
    """Events that belong together, and the signals that they change."""

    events: st.SearchStrategy[Drawn]
    signals: tuple[str, ...]


THEMES = {
    "usage": Theme(
        st.one_of(_login, _login, _session, _feature),
        ("login_trend", "no_login_days", "recency_days", "recency_gaps", "active_days", "active_days_trend"),
    ),
    "people": Theme(
        st.one_of(_login, _login, _key_users),
        ("active_users", "active_user_share", "key_user_trend", "key_user_drop", "no_login_days"),
    ),
    "features": Theme(
        st.one_of(_feature, _feature, _session, _stage),
        ("key_features_used", "key_features_unused", "onboarding", "tenure_days", "active_days"),
    ),
    "payments": Theme(_payments, ("failed_payments", "failing_invoices", "recovered_payments", "overdue_days")),
    "revenue": Theme(st.one_of(_subscription, _subscription, _mrr), ("mrr_change", "failed_payments", "tenure_days")),
    "purchases": Theme(
        st.one_of(_purchase, _purchase, _mrr),
        ("purchases", "purchase_days", "purchase_gaps", "purchase_value_trend"),
    ),
    "tickets": Theme(
        _tickets,
        (
            *("ticket_load", "open_tickets", "pressing_tickets", "bug_tickets", "ticket_age_days", "solve_days"),
            "ticket_sentiment",
        ),
    ),
    "surveys": Theme(
        st.one_of(_surveys, _surveys, _csm), ("latest_survey", "survey_mean", "negative_surveys", "csm_sentiment")
    ),
    "acting": Theme(
        st.one_of(_actions, _actions, _actions, _tickets, _stage), ("csm_sentiment", "ticket_load", "tenure_days")
    ),
    "account": Theme(
        st.one_of(_facts, _mrr), ("renewal_days", "tenure_days", "onboarding", "csm_sentiment", "mrr_change")
    ),
}

# -- models ----------------------------------------------------------------------------------------------

BOUNDS = (-1, -0.25, 0, 0.5, 0.8, 1, 2, 3, 7, 9, 14, 30, 60, 90)
OUTPUTS = (0, 20, 25, 40, 50, 60, 75, 80, 100)
EDGES = (20, 25, 40, 50, 60, 75, 80)
DAYS = (0, 0.4, 1, 1.3, 2.4, 10)
COOL_DOWNS = (0, 1, 1.3, 3.7, 30)
SCORE_SIGNALS = ("score", "score_change_7", "score_change_30")


@st.composite
def _curve(draw: st.DrawFn) -> list[list[float]]:
    xs = sorted(draw(st.lists(st.sampled_from(BOUNDS), min_size=2, max_size=4, unique=True)))
    return [[x, draw(st.sampled_from(OUTPUTS))] for x in xs]


def _condition(names: tuple[str, ...]) -> st.SearchStrategy[Document]:
    def build(name: str, comparison: str, bound: float) -> Document:
        return {"signal": name, comparison: bound * 10 if name == "score" else bound}

    comparisons = st.sampled_from(["at_least", "at_most", "above", "below"])
    return st.builds(build, st.sampled_from(names), comparisons, st.sampled_from(BOUNDS))


@st.composite
def _rule(draw: st.DrawFn, names: tuple[str, ...]) -> Document:
    cap = draw(st.sampled_from([None, None, "at_risk", "endangered"]))
    known = (*names, *SCORE_SIGNALS) if cap else (*names, *SCORE_SIGNALS, "band_level", "band_level")
    conditions = draw(st.lists(_condition(known), min_size=1, max_size=2))
    rule: Document = {"label": "x", "sentence": "x", draw(st.sampled_from(["all", "any"])): conditions}
    if "all" in rule and draw(st.booleans()):
        rule["all"] = [*conditions[:1], {"any": draw(st.lists(_condition(known), min_size=1, max_size=2))}]
    if cap:
        rule["cap"] = cap
    if not cap or draw(st.booleans()):
        rule["alert"] = True
    if draw(st.booleans()):
        rule["cool_down_days"] = draw(st.sampled_from(COOL_DOWNS))
    return rule


@st.composite
def _bands(draw: st.DrawFn) -> Document:
    low, high, leave_low, leave_high = sorted(
        draw(st.lists(st.sampled_from(EDGES), min_size=4, max_size=4, unique=True))
    )
    if draw(st.booleans()):
        high, leave_low = leave_low, high
    return {
        "endangered": {"enter": low, "leave": leave_low},
        "at_risk": {"enter": high, "leave": leave_high},
        "dwell_days": draw(st.sampled_from(DAYS)),
        "cool_down_days": draw(st.sampled_from(COOL_DOWNS)),
    }


@st.composite
def documents(draw: st.DrawFn, names: tuple[str, ...]) -> Document:
    """Generate a model over these signals."""
    signals = draw(st.lists(st.sampled_from(names), min_size=1, max_size=5))
    factors = {
        f"f{number}": {
            "label": "x",
            "signal": signal,
            "weight": draw(st.sampled_from([1, 1, 2, 7, 0.3])),
            "curve": draw(_curve()),
            "sentence": "{value}",
        }
        for number, signal in enumerate(signals)
    }
    rules = draw(st.lists(_rule(names), max_size=3))
    document = {
        "version": f"v{draw(st.integers(0, 99))}",
        "min_coverage": draw(st.sampled_from([0, 0.1, 0.5, 0.5, 1])),
        "bands": draw(_bands()),
        "key_features": draw(st.sampled_from([["reports"], ["reports", "export"], ["export", "never used"]])),
        "factors": factors,
        "rules": {f"r{number}": rule for number, rule in enumerate(rules)},
    }
    if draw(st.booleans()):
        change: Document = {"weight": draw(st.sampled_from([0, 3]))} if len(factors) > 1 else {"weight": 3}
        if draw(st.booleans()):
            change["curve"] = draw(_curve())
        when = draw(
            st.sampled_from([{"tier": "high_touch"}, {"stage": "active"}, {"stage": "onboarding", "tier": "low_touch"}])
        )
        document["profiles"] = {"p": {"when": when, "factors": {"f0": change}}}
    return document


# -- steps -----------------------------------------------------------------------------------------------

_GAPS = st.sampled_from(
    [
        0,
        0,
        0,
        1,
        HOUR - 1,
        HOUR,
        7 * HOUR,
        DAY - 1,
        DAY,
        DAY,
        2 * DAY,
        5 * DAY,
        17 * DAY,
        29 * DAY,
        30 * DAY,
        31 * DAY,
        60 * DAY,
    ]
)
_LONG_GAPS = st.sampled_from([90 * DAY, 180 * DAY, 366 * DAY, 800 * DAY])
_SNAPS = st.sampled_from(["keep", "keep", "midnight", "before midnight"])
_LAGS = st.sampled_from([0, 0, 0, 0, 1, HOUR, DAY, 29 * DAY, 30 * DAY, 59 * DAY, 89 * DAY, 90 * DAY, 400 * DAY])
_COUNTS = st.sampled_from([2, 3, 8, 9, 20, 40, 70, 100])
_SPACINGS = st.sampled_from([0, 0, 1, 9 * HOUR, DAY, DAY, 3 * DAY, 7 * DAY])


def _steps(events: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Step]:
    def other(*actions: str) -> st.SearchStrategy[Step]:
        return st.tuples(st.sampled_from(actions), _GAPS, _SNAPS).map(lambda drawn: Step(*drawn))

    one, some = st.tuples(events), st.lists(events, min_size=1, max_size=3).map(lambda drawn: tuple(drawn))  # noqa: PLW0108 - typed
    event = st.tuples(_GAPS, _SNAPS, one, _LAGS).map(lambda drawn: Step("event", *drawn))
    burst = st.tuples(_GAPS, _SNAPS, some, st.just(0), _COUNTS, _SPACINGS, st.sampled_from([0, 0, 1, 2])).map(
        lambda drawn: Step("burst", *drawn)
    )
    silence = st.tuples(_LONG_GAPS, _SNAPS).map(lambda drawn: Step("time", *drawn))
    repeat = st.tuples(_GAPS, _SNAPS, st.sampled_from([1, 1, 2, 3, 9, 300])).map(
        lambda drawn: Step("repeat", drawn[0], drawn[1], order=drawn[2])
    )
    again = st.one_of(repeat, repeat, other("redeliver"))
    time, model = other("time", "walk", "stop"), other("model")
    return st.one_of(event, event, event, event, burst, burst, again, time, time, silence, model)


class Case(NamedTuple):
    """A log under a model, with another one to change to."""

    start_ms: int
    models: list[Document]
    steps: list[Step]


@st.composite
def cases(draw: st.DrawFn, *themes: str, max_steps: int = 14) -> Case:
    """Generate a case of these themes, of one or two of all when none is named."""
    chosen = themes or tuple(draw(st.lists(st.sampled_from(sorted(THEMES)), min_size=1, max_size=2, unique=True)))
    parts = [THEMES[name] for name in chosen]
    names = tuple(dict.fromkeys(name for part in parts for name in part.signals))
    models = [draw(documents(names)) for _ in range(2)]
    models[1]["version"] += "b"
    events = st.one_of(*(part.events for part in parts), *(part.events for part in parts), _facts)
    steps = draw(st.lists(_steps(events), min_size=1, max_size=max_steps))
    return Case(draw(st.sampled_from(STARTS_MS)), models, steps)


def snapped(time_ms: int, snap: str) -> int:
    """Move an instant to the next midnight, or to the last millisecond before it."""
    if snap == "midnight":
        return time_ms + -time_ms % DAY
    return time_ms + (DAY - 1) - time_ms % DAY if snap == "before midnight" else time_ms


def wire_event(drawn: Drawn, number: int, time_ms: int, in_burst: int = 0) -> Wire:
    """Give a drawn event its time and an id of its own."""
    number_text = str(in_burst)
    data = {
        name: value.replace("{n}", number_text) if isinstance(value, str) else value
        for name, value in drawn.data.items()
    }
    data |= {name: text_of(time_ms + offset_ms) for name, offset_ms in drawn.instants.items()}
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "test",
        "type": f"io.vitals.{drawn.kind}.v1",
        "subject": "acme",
        "time": text_of(time_ms),
        "data": data,
    }
