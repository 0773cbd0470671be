"""`vitals model`: faults with line and field, warnings about what cannot be meant, and the model shown whole."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from service.cli.main import build_cli
from service.errors import ConfigError
from service.model.loader import load_model, parse_model
from service.model_review import SIGNAL_RANGES, review_model
from service.scoring.signals import SIGNALS
from tests.conftest import Vitals

DEFAULT = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")
SMALL = """version: "t"
min_coverage: 0.5
bands:
  at_risk: {{enter: {at_risk}, leave: {leave}}}
  endangered: {{enter: 30, leave: 40}}
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
"""
FITTING = {"at_risk": 60, "leave": 70, "weight": 10, "curve": "[[0, 100], [30, 0]]", "sentiment": "[[-1, 0], [1, 100]]"}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(build_cli(), ["model", *map(str, arguments)])


def warnings_of(**changes: object) -> list[str]:
    return review_model(parse_model(SMALL.format(**{**FITTING, **changes}), "m.yaml"))


def test_the_default_model_has_no_warnings() -> None:
    """What is packaged is what is meant."""
    assert review_model(load_model()) == []


def test_every_range_is_that_of_a_signal() -> None:
    """The table of ranges names signals of the registry only."""
    assert SIGNAL_RANGES.keys() <= SIGNALS.keys()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"curve": "[[0, 50], [30, 50]]"}, "factors.recency.curve: gives 50 for every value that recency_days can"),
        ({"curve": "[[-9, 0], [-1, 40]]"}, "factors.recency.curve: gives 40 for every value that recency_days can"),
        ({"sentiment": "[[-1, 0], [0.5, 100], [5, 0]]"}, None),
        ({"sentiment": "[[-1, 0], [1, 100], [5, 0]]"}, "factors.sentiment.curve.2: [5, 0] lies beyond"),
        ({"weight": 0.001}, "factors.recency.weight: too small to act: it moves no score by more than 0.020 points"),
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


def test_check_prints_warnings_and_the_verdict(tmp_path: Path) -> None:
    """A model with warnings is valid: exit code 0."""
    file = tmp_path / "m.yaml"
    file.write_text(SMALL.format(**{**FITTING, "weight": 0.001}))
    result = run("check", file)
    assert result.exit_code == 0
    first, last = result.stdout.splitlines()
    assert first.startswith(f"{file}: warning: factors.recency.weight: too small to act")
    assert last == f"{file}: a valid model, version {load_model(file).version}, 2 factors, 1 warning"


def test_check_names_every_fault_with_line_and_field(tmp_path: Path, vitals: Vitals) -> None:
    """A refused model is exit code 2, and each fault has its line."""
    file = tmp_path / "m.yaml"
    file.write_text(DEFAULT.replace("weight: 20", "weight: -1").replace("enter: 60", "enter: sixty"))
    done = vitals("model", "check", str(file))
    assert done.returncode == 2
    assert f"{file}:11: bands.at_risk.enter: must be a number (got 'sixty')" in done.stderr
    assert "factors.login_trend.weight: must be > 0 (got -1)" in done.stderr


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
    table = run("show").stdout
    assert f"model {load_model().version} (default)" in table
    for factor in load_model().factors:
        assert factor.name in table
    assert "min_coverage: 0.25" in table
