"""The simulated stream: reproducible, ordered, and true to its truth file."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from typer.testing import CliRunner

from service.cli import simulate
from service.simulation import Simulation, TimedLine

DAYS = 120


@pytest.fixture(scope="module")
def lines() -> list[TimedLine]:
    return list(Simulation(accounts=150, days=DAYS, seed=5).lines())


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, Any]]:
    return {line["account"]: line for line in Simulation(accounts=150, days=DAYS, seed=5).truth()}


def run(*arguments: str | Path) -> bytes:
    cli = typer.Typer()
    cli.callback()(lambda: None)
    simulate.register(cli)
    result = CliRunner().invoke(cli, ["simulate", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def test_a_seed_gives_the_same_bytes_in_every_process() -> None:
    """Two processes with different string hashing print the same digest of one simulation."""
    code = (
        "import hashlib; from service.simulation import Simulation;"
        "print(hashlib.sha256(b'\\n'.join(line.value for line in Simulation(20, 30, 1).lines())).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_gives_another_stream(lines: list[TimedLine]) -> None:
    """The seed decides the events."""
    other = [line.value for line in Simulation(accounts=150, days=DAYS, seed=6).lines()]
    assert other != [line.value for line in lines]


def test_more_accounts_leave_the_first_ones_as_they_were(lines: list[TimedLine]) -> None:
    """The number of accounts does not change what account k does."""
    few = [line.value for line in Simulation(accounts=10, days=DAYS, seed=5).lines()]
    assert few == [line.value for line in lines if line.account < "acct-000010"]


def test_the_stream_is_ordered_and_its_ids_are_unique(lines: list[TimedLine]) -> None:
    """Lines come in order of time, and no two events share source and id."""
    times = [line.time_ms for line in lines]
    assert times == sorted(times)
    events = [orjson.loads(line.value) for line in lines]
    assert len({(event["source"], event["id"]) for event in events}) == len(events)


def test_every_kind_and_every_type_occurs(lines: list[TimedLine]) -> None:
    """A stream of some size shows all five kinds and all their types, at a believable rate."""
    assert {line.kind for line in lines} == {"usage", "payment", "ticket", "survey", "account"}
    types = Counter(orjson.loads(line.value)["type"].split(".")[2] for line in lines)
    assert set(types) == {
        *("login", "feature_used", "session", "invoice_paid", "payment_failed", "invoice_overdue"),
        *("subscription_changed", "purchase", "ticket_opened", "ticket_updated", "ticket_solved"),
        *("survey_answered", "account_updated"),
    }
    assert 3 <= len(lines) / (150 * DAYS) <= 15


def test_dead_accounts_are_silent(lines: list[TimedLine], truth: dict[str, dict[str, Any]]) -> None:
    """No event comes after the day of death, and every account that lives has events in the last week."""
    last: dict[str, str] = {}
    for line in lines:
        last[line.account] = orjson.loads(line.value)["time"][:10]
    dead = [account for account, line in truth.items() if line["death_day"]]
    assert len(dead) > 15
    assert all(last[account] <= truth[account]["death_day"] for account in dead)
    assert all(last[account] >= "2025-04-24" for account in truth if account not in dead)


def test_slow_death_shows_in_usage_and_ends_in_churn(lines: list[TimedLine], truth: dict[str, dict[str, Any]]) -> None:
    """A slowly dying account uses less and less, fails to pay, and says goodbye."""
    slow = {account for account, line in truth.items() if line["archetype"] == "slowly_dying"}
    usage: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for line in lines:
        if line.account in slow and line.kind == "usage":
            day = orjson.loads(line.value)["time"][:10]
            usage[line.account][day > _middle(truth[line.account])] += 1
    early = sum(counts[0] for counts in usage.values())
    late = sum(counts[1] for counts in usage.values())
    assert late < early / 3
    churned = {line.account for line in lines if b'"stage":"churned"' in line.value}
    assert churned == slow


def _middle(line: dict[str, Any]) -> str:
    """Return the day halfway through the decline."""
    begin, end = date.fromisoformat(line["decline_day"]), date.fromisoformat(line["death_day"])
    return (begin + (end - begin) / 2).isoformat()


def test_the_command_writes_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """Standard output, a file and a gzipped file hold the same lines; two gzipped files are equal byte for byte."""
    base = ("--accounts", "5", "--days", "4", "--seed", "3")
    printed = run(*base)
    run(*base, "--out", tmp_path / "a.ndjson", "--truth", tmp_path / "truth.ndjson")
    run(*base, "--out", tmp_path / "a.ndjson.gz")
    run(*base, "--out", tmp_path / "b.ndjson.gz")
    assert printed.count(b"\n") > 20
    assert (tmp_path / "a.ndjson").read_bytes() == printed
    assert gzip.decompress((tmp_path / "a.ndjson.gz").read_bytes()) == printed
    assert (tmp_path / "a.ndjson.gz").read_bytes() == (tmp_path / "b.ndjson.gz").read_bytes()
    assert len((tmp_path / "truth.ndjson").read_bytes().splitlines()) == 5


def test_start_moves_the_stream(tmp_path: Path) -> None:
    """The first event falls on the first day that was asked for."""
    printed = run("--accounts", "3", "--days", "2", "--seed", "3", "--start", "2024-02-29")
    assert orjson.loads(printed.splitlines()[0])["time"].startswith("2024-02-29")
