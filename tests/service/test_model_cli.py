"""`vitals model`: faults with line and field, warnings about what cannot be meant, and the model shown whole."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from service.cli.main import build_cli
from service.errors import ConfigError
from service.model.loader import load_model, parse_model
from service.model_review import review_model
from service.rule_review import SIGNAL_RANGES
from service.scoring.signals import SCORE_SIGNALS, SIGNALS
from tests.conftest import Vitals

DEFAULT = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")
SMALL = """version: "t"
min_coverage: {min_coverage}
bands:
  at_risk: {{enter: {at_risk}, leave: {leave}}}
  endangered: {{enter: 30, leave: 40}}
  dwell_days: {dwell}
  cool_down_days: {cool_down}
key_features: {key_features}
factors:
  recency:
    label: Recency
    signal: recency_days
    weight: {weight}
    curve: {curve}
    sentence: "Last used {{when}}"
  sentiment:
    label: Sentiment
    signal: csm_sentiment
    weight: 10
    curve: {sentiment}
    sentence: "Sentiment {{value}}"
rules:
{rules}
profiles:
{profiles}
"""
FITTING = {
    "min_coverage": 0.6,
    "at_risk": 60,
    "leave": 70,
    "dwell": 3,
    "cool_down": 10,
    "key_features": "[]",
    "weight": 10,
    "curve": "[[0, 100], [30, 0]]",
    "sentiment": "[[-1, 0], [1, 100]]",
    "rules": "  {}",
    "profiles": "  {}",
}


def rule(name: str, conditions: str, effect: str = "cap: at_risk") -> str:
    return f"  {name}: {{label: x, sentence: x, {effect}, {conditions}}}\n"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(build_cli(), ["model", *map(str, arguments)])


def warnings_of(**changes: object) -> list[str]:
    return review_model(parse_model(SMALL.format(**{**FITTING, **changes}), "m.yaml"))


def test_the_default_model_has_no_warnings() -> None:
    """What is packaged is what is meant."""
    assert review_model(load_model()) == []


def test_every_signal_has_its_range() -> None:
    """The table of ranges names the signals that models can read, all of them."""
    assert SIGNAL_RANGES.keys() == {*SIGNALS, *SCORE_SIGNALS}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"curve": "[[0, 50], [30, 50]]"}, "factors.recency.curve: gives 50 for every value that recency_days can"),
        ({"curve": "[[-9, 0], [-1, 40]]"}, "factors.recency.curve: gives 40 for every value that recency_days can"),
        ({"sentiment": "[[-1, 0], [0.5, 100], [5, 0]]"}, None),
        ({"sentiment": "[[-1, 0], [1, 100], [5, 0]]"}, "factors.sentiment.curve.2: [5, 0] lies beyond"),
        ({"weight": 0.001}, "factors.recency.weight: too small to act: it moves no score by more than 0.017 points"),
        ({"weight": 0.01}, None),
        ({"curve": "[[0, 95], [30, 80]]", "weight": 90}, "bands.endangered.enter: no score falls below 30"),
        ({"curve": "[[0, 60], [30, 0]]", "weight": 90}, "bands.at_risk.leave: no score reaches 70 (the highest"),
        ({"curve": "[[0, 70], [30, 0]]", "weight": 90}, None),
    ],
)
def test_what_can_never_act_is_warned_of(changes: dict[str, object], expected: str | None) -> None:
    """A flat curve, a point outside the signal, a weight too small and an unreachable band are named by field."""
    warnings = warnings_of(**changes)
    if expected is None:
        assert warnings == []
    else:
        assert any(warning.startswith(expected) for warning in warnings), warnings


def test_an_unreachable_band_is_one_for_every_account_with_a_band() -> None:
    """The worst outputs count only as far as the coverage lets them stand alone: a fifth of the weight does not."""
    changes = {"curve": "[[0, 100], [30, 80]]", "weight": 40}
    assert any(warning.startswith("bands.endangered.enter") for warning in warnings_of(**changes))
    assert warnings_of(**{**changes, "weight": 10}) == []


LOW, LOUD = "all: [{signal: login_trend, below: 0.5}]", "alert: true"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (rule("a", LOW), None),
        (rule("a", "all: [{signal: login_trend, above: 2}]"), "can never hold: login_trend is never above 2 (it goes"),
        (rule("a", "all: [{signal: login_trend, at_least: 2}]"), None),
        (rule("a", "all: [{signal: csm_sentiment, at_most: -1.5}]"), "can never hold: csm_sentiment is never at most"),
        (rule("a", "any: [{signal: login_trend, above: 3}, {signal: overdue_days, above: 0}]"), None),
        (rule("a", "any: [{signal: login_trend, above: 3}, {signal: overdue_days, below: 0}]"), "can never hold: log"),
        (
            rule("a", "all: [{signal: overdue_days, below: 3}, {signal: overdue_days, at_least: 3}]"),
            "can never hold: i",
        ),
        (rule("a", "all: [{signal: overdue_days, at_most: 3}, {signal: overdue_days, at_least: 3}]"), None),
        (rule("a", "all: [{signal: score, at_least: 99}]"), None),
        (
            rule("a", "all: [{signal: key_features_unused, at_least: 2}]"),
            "can never hold: key_features_unused is never",
        ),
        (rule("a", "all: [{signal: band_level, above: 0}]", LOUD), None),
        (rule("a", "all: [{signal: overdue_days, at_least: 0}]"), "overdue_days is always at least 0"),
        (rule("a", LOW, "cap: at_risk, cool_down_days: 4"), "holds alerts back, and the rule has none"),
        (rule("a", LOW, "cap: at_risk, alert: true, cool_down_days: 4"), None),
        (rule("a", LOW) + rule("b", LOW, "cap: endangered"), "never decides a band: whenever the rule holds, b does"),
        (rule("b", LOW, "cap: endangered") + rule("a", LOW), "never decides a band: whenever the rule holds, b does"),
        (rule("b", LOW, "cap: at_risk") + rule("a", LOW, "cap: endangered"), "b"),
        (
            rule("a", "all: [{signal: score, below: 60}]"),
            "never decides a band: scores for which the rule holds are at",
        ),
        (rule("a", "all: [{signal: score, at_most: 60}]"), None),
        (rule("a", "all: [{signal: score, below: 60}]", "cap: endangered"), None),
    ],
)
def test_rules_that_can_never_act_are_warned_of(rules: str, expected: str | None) -> None:
    """A rule that no account can meet, a condition that all meet, a cap that decides nothing, an idle cool-down."""
    warnings = warnings_of(rules=rules, key_features="[reports]" if "key_features" in rules else "[]")
    if expected is None:
        assert warnings == []
    elif expected == "b":
        assert [warning.partition(":")[0] for warning in warnings] == ["rules.b.cap"]
    else:
        assert [warning for warning in warnings if warning.startswith("rules.a")] == warnings != []
        assert warnings[0].partition(": ")[2].startswith(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"profiles": "  p: {when: {tier: high_touch}, factors: {recency: {weight: 12}}}"}, None),
        (
            {"profiles": "  p: {when: {tier: high_touch}, factors: {recency: {weight: 10}}}"},
            "profiles.p.factors: change nothing",
        ),
        (
            {
                "profiles": "  p: {when: {tier: high_touch}, factors: {recency: {weight: 12}}}\n"
                "  q: {when: {tier: high_touch, stage: active}, factors: {recency: {weight: 13}}}"
            },
            "profiles.q.when: never in force: profile p before it",
        ),
        (
            {
                "profiles": "  q: {when: {tier: high_touch, stage: active}, factors: {recency: {weight: 13}}}\n"
                "  p: {when: {tier: high_touch}, factors: {recency: {weight: 12}}}"
            },
            None,
        ),
        (
            {"profiles": "  p: {when: {stage: renewal}, factors: {recency: {curve: [[0, 5], [9, 5]]}}}"},
            "profiles.p.factors.recency.curve: gives 5 for every value",
        ),
        (
            {"profiles": "  p: {when: {stage: renewal}, factors: {recency: {weight: 90, curve: [[0, 95], [9, 80]]}}}"},
            "profiles.p: bands.at_risk.enter: no score falls below 60",
        ),
        ({"min_coverage": 0.5}, "min_coverage: 0.5 is not above the share of the lightest factor (0.5)"),
        ({"min_coverage": 0}, "min_coverage: 0 is not above"),
        ({"dwell": 10}, "bands.cool_down_days: 10 days never hold an alert back"),
        ({"dwell": 10, "rules": rule("a", LOW, LOUD)}, None),
        ({"dwell": 0, "cool_down": 0}, None),
        ({"key_features": "[reports]"}, "key_features: no factor and no rule reads them"),
    ],
)
def test_other_parts_that_can_never_act_are_warned_of(changes: dict[str, object], expected: str | None) -> None:
    """Profiles never in force or without effect, a coverage and a cool-down that hold nothing back, unread features."""
    warnings = warnings_of(**changes)
    if expected is None:
        assert warnings == []
    else:
        assert warnings
        assert warnings[0].startswith(expected), warnings


def test_check_prints_warnings_and_the_verdict(tmp_path: Path) -> None:
    """A model with warnings is valid: exit code 0."""
    file = tmp_path / "m.yaml"
    file.write_text(SMALL.format(**{**FITTING, "weight": 0.001}))
    result = run("check", file)
    assert result.exit_code == 0
    first, last = result.stdout.splitlines()
    line = 1 + file.read_text().splitlines().index("    weight: 0.001")
    assert first.startswith(f"{file}:{line}: warning: factors.recency.weight: too small to act")
    version = load_model(file).version
    assert last == f"{file}: a valid model, version {version}, 2 factors, 0 rules, 0 profiles, 1 warning"


FAULTS = (
    (r"weight: \d+", "weight: -1", "factors.login_trend.weight: must be > 0 (got -1)"),
    (r"dwell_days: \d+", "dwell_days: ten", "bands.dwell_days: must be a number (got 'ten')"),
    (
        "signal: key_user_drop, at_least: 0.5",
        "signal: key_user_drop",
        "rules.key_user_quiet.all.0: must be a signal and",
    ),
    ("stage: onboarding}", "stage: onbording}", "profiles.onboarding.when.stage: input should be 'onboarding'"),
    (r"cool_down_days: 365", "cooldown: 365", "rules.feature_unused.cooldown: is not a known key; known: label, all"),
)
MISFITS = (
    ("  key_user_quiet:", "  at_risk:", "rules.at_risk: is the name of a band's alert; choose another name"),
    (
        "      login_trend: {weight: 6}",
        "      logins: {weight: 6}",
        "profiles.onboarding.factors.logins: is not a factor",
    ),
)


@pytest.mark.parametrize("faults", [FAULTS, MISFITS], ids=["fields", "between parts"])
def test_check_names_every_fault_with_line_and_field(
    tmp_path: Path, vitals: Vitals, faults: tuple[tuple[str, str, str], ...]
) -> None:
    """A refused model is exit code 2, and each of its faults is named with file, line and field."""
    file, text = tmp_path / "m.yaml", DEFAULT
    lines = []
    for pattern, wrong, told in faults:
        found = re.search(pattern, text)
        assert found is not None, pattern
        lines.append((1 + text.count("\n", 0, found.start()), told))
        text = text[: found.start()] + wrong + text[found.end() :]
    file.write_text(text)
    done = vitals("model", "check", str(file))
    assert done.returncode == 2
    for line, told in lines:
        assert f"{file}:{line}: {told}" in done.stderr
    assert done.stderr.count(str(file)) == len(faults)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No file, no model."""
    result = run("check", tmp_path / "none.yaml")
    assert isinstance(result.exception, ConfigError)
    assert "none.yaml: cannot be read" in str(result.exception)


def test_show_prints_the_model_in_force(tmp_path: Path) -> None:
    """Without a file the packaged model is shown, with one that file; --json holds everything that the file says."""
    file = tmp_path / "m.yaml"
    file.write_text(SMALL.format(**FITTING))
    shown = orjson.loads(run("show", file, "--json").stdout)
    assert (shown["version"], shown["source"]) == (load_model(file).version, str(file))
    assert shown["model"]["factors"]["recency"]["curve"] == [[0, 100], [30, 0]]
    model, table = load_model(), run("show").stdout
    assert f"model {model.version} (default)" in table
    for name in (*(f.name for f in model.factors), *(r.name for r in model.rules), *(p.name for p, _ in model.plans)):
        assert f"\n{name} " in table
    for text in (
        "login_trend is below 0.8 and failed_payments is at least 1 and bug_tickets is at least 1",
        "band endangered or worse",
        "alert, cool-down 90 days",
        "stage onboarding",
        f"endangered  {model.bands.endangered.enter:>11g}",
    ):
        assert text in table


def test_show_says_what_a_model_leaves_out(tmp_path: Path) -> None:
    """Without rules and profiles their tables say so; `any` and nested conditions are told apart."""
    file = tmp_path / "m.yaml"
    file.write_text(SMALL.format(**FITTING))
    assert "no rules" in (shown := run("show", file).stdout)
    assert "no profiles" in shown
    inner = "{any: [{signal: overdue_days, above: 0}, {signal: open_tickets, above: 3}]}"
    file.write_text(
        SMALL.format(**{**FITTING, "rules": rule("a", f"all: [{{signal: login_trend, below: 1}}, {inner}]")})
    )
    told = "login_trend is below 1 and (overdue_days is above 0 or open_tickets is above 3)"
    assert told in run("show", file).stdout
