"""The model file: refused with file, line and field, or loaded into a model that the core can use."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml

from service.errors import ConfigError
from service.model.file_format import json_schema, schema_text
from service.model.loader import load_model, parse_model
from service.scoring import engine
from service.scoring.explain import score_view
from service.scoring.state import AccountState
from tests.scoring.logs import DAY, T0, Clock

DEFAULT = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")


def line_of(text: str, needle: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if needle in line)


LOGIN_TREND_LINE = line_of(DEFAULT, "  login_trend:")


def test_default_model_lets_usage_alone_reach_a_band() -> None:
    """The default model's usage factors pass its own minimum coverage."""
    model = load_model()
    for plan in (model.plain, *(plan for _, plan in model.plans)):
        habit = sum(factor.weight for factor in plan.factors if factor.name in {"recency", "recency_gaps"})
        assert habit / plan.total_weight >= model.min_coverage
        for name in ("open_tickets", "failing_payments", "survey", "purchase_habit", "recency"):
            part = next(factor for factor in plan.factors if factor.name == name).signal.parts
            alone = sum(factor.weight for factor in plan.factors if factor.signal.parts == part)
            assert name == "recency" or alone / plan.total_weight < model.min_coverage


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ("weight: 18", "weight: -1", "factors.login_trend.weight", "must be > 0 (got -1)"),
        ("weight: 18", "weight: .nan", "factors.login_trend.weight", "must be a finite number (got nan)"),
        ("weight: 18", "weight: heavy", "factors.login_trend.weight", "must be a number (got 'heavy')"),
        ("weight: 18", "wait: 18", "factors.login_trend.wait", "is not a known key; known: label, signal, weight"),
        ("signal: login_trend", "signal: moon", "factors.login_trend.signal", "unknown signal; known: active_days"),
        ("[14, 70], [30", "[7, 70], [30", "factors.recency.curve", "signal values must rise from point to point"),
        ("[14, 70], [30", "[14, 101], [30", "factors.recency.curve.1.1", "must be <= 100 (got 101)"),
        ("[14, 70], [30", "14, [30", "factors.recency.curve.1", "must be a pair [signal value, output] (got 14)"),
        (
            "at_risk: {enter: 76, leave: 84}",
            "at_risk: {enter: 76, leave: 76}",
            "bands.at_risk",
            "leave must be > enter",
        ),
        ("endangered: {enter: 50", "endangered: {enter: 60", "bands.endangered", "leave must be > enter"),
        (
            "  recency:",
            "  login_trend:",
            "factors.login_trend",
            f"is there twice (first in line {LOGIN_TREND_LINE}); remove one",
        ),
        ('version: "2"', "version: 2", "version", 'must be text (put it in "quotes")'),
        ("min_coverage: 0.15", "min_coverage: 1.5", "min_coverage", "must be <= 1 (got 1.5)"),
        ("at_least: 0.5", "at_leest: 0.5", "rules.key_user_quiet.all.0.at_leest", "is not a known key; known: signal"),
        ("signal: key_user_drop", "signal: moon", "rules.key_user_quiet.all.0.signal", "unknown signal; known: active"),
        (
            "at_least: 0.5}",
            "at_least: 0.5, below: 1}",
            "rules.key_user_quiet.all.0",
            "must be a signal and one of at_l",
        ),
        ("below: 0.8}", "below: .inf}", "rules.failing_all_over.all.0.below", "must be a finite number (got inf)"),
        ("    cap: endangered", "    cap: healthy", "rules.failing_all_over.cap", "input should be 'at_risk' or 'end"),
        ("{stage: onboarding}", "{stage: churned}", "profiles.onboarding.when.stage", "input should be 'onboarding'"),
        ("dwell_days: 10", "dwell_days: -1", "bands.dwell_days", "must be >= 0 (got -1)"),
        ("[reports, dashboards", "[reports, reports", "key_features", "names a feature twice"),
        ("weight: 18", "weight: !!python/name:os.system x", "factors.login_trend.weight", "cannot read 'x' as"),
    ],
)
def test_fault_names_line_and_field(old: str, new: str, field: str, says: str) -> None:
    """Every fault is reported with the file, the line it stands in, the field and the cure."""
    assert old in DEFAULT
    text = DEFAULT.replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        parse_model(text, "model.yaml")
    line = line_of(text, new.strip()) if new.strip() != "login_trend:" else line_of(DEFAULT, "  recency:")
    assert any(fault.startswith(f"model.yaml:{line}: {field}: {says}") for fault in str(caught.value).splitlines())


def test_faults_between_fields_name_their_block() -> None:
    """A sentence with an unknown word and bands in the wrong order are refused at the block they belong to."""
    with pytest.raises(
        ConfigError,
        match=rf"model.yaml:{LOGIN_TREND_LINE}: factors.login_trend: sentence may only name .*\(got {{verx}}\)",
    ):
        parse_model(DEFAULT.replace("Logins {login_change}", "Logins {verx}"), "model.yaml")
    crossed = DEFAULT.replace("endangered: {enter: 50, leave: 60}", "endangered: {enter: 77, leave: 80}")
    with pytest.raises(ConfigError, match=r"bands: endangered.enter must be < at_risk.enter \(77 is not below 76\)"):
        parse_model(crossed, "model.yaml")


@pytest.mark.parametrize(
    "sentence", ["{value.__class__}", "{value!r}", "{value:>9999999}", "{0}", "{}", "{value", "a } b", "{verb[0]}"]
)
def test_sentence_templates_only_name_words(sentence: str) -> None:
    """A template cannot reach into values, format widths or positions."""
    text = DEFAULT.replace("Logins {login_change} in 30 days", sentence, 1)
    with pytest.raises(ConfigError, match=r"factors\.login_trend: sentence"):
        parse_model(text, "model.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "m.yaml:1: is empty"),
        ("[]", "m.yaml:1: must be a mapping"),
        ("a: [1", "m.yaml:1: is not valid YAML"),
        ("a: &x [*x]", "m.yaml:1: YAML aliases are not supported"),
        ("[" * 5000, "m.yaml: is not valid YAML"),
        ("a: " + "[" * 40 + "]" * 40, "m.yaml:1: nested deeper than 16 levels"),
        ("a: \x00", "m.yaml: is not valid YAML"),
    ],
)
def test_hostile_files_are_one_clear_line(text: str, says: str) -> None:
    """Whatever stands in the file, the answer is one ConfigError of one line."""
    with pytest.raises(ConfigError) as caught:
        parse_model(text, "m.yaml")
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    """A missing file, a directory and bytes that are no text are refused by name."""
    binary = tmp_path / "model.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    for place, says in ((tmp_path / "none.yaml", "cannot be read"), (tmp_path, "cannot be read"), (binary, "UTF-8")):
        with pytest.raises(ConfigError, match=says) as caught:
            load_model(place)
        assert str(caught.value).startswith(str(place))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    cap: endangered\n", "", "rules.failing_all_over: has no effect; give it a cap, alert: true, or both"),
        ("  score_drop:", "  recovered:", "rules.recovered: is the name of a band's alert"),
        (
            "      login_trend: {weight: 6}",
            "      moon: {weight: 6}",
            "profiles.onboarding.factors.moon: is not a factor",
        ),
        ("key_features: [reports, dashboards, export, automation]", "", "key_features: is missing, but key_features_"),
        ("{silence}", "{moon}", "rules.no_login: sentence may only name {no_login_days}, {silence} (got {moon})"),
        ("    cap: at_risk\n", "    cap: at_risk\n    any: []\n", "rules.no_login.any: must have at least 1 entries"),
        (
            "- {signal: no_login_days, at_least: 30}",
            "- {signal: band_level, at_least: 1}",
            "rules.no_login: a rule with a cap may not read band_level, which the cap decides",
        ),
    ],
)
def test_faults_of_rules_and_profiles(old: str, new: str, says: str) -> None:
    """A rule or profile that could never do its work is refused by name."""
    assert old in DEFAULT
    with pytest.raises(ConfigError) as caught:
        parse_model(DEFAULT.replace(old, new, 1), "model.yaml")
    text = str(caught.value)
    assert says in text
    assert not text.startswith("model.yaml:1:")


def test_rules_hold_at_their_bounds() -> None:
    """`at_least` and `at_most` include their number, `above` and `below` do not; `any` needs one, `all` every one."""
    rules = "rules:\n" + "".join(
        f"  {name}: {{label: x, cap: at_risk, sentence: x, all: [{{signal: tenure_days, {name}: 3}}]}}\n"
        for name in ("at_least", "at_most", "above", "below")
    )
    rules += (
        "  either: {label: x, cap: at_risk, sentence: x, all: [{any: [{signal: tenure_days, below: 2},"
        " {signal: tenure_days, above: 4}]}, {signal: onboarding, at_least: 1}]}\n"
    )
    start, end = DEFAULT.index("rules:\n"), DEFAULT.index("profiles:\n")
    model = parse_model(DEFAULT[:start] + rules + DEFAULT[end:], "model.yaml")
    held = []
    for days in (1, 2, 3, 4, 5):
        state = AccountState("acme")
        engine.step(state, Clock().login(T0), T0, model)
        engine.tick(state, T0 + days * DAY, model)
        held.append(score_view(state, model).rules)
    assert held == [
        ("at_most", "below", "either"),
        ("at_most", "below"),
        ("at_least", "at_most"),
        ("at_least", "above"),
        ("at_least", "above", "either"),
    ]


def test_version_follows_content_not_layout(tmp_path: Path) -> None:
    """Comments do not change the version; a weight does."""
    place = tmp_path / "model.yaml"
    place.write_text("# mine\n" + DEFAULT.replace("weight: 18", "weight: 18.0  # as ever"), encoding="utf-8")
    assert load_model(place).version == load_model().version
    place.write_text(DEFAULT.replace("weight: 18", "weight: 17"), encoding="utf-8")
    assert load_model(place).version != load_model().version
    assert load_model(place).version.startswith("2+")


def test_another_model_scores_the_same_account_anew() -> None:
    """A state scored by one model is scored by the next model's own factors and names its version."""
    other = parse_model(DEFAULT.replace("curve: [[7, 100], [14, 70]", "curve: [[0, 50], [14, 50.5]"), "other.yaml")
    state, clock = AccountState("acme"), Clock()
    engine.step(state, clock.login(T0), T0, load_model())
    engine.step(state, clock.login(T0 + 1), T0, other)
    view = score_view(state, other)
    assert (view.score, view.model_version) == (50.0, other.version)


def test_stored_schema_is_current() -> None:
    """schema.json is what the format says today: `python -m service.model.file_format > service/model/schema.json`."""
    stored = resources.files("service.model").joinpath("schema.json").read_text(encoding="utf-8")
    assert stored == schema_text()


def test_schema_accepts_the_default_and_refuses_faults() -> None:
    """An editor with the schema accepts the default model and marks an unknown key and a wrong type."""
    validator = jsonschema.Draft202012Validator(json_schema())
    document = yaml.safe_load(DEFAULT)
    validator.validate(document)
    for broken in ({**document, "extra": 1}, {**document, "min_coverage": "much"}, {**document, "factors": {}}):
        assert not validator.is_valid(broken)
