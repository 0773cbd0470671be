"""Planning: arithmetic that follows from the stored run of the benchmark."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service import capacity
from service.capacity import Need, plan
from service.cli.main import build_cli

BASELINE = Path(__file__).parents[2] / "benchmarks" / "baseline.json"
NEED = Need(events_per_second=1_000, accounts=10_000, event_bytes=300, retention_days=14, worker_mib=2_048)


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("EVENTS_PER_SECOND", "events_per_second"),
        ("EMPTY_MIB", "empty_rss_mib"),
        ("LIVE_ACCOUNT_BYTES", "idle_bytes_per_account"),
        ("STORED_ACCOUNT_BYTES", "core_stored_state_bytes"),
        ("RECOVERY_RECORDS_PER_SECOND", "recovery_records_per_second"),
    ],
)
def test_figures_are_those_of_the_stored_run(name: str, figure: str) -> None:
    """Within a tenth, as the stored run is another each time."""
    measured = json.loads(BASELINE.read_text(encoding="utf-8"))["figures"][figure]["value"]
    assert getattr(capacity, name) == pytest.approx(measured, rel=0.1)


def test_a_small_load_takes_one_worker() -> None:
    """And the default number of partitions."""
    found = plan(NEED)
    assert (found.workers, found.partitions) == (1, 8)


def test_events_and_memory_both_ask_for_workers() -> None:
    """The greater of both decides; each worker stays within its memory."""
    for_events = plan(replace(NEED, events_per_second=100_000))
    assert for_events.workers == 5  # 22,500 each
    assert for_events.partitions == 20
    for_memory = plan(replace(NEED, accounts=1_000_000, worker_mib=1_024))
    assert for_memory.workers == 8
    assert for_memory.worker_mib <= 1_024


def test_disk_grows_with_what_is_kept() -> None:
    """Inputs with rate, size and days; compacted topics with accounts alone."""
    once, twice = plan(NEED), plan(replace(NEED, retention_days=28, accounts=20_000))
    assert twice.inputs_mib == pytest.approx(2 * once.inputs_mib, abs=1)
    assert twice.changelog_mib == pytest.approx(2 * once.changelog_mib, abs=1)
    assert once.inputs_mib == pytest.approx(1_000 * 360 * 14 * 86_400 / 1_048_576, abs=1)


def test_the_command_tells_both_ways() -> None:
    """For people and as JSON; a worker that could hold no account is refused with the cure."""
    arguments = ["plan", "--events-per-second", "1000", "--accounts", "10000"]
    as_json = CliRunner().invoke(build_cli(), [*arguments, "--json"])
    assert json.loads(as_json.stdout)["workers"] == 1
    shown = CliRunner().invoke(build_cli(), arguments)
    assert shown.exit_code == 0
    assert "partitions of every topic" in shown.stdout
    refused = CliRunner().invoke(build_cli(), [*arguments, "--worker-mib", "50"])
    assert "give more" in str(refused.exception)
