"""Settings: each wrong one is named with its value and the cure, wherever it came from; nothing ends in a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.errors import ConfigError
from service.settings import OTHER_VARIABLES, Settings, load_settings


@pytest.mark.parametrize("broker", ["foo:bar", "127.0.0.1:99999", "http://127.0.0.1:9092", " ", ",", ":29092", "a:1,b"])
def test_a_broker_that_is_no_address_is_refused(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and the form that is expected."""
    monkeypatch.setenv("VITALS_BROKER", broker)
    with pytest.raises(ConfigError, match=r"broker \(VITALS_BROKER\): expected host:port"):
        load_settings()


def test_several_brokers_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses stand with commas between."""
    monkeypatch.setenv("VITALS_BROKER", "kafka-1:9092,[::1]:9093")
    assert load_settings().broker == "kafka-1:9092,[::1]:9093"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"- a\n", "expected a YAML file of settings"),
        (b"\xff\xfe\x00", "expected a YAML file of settings"),
        (b"a: [\n", "expected a YAML file of settings"),
        (b"brokr: a:1\n", "sets 'brokr', which is no setting; the settings are: broker, "),
        (b"clock: evnt\n", "clock (VITALS_CLOCK): Input should be 'wall' or 'event' (got 'evnt')"),
    ],
)
def test_a_settings_file_that_is_wrong_is_named(
    content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with the file, one line says it."""
    path = tmp_path / "vitals.yaml"
    path.write_bytes(content)
    monkeypatch.setenv("VITALS_CONFIG", str(path))
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value in the environment is nearer to the process than one in a file, an argument nearer still."""
    path = tmp_path / "vitals.yaml"
    path.write_text("clock: event\napp_id: from-file\n")
    monkeypatch.setenv("VITALS_CONFIG", str(path))
    monkeypatch.setenv("VITALS_APP_ID", "from-environment")
    settings = load_settings(clock="wall")
    assert (settings.clock, settings.app_id) == ("wall", "from-environment")


@pytest.mark.parametrize(
    ("name", "near"), [("VITALS_BROKR", "VITALS_BROKER"), ("VITALS_TOPIC_PREFX", "VITALS_TOPIC_PREFIX")]
)
def test_a_misspelled_variable_is_refused(name: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that no part reads ends the command, and the nearest known one is named."""
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match=f"{name} is no setting; did you mean {near}\\?"):
        load_settings()


@pytest.mark.parametrize(
    "name",
    [
        *sorted(OTHER_VARIABLES - {"VITALS_CONFIG"}),
        "VITALS_SERVICE_HOST",
        "VITALS_API_PORT",
        "VITALS_API_PORT_80_TCP_ADDR",
        "vitals_broker",
    ],
)
def test_variables_of_others_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the tests and of the compiled core, those that Kubernetes adds, and lower case are no mistakes."""
    monkeypatch.setenv(name, "a:1")
    load_settings()


def test_every_variable_that_the_project_reads_is_known() -> None:
    """No file names a variable that would be refused."""
    root = Path(__file__).resolve().parents[2]
    files = [
        root / "Makefile",
        *(path for folder in ("agents", "benchmarks", "service", "tests") for path in (root / folder).rglob("*.py")),
    ]
    named = {name for path in files for name in re.findall(r"\bVITALS_[A-Z]\w*", path.read_text(encoding="utf-8"))}
    known = {f"VITALS_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    ours = {
        "VITALS_BROKR",
        "VITALS_TOPIC_PREFX",
        "VITALS_SERVICE_HOST",
        "VITALS_API_PORT",
        "VITALS_API_PORT_80_TCP_ADDR",
    }
    assert named - ours - known == set()
