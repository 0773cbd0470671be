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
from tests.scoring.logs import T0, Clock

DEFAULT = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")


def line_of(text: str, needle: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if needle in line)


def test_default_model_lets_usage_alone_reach_a_band() -> None:
    """The default model's usage factors pass its own minimum coverage."""
    model = load_model()
    usage = sum(factor.weight for factor in model.factors if factor.name in {"recency", "active_days"})
    assert usage / model.total_weight >= model.min_coverage


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ("weight: 20", "weight: -1", "factors.login_trend.weight", "must be > 0 (got -1)"),
        ("weight: 20", "weight: .nan", "factors.login_trend.weight", "must be a finite number (got nan)"),
        ("weight: 20", "weight: heavy", "factors.login_trend.weight", "must be a number (got 'heavy')"),
        ("weight: 20", "wait: 20", "factors.login_trend.wait", "is not a known key; known: label, signal, weight"),
        ("signal: login_trend", "signal: moon", "factors.login_trend.signal", "unknown signal; known: active_days"),
        ("[7, 80], [14", "[3, 80], [14", "factors.recency.curve", "signal values must rise from point to point"),
        ("[7, 80], [14", "[7, 101], [14", "factors.recency.curve.1.1", "must be <= 100 (got 101)"),
        ("[7, 80], [14", "7, [14", "factors.recency.curve.1", "must be a pair [signal value, output] (got 7)"),
        (
            "at_risk: {enter: 60, leave: 66}",
            "at_risk: {enter: 60, leave: 60}",
            "bands.at_risk",
            "leave must be > enter",
        ),
        ("endangered: {enter: 35", "endangered: {enter: 60", "bands.endangered", "leave must be > enter"),
        ("  recency:", "  login_trend:", "factors.login_trend", "is there twice (first in line 15); remove one"),
        ('version: "1"', "version: 1", "version", 'must be text (put it in "quotes")'),
        ("min_coverage: 0.25", "min_coverage: 1.5", "min_coverage", "must be <= 1 (got 1.5)"),
        ("weight: 20", "weight: !!python/name:os.system x", "factors.login_trend.weight", "cannot read 'x' as"),
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
        ConfigError, match=r"model.yaml:15: factors.login_trend: sentence may only name .*\(got {verx}\)"
    ):
        parse_model(DEFAULT.replace("{verb}", "{verx}"), "model.yaml")
    crossed = DEFAULT.replace("endangered: {enter: 35, leave: 41}", "endangered: {enter: 61, leave: 64}")
    with pytest.raises(ConfigError, match=r"bands: endangered.enter must be < at_risk.enter \(61 is not below 60\)"):
        parse_model(crossed, "model.yaml")


@pytest.mark.parametrize(
    "sentence", ["{value.__class__}", "{value!r}", "{value:>9999999}", "{0}", "{}", "{value", "a } b", "{verb[0]}"]
)
def test_sentence_templates_only_name_words(sentence: str) -> None:
    """A template cannot reach into values, format widths or positions."""
    text = DEFAULT.replace("Logins {verb} from {previous} to {recent} in 30 days", sentence)
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


def test_version_follows_content_not_layout(tmp_path: Path) -> None:
    """Comments do not change the version; a weight does."""
    place = tmp_path / "model.yaml"
    place.write_text("# mine\n" + DEFAULT.replace("weight: 20", "weight: 20.0  # as ever"), encoding="utf-8")
    assert load_model(place).version == load_model().version
    place.write_text(DEFAULT.replace("weight: 20", "weight: 21"), encoding="utf-8")
    assert load_model(place).version != load_model().version
    assert load_model(place).version.startswith("1+")


def test_another_model_scores_the_same_account_anew() -> None:
    """A state scored by one model is scored by the next model's own factors and names its version."""
    other = parse_model(DEFAULT.replace("curve: [[3, 100]", "curve: [[0, 50], [3, 50.5]"), "other.yaml")
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
