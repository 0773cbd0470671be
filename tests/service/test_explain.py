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
from service.explain_report import Explanation, explain_from_messages, message_data
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
    assert now["trend_7"] == now["score"]["trend_7"]
    assert now["trend_7"] == pytest.approx(now["score"]["score"] - before["score"]["score"], abs=0.011)
    assert now["trend_7"] < -5
    early = explained("acme", "--log", log, "--until", "2025-01-05")
    assert (early["trend_7"], early["trend_30"]) == (None, None)


def test_what_changed_since_the_last_alert_adds_up(tmp_path: Path) -> None:
    """Factors that moved, one that came and one that went since the alert, share the points of the score's change."""
    lines = [
        *busy_days("acme", range(70)),
        event(
            "survey_answered", "acme", 65, {"kind": "csat", "response": "r", "score": 1, "scale_min": 1, "scale_max": 5}
        ),
        event("payment_failed", "acme", 84, {"invoice": "i"}),
    ]
    log = write(tmp_path / "log.ndjson", lines)
    last = explained("acme", "--log", log, "--until", "2025-06-05")["since_last_alert"]
    found = explained("acme", "--log", log, "--until", "2025-06-05")
    assert (last["id"], last["score"]) == (found["alerts"][-1]["id"], found["alerts"][-1]["score"])
    assert last["points"] == pytest.approx(found["score"]["score"] - last["score"])
    assert sum(change["points"] for change in last["changes"]) == pytest.approx(last["points"], abs=0.2)
    gone = [change["name"] for change in last["changes"] if change["value"] is None]
    assert gone == ["survey"]
    assert explained("acme", "--log", log, "--until", "2025-03-01")["since_last_alert"] is None


def test_points_since_an_alert_are_shared_out_as_alerts_share_them() -> None:
    """A factor is given what its own output moved; a new one is measured against the mean of those before."""
    alert = {"id": "a", "seq": 1, "kind": "at_risk", "as_of": "t", "score": 60.0, "model_version": "1"}
    then = {"value": 1.0, "label": "x", "sentence": "x"}
    alert["factors"] = [{"name": "a", "output": 80.0, **then}, {"name": "b", "output": 40.0, **then}]
    now = {"value": 2.0, "label": "x", "sentence": "x"}
    score: dict[str, Any] = {"score": 52.0, "model_version": "1"}
    score["factors"] = [
        {"name": "a", "output": 80.0, "weight": 0.4, **now},
        {"name": "c", "output": 33.0, "weight": 0.6, **now},
    ]
    since = Explanation(score, [alert], []).since_last_alert()
    assert since is not None
    points = {change["name"]: round(change["points"], 6) for change in since["changes"]}
    assert points == {"c": 0.6 * (33 - 80), "b": round(-8 - 0.6 * (33 - 80), 6)}
    other = Explanation({**score, "model_version": "2"}, [alert], []).since_last_alert()
    assert other is not None
    assert (other["points"], other["changes"]) == (None, None)


def test_rules_overrides_and_the_profile_are_told(tmp_path: Path) -> None:
    """A band set by hand stands with its reason and end, beside the computed one and the rules that hold."""
    by_hand = {
        "override_band": "at_risk",
        "override_reason": "call on Monday",
        "override_until": "2025-04-20T00:00:00Z",
    }
    facts = {"tier": "high_touch", "renewal": "2025-05-01T00:00:00Z"}
    lines = [*busy_days("acme", range(60)), event("account_updated", "acme", 60, {**facts, **by_hand})]
    log = write(tmp_path / "log.ndjson", lines)
    told = run("acme", "--log", log, "--until", "2025-04-10").stdout
    score = explained("acme", "--log", log, "--until", "2025-04-10")["score"]
    assert (score["band"], score["computed_band"], score["profile"]) == ("at_risk", "endangered", "high_touch")
    assert f"rules that hold: {', '.join(score['rules'])}" in told
    assert {"no_login", "renewal_at_risk"} <= set(score["rules"])
    assert "at_risk set by hand until 2025-04-20T00:00:00.000Z: call on Monday; without that it is endangered" in told
    assert "profile high_touch" in told
    assert "since the alert" in told


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
    last = result.stdout[result.stdout.index("last 3 of 3 alerts") :].splitlines()
    assert [line.split()[1] for line in last[1:]] == ["endangered", "at_risk", "score_drop"]
    assert "since the alert endangered at 20" in result.stdout
    assert "░" in result.stdout


def test_an_account_that_is_not_there_is_named(log: Path, tmp_path: Path) -> None:
    """No event, no explanation; neither is there one without a place to look."""
    refused = write(tmp_path / "refused.ndjson", [b"{"])
    for arguments, message in (
        (("nobody", "--log", log), "no event of account 'nobody'"),
        (("acme", "--log", log, "--until", "2024-01-01"), "no event of account 'acme' up to 2024-01-01T00:00:00.000Z"),
        (("acme", "--log", refused), "all lines that may be its own are refused"),
        (("acme",), "say where the account is"),
        (("acme", "--live", "--log", log), "give one of the two"),
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
    found = explain_from_messages(score, alerts, [])
    assert found.score == message_data(score)
    assert found.score["account"] == read_score(score).data.account
    assert [alert["id"] for alert in found.alerts] == [read_alert(alert).data.id for alert in alerts]


def test_no_line_wraps_where_nobody_says_how_wide_it_may_be(log: Path, tmp_path: Path) -> None:
    """In a pipe a factor stands in one line, however long its sentence is, so that it can be searched for."""
    sentence = "Logins {login_change} in 30 days" + " and so on" * 16
    text = Path("service/model/default.yaml").read_text(encoding="utf-8")
    model = tmp_path / "model.yaml"
    model.write_text(text.replace("Logins {login_change} in 30 days", sentence, 1), encoding="utf-8")
    result = run("acme", "--log", log, "--until", "2025-06-01", "--model", model)
    assert result.exit_code == 0
    assert " and so on" * 16 in result.stdout


def test_what_people_did_is_shown(tmp_path: Path) -> None:
    """Actions are listed with what became of them, alerts with their state, and what holds by hand with its end."""
    lines = [
        *busy_days("acme", range(70)),
        event("acknowledge_alert", "acme", 105, {"actor": "dana", "alert_seq": 1}),
        event("snooze_alerts", "acme", 105.1, {"actor": "dana", "until": "2025-07-01T00:00:00Z", "alert_seq": 2}),
        event("resolve_alert", "acme", 105.2, {"actor": "eve", "alert_seq": 99, "note": "gone"}),
        event("set_sentiment", "acme", 105.3, {"actor": "dana", "sentiment": -0.5}),
    ]
    log = write(tmp_path / "log.ndjson", lines)
    found = explained("acme", "--log", log, "--until", "2025-04-18")
    assert [(each["action"], each["refusal"]) for each in found["actions"]] == [
        ("acknowledge", None),
        ("snooze", None),
        ("resolve", "unknown_alert"),
        ("sentiment", None),
    ]
    shown = run("acme", "--log", log, "--until", "2025-04-18").stdout
    assert "last 4 of 4 actions" in shown
    assert "eve resolve alert 99: gone (refused, unknown_alert)" in shown
    assert "snoozed until 2025-07-01T00:00:00.000Z" in shown
    assert "the manager's sentiment: -0.5" in shown
    assert all(f" {state} " in shown for state in ("acknowledged", "snoozed", "new"))
    later = run("acme", "--log", log, "--until", "2025-07-02").stdout
    assert " snoozed " not in later
    assert " acknowledged " in later
