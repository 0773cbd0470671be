"""`vitals explain`: what it says of an account in a log, in a table and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from schemas.codec import read_alert, read_score
from service.cli.main import build_cli
from service.errors import InputError
from service.explain_report import explain_from_messages, message_data
from service.ingest import Decoder
from service.input_files import InputFile
from service.replay import ReplayOptions, replay_files
from tests.replay.test_replay import MODEL, busy_days, event, lines_of, write

NOW_MS = 4_000_000_000_000


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(build_cli(), ["explain", *map(str, arguments)])


def explained(*arguments: str | Path) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = orjson.loads(result.stdout)
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = busy_days("acme", range(70)) + busy_days("other", range(110))
    lines.append(event("account_updated", "acme", 60, {"name": "Ac\u200bme", "owner": "ann"}))
    return write(tmp_path / "log.ndjson", sorted(lines, key=lambda line: str(orjson.loads(line)["time"])))


def test_a_log_gives_what_a_replay_gives(tmp_path: Path, log: Path) -> None:
    """Score, factors and alerts of the account are those of `vitals replay` to the same end."""
    until_ms = 1_745_000_000_000
    options = ReplayOptions(until_ms, 0, tmp_path / "out")
    replay_files([InputFile(str(log))], Decoder(lambda: NOW_MS), MODEL, options)
    scores = {line["subject"]: line["data"] for line in lines_of(tmp_path / "out" / "scores.ndjson")}
    alerts = [line["data"] for line in lines_of(tmp_path / "out" / "alerts.ndjson") if line["subject"] == "acme"]
    assert alerts
    for account, expected in (("acme", alerts), ("other", [])):
        found = explained(account, "--log", log, "--until", "2025-04-18T18:13:20Z")
        assert found["score"] == scores[account]
        assert found["alerts"] == expected


def test_the_trend_is_against_the_end_of_a_day(log: Path) -> None:
    """Silent since day 70: the trend of 7 days is the score less that at the end of the day seven days before."""
    now = explained("acme", "--log", log, "--until", "2025-03-25T10:00:00Z")
    before = explained("acme", "--log", log, "--until", "2025-03-18T23:59:59.999Z")
    assert now["trend_7"] == pytest.approx(now["score"]["score"] - before["score"]["score"], abs=0.011)
    assert now["trend_7"] < -5
    early = explained("acme", "--log", log, "--until", "2025-01-05")
    assert (early["trend_7"], early["trend_30"]) == (None, None)


def test_the_table_shows_every_factor_and_is_harmless(log: Path) -> None:
    """Each factor has its bar and sentence; the last alerts stand below, newest first; odd characters are escaped."""
    result = run("acme", "--log", log, "--until", "2025-06-01")
    assert result.exit_code == 0
    found = explained("acme", "--log", log, "--until", "2025-06-01")
    for factor in found["score"]["factors"]:
        assert factor["label"] in result.stdout
        assert factor["sentence"] in result.stdout
    assert "acme (Ac\\u200bme): " in result.stdout
    assert "endangered" in result.stdout.splitlines()[0]
    last = result.stdout[result.stdout.index("last 2 of 2 alerts") :].splitlines()
    assert [line.split()[1] for line in last[1:]] == ["endangered", "at_risk"]
    assert "░" in result.stdout


def test_an_account_that_is_not_there_is_named(log: Path) -> None:
    """No event, no explanation; neither is there one without a place to look."""
    for arguments, message in (
        (("nobody", "--log", log), "no event of account 'nobody'"),
        (("acme", "--log", log, "--until", "2024-01-01"), "no event of account 'acme'"),
        (("acme",), "say where the account is"),
        (("acme", "--live", "--log", log), "say where the account is"),
    ):
        error = run(*arguments).exception
        assert isinstance(error, InputError)
        assert message in str(error)


def test_bad_lines_are_named_once_and_others_accounts_not_read(tmp_path: Path) -> None:
    """Refused lines that may be the account's go to standard error, those of other accounts do not."""
    bad_other = event("login", "other", 1, {})
    log = write(tmp_path / "log.ndjson", [*busy_days("acme", range(3)), b"{", bad_other, event("login", "acme", 1, {})])
    result = run("acme", "--log", log)
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["not_json", "invalid_event"]


def test_messages_are_explained_as_they_are(tmp_path: Path, log: Path) -> None:
    """What the topics hold is shown as it stands there."""
    replay_files([InputFile(str(log))], Decoder(lambda: NOW_MS), MODEL, ReplayOptions(out=tmp_path / "out"))
    score = (tmp_path / "out" / "scores.ndjson").read_bytes().splitlines()[0]
    alerts = (tmp_path / "out" / "alerts.ndjson").read_bytes().splitlines()
    found = explain_from_messages(score, alerts)
    assert found.score == message_data(score)
    assert found.score["account"] == read_score(score).data.account
    assert [alert["id"] for alert in found.alerts] == [read_alert(alert).data.id for alert in alerts]
