"""`vitals model diff`: one log through two models, and who ends in another band or is warned otherwise."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from schemas.times import parse_time_ms, time_text
from service.cli.main import build_cli
from service.errors import ConfigError
from service.ingest import Decoder
from service.input_files import InputFile
from service.model.loader import load_model
from service.model_diff import compare_models
from service.replay import ReplayOptions, replay_files
from tests.replay.test_replay import busy_days, lines_of, write

DEFAULT = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = busy_days("busy", range(110)) + busy_days("silent", range(70))
    return write(tmp_path / "log.ndjson", sorted(lines, key=lambda line: str(orjson.loads(line)["time"])))


@pytest.fixture
def until_ms(log: Path, tmp_path: Path) -> int:
    """Find the last instant at which the packaged model still finds the silent account healthy."""
    options = ReplayOptions(parse_time_ms("2025-06-01T00:00:00Z"), out=tmp_path / "found")
    replay_files([InputFile(str(log))], Decoder(lambda: 4_000_000_000_000), load_model(), options)
    alerts = lines_of(tmp_path / "found" / "alerts.ndjson")
    warned = (alert for alert in alerts if alert["subject"] == "silent" and alert["data"]["kind"] == "at_risk")
    return parse_time_ms(next(warned)["time"]) - 1


@pytest.fixture
def stern(tmp_path: Path) -> Path:
    """Make a model that takes silence harder than the packaged one."""
    document = yaml.safe_load(DEFAULT)
    for name in ("recency", "recency_gaps", "login_trend", "active_days"):
        points = document["factors"][name]["curve"]
        document["factors"][name]["curve"] = [[x, y * y / 100] for x, y in points]
    file = tmp_path / "stern.yaml"
    file.write_text(yaml.safe_dump({**document, "version": "stern"}, sort_keys=False))
    return file


def test_who_ends_in_another_band_and_who_is_warned_earlier(log: Path, stern: Path, until_ms: int) -> None:
    """Each side is what a replay with that model gives; the silent account is warned earlier by the stern model."""
    models = load_model(), load_model(stern)
    files, decoder = [InputFile(str(log))], Decoder(lambda: 4_000_000_000_000)
    found = compare_models(files, decoder, models, ReplayOptions(until_ms=until_ms))
    for side, model in ((found.a, models[0]), (found.b, models[1])):
        assert side == replay_files(files, decoder, model, ReplayOptions(until_ms=until_ms)).as_json()
    assert [(change.account, change.band_a, change.band_b) for change in found.changes] == [
        ("silent", "healthy", "at_risk")
    ]
    assert found.moves == {"healthy > at_risk": 1}
    assert (found.warned_both, found.warned_only_a, found.warned_only_b) == (0, [], ["silent"])
    later = compare_models(files, decoder, models, ReplayOptions(until_ms=until_ms + 60 * 86_400_000))
    assert later.warned_both == 2
    assert min(later.days_earlier_in_b) > 0
    swapped = compare_models(files, decoder, models[::-1], ReplayOptions(until_ms=until_ms + 60 * 86_400_000))
    assert swapped.days_earlier_in_b == [-days for days in later.days_earlier_in_b]


def test_a_model_does_not_differ_from_itself(log: Path) -> None:
    """The packaged model twice: no change of any kind."""
    result = CliRunner().invoke(build_cli(), ["model", "diff", "default", "default", str(log), "--json"])
    assert result.exit_code == 0, result.output
    found = orjson.loads(result.stdout)
    assert found["a"] == found["b"]
    assert (found["changes"], found["moves"], found["warned"]["only_a"]) == ([], {}, [])


def test_the_table_names_the_accounts(log: Path, stern: Path, until_ms: int) -> None:
    """For people: both versions, the counts of both sides, and the accounts that move."""
    arguments = ["model", "diff", "default", str(stern), str(log), "--until", time_text(until_ms)]
    result = CliRunner().invoke(build_cli(), arguments)
    assert result.exit_code == 0, result.output
    for text in (load_model().version, load_model(stern).version, "bands: at_risk", "healthy > at_risk", "1 silent"):
        assert text in result.stdout


def test_a_wrong_model_is_refused(log: Path, tmp_path: Path) -> None:
    """Each side is checked as a worker would check it."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1")
    result = CliRunner().invoke(build_cli(), ["model", "diff", "default", str(wrong), str(log)])
    assert isinstance(result.exception, ConfigError)
    assert "wrong.yaml:1" in str(result.exception)
