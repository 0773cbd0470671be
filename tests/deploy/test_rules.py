"""The rules of Prometheus: clean, each with a firing and a quiet case that pass, and a section in the runbook."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import yaml

from service.metrics.catalogue import CATALOGUE
from tests.deploy.conftest import Promtool
from tests.deploy.live_prometheus import scaled, shortened
from tests.deploy.promtool import ROOT, RULES

CASES = sorted(RULES.parent.glob("*.test.yml"))
RUNBOOK = ROOT / "docs" / "operations" / "alerts.md"


@cache
def rules() -> list[dict[str, Any]]:
    """List every rule."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def test_the_rules_are_clean(checker: Promtool) -> None:
    """Prometheus' linter finds nothing."""
    checked = checker("check", "rules", "--lint=all", "--lint-fatal", RULES.name)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.name)
def test_alerts_fire_and_keep_quiet(cases: Any, checker: Promtool) -> None:
    """The cases pass: when an alert fires, with which labels and words, and when it does not."""
    checked = checker("test", "rules", cases.name)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_both_cases(alert: str) -> None:
    """One in which it fires, and one in which it does not."""
    tests = [test for path in CASES for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == alert]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_runbook(alert: str) -> None:
    """Its link names its own section, and the section is there; its severity is one of two."""
    rule = ALERTS[alert]
    assert rule["annotations"]["runbook_url"] == f"docs/operations/alerts.md#{alert.lower()}"
    assert f"\n## {alert}\n" in RUNBOOK.read_text(encoding="utf-8")
    assert rule["labels"]["severity"] in {"page", "ticket"}


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    """Every section is an alert's."""
    assert set(re.findall(r"^## (\S+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)) == set(ALERTS)


def test_the_rules_of_the_live_test_are_these_with_seconds_for_minutes() -> None:
    """Every duration, none of the names; the rest stays but for the bounds that are listed."""
    asked = "increase(a:ratio_rate5m[7d] offset 1h) > 5 * b[30m]"
    assert scaled(asked) == "increase(a:ratio_rate5m[10080s] offset 60s) > 5 * b[30s]"
    live = {
        rule["alert"]: rule
        for group in yaml.safe_load(shortened(RULES.read_text(encoding="utf-8")))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert live.keys() == ALERTS.keys()
    assert all(live[name].get("for", "") == ALERTS[name].get("for", "").replace("m", "s") for name in ALERTS)
    changed = {name for name in ALERTS if live[name]["expr"] != scaled(ALERTS[name]["expr"])}
    assert changed == {"VitalsLagTime"}  # and the recorded ratio of late alerts


def test_rules_ask_for_metrics_and_buckets_that_exist() -> None:
    """A name or a bound that nobody exposes makes a rule that never fires."""
    text = RULES.read_text(encoding="utf-8")
    names = {f"{m.name}{part}" for m in CATALOGUE for part in (("_bucket", "_count", "_sum") if m.bounds else ("",))}
    assert set(re.findall(r"\bvitals_\w+", text)) <= names
    bounds = {m.name: {repr(bound) for bound in m.bounds} for m in CATALOGUE}
    asked = set(re.findall(r'(vitals_\w+)_bucket\{le="([\d.]+)"\}', text))
    assert asked
    assert all(bound in bounds[name] for name, bound in asked)
