"""The core without Kafka: small logs with known outcomes, and the laws of replaying."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from typer.testing import CliRunner

from schemas.catalogue import INPUTS, type_name
from schemas.codec import encode_input
from schemas.times import parse_time_ms, time_text
from service.band_history import BandHistory
from service.cli.main import build_cli
from service.errors import InputError, UsageError
from service.ingest import Decoder
from service.input_files import InputFile
from service.model.loader import load_model
from service.replay import ReplayOptions, ReplaySummary, replay_files
from service.scoring.signals import SIGNALS
from service.scoring.views import Band
from service.simulation import Simulation

DAY_MS = 86_400_000
START_MS = parse_time_ms("2025-01-01T00:00:00Z")
MODEL = load_model()
FILES = ("scores.ndjson", "alerts.ndjson", "actions.ndjson", "summary.json")


def event(short: str, account: str, day: float, data: dict[str, Any], event_id: str = "") -> bytes:
    time_ms = START_MS + int(day * DAY_MS)
    unique = event_id or f"{short}-{account}-{time_ms}-{data.get('user', '')}"
    return encode_input(short, data, event_id=unique, source="test", account=account, time_ms=time_ms)


def busy_days(account: str, days: range) -> list[bytes]:
    return [
        event("login", account, day + number / 10, {"user": f"u{number}"}) for day in days for number in range(1, 4)
    ]


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def replay(out: Path | None, *paths: Path, until: str | None = None, lateness_ms: int = 0) -> ReplaySummary:
    files = [InputFile(str(path)) for path in paths]
    options = ReplayOptions(parse_time_ms(until) if until else None, lateness_ms, out)
    return replay_files(files, Decoder(lambda: 4_000_000_000_000), MODEL, options)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def outcome(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


@pytest.fixture(scope="module")
def simulated() -> list[bytes]:
    return [line.value for line in Simulation(accounts=25, days=75, seed=11).lines()]


def test_silence_alone_brings_the_alert(tmp_path: Path) -> None:
    """An account that falls silent is alerted at midnights of its own, while a busy one keeps the clock running."""
    lines = sorted(busy_days("busy", range(150)) + busy_days("silent", range(70)), key=_time)
    summary = replay(tmp_path / "out", write(tmp_path / "log.ndjson", lines))
    alerts = lines_of(tmp_path / "out" / "alerts.ndjson")
    assert {alert["subject"] for alert in alerts} == {"silent"}
    assert [alert["data"]["kind"] for alert in alerts] == ["score_drop", "at_risk", "endangered"]
    assert all(alert["time"].endswith("T00:00:00.000Z") for alert in alerts)
    first_day = (parse_time_ms(alerts[0]["time"]) - START_MS) // DAY_MS
    assert 70 < first_day <= 70 + 30
    bands = {score["subject"]: score["data"]["band"] for score in lines_of(tmp_path / "out" / "scores.ndjson")}
    assert bands == {"busy": "healthy", "silent": "endangered"}
    assert summary.bands == {"endangered": 1, "healthy": 1}
    assert summary.alerts == {"at_risk": 1, "endangered": 1, "score_drop": 1}


def _time(line: bytes) -> str:
    return str(orjson.loads(line)["time"])


def test_time_passes_to_the_end_without_events(tmp_path: Path) -> None:
    """With an end after the last event, silence is scored up to it, and every score is as of the end."""
    log = write(tmp_path / "log.ndjson", busy_days("acme", range(70)))
    assert replay(tmp_path / "short", log).alerts == {}
    summary = replay(tmp_path / "long", log, until="2025-06-01T00:00:00Z")
    assert summary.alerts == {"at_risk": 1, "endangered": 1, "score_drop": 1}
    (score,) = lines_of(tmp_path / "long" / "scores.ndjson")
    assert score["data"]["as_of"] == time_text(summary.until_ms or 0) == "2025-06-01T00:00:00.000Z"


def test_events_after_the_end_are_left_out_and_counted(tmp_path: Path) -> None:
    """Replaying a whole log up to a time equals replaying the log cut there."""
    lines = busy_days("acme", range(40))
    summary = replay(tmp_path / "a", write(tmp_path / "all.ndjson", lines), until="2025-01-20T23:59:59Z")
    cut = write(tmp_path / "cut.ndjson", lines[:60])
    assert replay(tmp_path / "b", cut, until="2025-01-20T23:59:59Z").events == summary.events == 60
    assert summary.after_until == 60
    assert [(tmp_path / "a" / name).read_bytes() for name in FILES[:2]] == [
        (tmp_path / "b" / name).read_bytes() for name in FILES[:2]
    ]


def test_a_line_of_scores_has_the_signals(tmp_path: Path) -> None:
    """Every signal stands beside the score as at the end, null without data; a factor's value is its signal's."""
    lines = [*busy_days("acme", range(70)), event("payment_failed", "acme", 69, {"invoice": "i"})]
    replay(tmp_path / "out", write(tmp_path / "log.ndjson", lines), until="2025-03-20T12:00:00Z")
    (score,) = (line["data"] for line in lines_of(tmp_path / "out" / "scores.ndjson"))
    signals = score["signals"]
    assert signals.keys() == SIGNALS.keys()
    assert (signals["no_login_days"], signals["recency_days"], signals["failed_payments"]) == (9, 9, 1)
    assert (signals["tenure_days"], signals["open_tickets"], signals["purchases"]) == (78, None, None)
    read = {factor.name: factor.signal.name for factor in MODEL.factors}
    assert score["factors"]
    assert all(factor["value"] == signals[read[factor["name"]]] for factor in score["factors"])
    assert (score["model_version"], score["band"]) == (MODEL.version, "at_risk")


def test_a_split_log_gives_the_same(tmp_path: Path, simulated: list[bytes]) -> None:
    """Two files, cut anywhere or dealt line by line, give what the one file gives, byte for byte."""
    replay(tmp_path / "one", write(tmp_path / "one.ndjson", simulated))
    middle = len(simulated) // 2
    halves = [simulated[:middle], simulated[middle:]]
    dealt = [simulated[::2], simulated[1::2]]
    kinds = [[line for line in simulated if _kind(line) == kind] for kind in ("account", "survey", "usage")]
    rest = [line for line in simulated if _kind(line) in {"payment", "ticket"}]
    for number, parts in enumerate((halves, dealt, [*kinds, rest])):
        paths = [write(tmp_path / f"{number}-{part}.ndjson", lines) for part, lines in enumerate(parts)]
        replay(tmp_path / str(number), *paths)
        assert outcome(tmp_path / str(number)) == outcome(tmp_path / "one")
    assert len(lines_of(tmp_path / "one" / "alerts.ndjson")) > 3


def _kind(line: bytes) -> str:
    return {type_name(message.short, 1): message.kind for message in INPUTS.values()}[orjson.loads(line)["type"]]


def test_order_within_a_day_of_logins_is_no_matter(tmp_path: Path) -> None:
    """Logins of one day in any order give the same bands, alerts and scores."""
    lines = busy_days("a", range(70)) + busy_days("b", range(90)) + busy_days("c", range(120))
    lines.sort(key=_time)
    shuffled = lines.copy()
    random.Random(4).shuffle(shuffled)
    shuffled.sort(key=lambda line: _time(line)[:10])
    assert shuffled != lines
    results = []
    for name, log in (("sorted", lines), ("shuffled", shuffled)):
        replay(tmp_path / name, write(tmp_path / f"{name}.ndjson", log))
        scores = [(s["subject"], s["data"]["score"], s["data"]["band"]) for s in lines_of(tmp_path / name / FILES[0])]
        results.append((scores, (tmp_path / name / "alerts.ndjson").read_bytes()))
    assert results[0] == results[1]


def test_kinds_of_one_instant_are_applied_in_the_workers_order(tmp_path: Path) -> None:
    """Events of one instant go by kind, as the worker merges its inputs, whatever their order in the file."""
    at = 3.5
    tied = [
        event("account_updated", "acme", at, {"tier": "high_touch"}),
        event("payment_failed", "acme", at, {"invoice": "i1"}),
        event("login", "acme", at, {"user": "ann"}),
    ]
    replay(tmp_path / "a", write(tmp_path / "a.ndjson", tied))
    replay(tmp_path / "b", write(tmp_path / "b.ndjson", tied[::-1]))
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")


def test_the_summary_counts_what_happened(tmp_path: Path) -> None:
    """Refused lines by reason, duplicates and late events are counted; applied events are the others too."""
    lines = [
        event("login", "acme", 200, {"user": "ann"}, "1"),
        event("login", "acme", 200, {"user": "ann"}, "1"),
        event("login", "acme", 10, {"user": "ann"}, "2"),
        b"{",
        b"[]",
        event("login", "acme", 200, {}, "3"),
    ]
    summary = replay(tmp_path / "out", write(tmp_path / "log.ndjson", lines))
    assert summary.refused == {"invalid_event": 2, "not_json": 1}
    assert (summary.events, summary.duplicates, summary.late, summary.accounts) == (3, 1, 1, 1)
    assert orjson.loads((tmp_path / "out" / "summary.json").read_bytes()) == summary.as_json()


def test_alerts_come_in_order_of_time_and_seq(tmp_path: Path, simulated: list[bytes]) -> None:
    """alerts.ndjson is ordered by time, then account; each account's seq is gap-free from 1."""
    end = "2025-06-30T00:00:00Z"
    summary = replay(tmp_path / "out", write(tmp_path / "log.ndjson", simulated), until=end)
    alerts = lines_of(tmp_path / "out" / "alerts.ndjson")
    keys = [(alert["time"], alert["subject"], alert["data"]["seq"]) for alert in alerts]
    assert keys == sorted(keys)
    assert len(keys) == sum(summary.alerts.values()) > 20
    for account in {alert["subject"] for alert in alerts}:
        seqs = [alert["data"]["seq"] for alert in alerts if alert["subject"] == account]
        assert seqs == list(range(1, len(seqs) + 1))


def test_the_summary_has_rates(tmp_path: Path) -> None:
    """Alerts per account and 30 days, from each account's first event to the end; accounts by tenths of coverage."""
    lines = sorted(busy_days("busy", range(150)) + busy_days("silent", range(90, 150)), key=_time)
    summary = replay(tmp_path / "out", write(tmp_path / "log.ndjson", lines), until="2025-07-10T00:00:00Z")
    days = (190 - 0.1) + (100 - 0.1)
    assert sum(summary.alerts.values()) == 6
    assert summary.alerts_per_account_month == pytest.approx(6 / (days / 30))
    assert summary.coverage == {"0.3": 2}
    assert (summary.band_entries, summary.flap_rate) == (4, 0.0)
    shown = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert shown["alerts_per_account_month"] == pytest.approx(6 / (days / 30), abs=1e-5)
    assert (shown["coverage"], shown["flap_rate"], shown["out_of_order"]) == ({"0.3": 2}, 0.0, 0)


def test_bands_that_only_come_back_are_flaps() -> None:
    """A band counts as a flap when the account had left it at most seven days before; unknown in between is nothing."""
    bands = BandHistory()
    for day, band in enumerate(["unknown", "healthy", "at_risk", "unknown", "at_risk", "healthy", "endangered"]):
        bands.note(cast("Band", band), day * DAY_MS)
    assert (bands.band, bands.entries, bands.reentries) == ("endangered", 3, 1)
    bands.note("healthy", 12 * DAY_MS)
    bands.note("endangered", 19 * DAY_MS)
    assert (bands.entries, bands.reentries) == (5, 3)
    bands.note("healthy", 26 * DAY_MS + 1)
    assert (bands.entries, bands.reentries) == (6, 3)


def test_nothing_is_written_without_out_and_a_bad_folder_is_named(tmp_path: Path) -> None:
    """Without a folder only the summary is made; a folder that cannot be made is an error with its name."""
    log = write(tmp_path / "log.ndjson", busy_days("acme", range(5)))
    assert replay(None, log).events == 15
    assert list(tmp_path.iterdir()) == [log]
    with pytest.raises(InputError, match=r"--out .*cannot be written"):
        replay(log / "out", log)


def test_an_empty_log_has_an_empty_summary(tmp_path: Path) -> None:
    """No event, no account, no end."""
    summary = replay(tmp_path / "out", write(tmp_path / "log.ndjson", []))
    assert (summary.events, summary.accounts, summary.until_ms) == (0, 0, None)
    assert (tmp_path / "out" / "scores.ndjson").read_bytes() == b""


def test_the_command_prints_the_summary(tmp_path: Path) -> None:
    """`vitals replay --json` prints what it counted and names bad lines on standard error."""
    log = write(tmp_path / "log.ndjson", [*busy_days("acme", range(40)), b"bad\x1b[31m"])
    result = CliRunner().invoke(build_cli(), ["replay", str(log), "--until", "2025-05-01", "--json"])
    assert result.exit_code == 0, result.output
    summary = orjson.loads(result.stdout)
    assert summary["until"] == "2025-05-01T00:00:00.000Z"
    assert summary["events"] == 120
    assert summary["refused"] == {"not_json": 1}
    assert f"{log}:121: not_json" in result.stderr
    assert "\x1b" not in result.stderr


def test_files_without_an_event_are_an_error(tmp_path: Path) -> None:
    """Random bytes, another format, an empty file and a header alone end the command; it never replays to None."""
    columns = ("--columns", "account=a,time=t", "--set", "type=login")
    for name, content, options, told in (
        ("random.bin", bytes(range(256)), (), "lines are refused"),
        ("readme.md", b"# Title\n" * 213, (), "all 213 lines are refused"),
        ("empty.ndjson", b"", (), "nothing is in it"),
        ("header.csv", b"a,t\n", columns, "nothing is in it"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        for command in (("replay",), ("model", "diff", "default", "default")):
            result = CliRunner().invoke(build_cli(), [*command, str(path), *options])
            assert isinstance(result.exception, InputError), (command, name, result.output)
            assert f"no event in {path}" in str(result.exception)
            assert told in str(result.exception)
            assert "None" not in result.output


def test_many_bad_lines_are_named_up_to_ten_of_each_reason(tmp_path: Path) -> None:
    """The rest is counted, so that a file of another format does not fill the screen."""
    log = write(tmp_path / "log.ndjson", [*busy_days("acme", range(5)), *[b"{"] * 13, event("login", "acme", 1, {})])
    result = CliRunner().invoke(build_cli(), ["replay", str(log)])
    named = result.stderr.splitlines()
    assert len([line for line in named if line.startswith(str(log))]) == 11
    assert named[-1] == "not_json: and 3 more"


def test_options_that_cannot_be_are_told_apart_from_bad_files(tmp_path: Path) -> None:
    """A value that an option cannot have ends with 2 before anything is read, and says how it is written."""
    rows = tmp_path / "rows"
    rows.write_text("a,t\nacme,2025-01-01\n" * 20)
    for options, told in (
        (("--kind", "usag"), "--kind usag: expected one of usage"),
        (("--lateness", "2x"), "--lateness 2x: expected a number and a unit"),
        (("--until", "yesterday"), "--until yesterday: expected a date that exists, like 2025-06-30 or 2025"),
        (("--columns", "account=a,time=t", "--set", "type=logn"), "--set type=logn: expected one of "),
    ):
        result = CliRunner().invoke(build_cli(), ["replay", str(rows), *options])
        assert isinstance(result.exception, UsageError), (options, result.output)
        assert result.exception.exit_code == 2
        assert told in str(result.exception)
        assert result.stderr == ""
