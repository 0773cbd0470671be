"""What the long runs measure and tell, on figures made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service.adapters.clients import Partition
from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.topic_admin import apply_topics
from service.topic_catalogue import TopicNames
from tests.chaos.compare import Verdict
from tests.chaos.progress import Progress
from tests.chaos.quorum import controller, leader_of
from tests.chaos.report import Report, RunRecord, as_markdown, merged, this_machine
from tests.chaos.run import Outcome
from tests.chaos.runner import complaints
from tests.chaos.scenarios import Limits

HERE: Partition = ("usage", 0)
THERE: Partition = ("usage", 1)
Watched = tuple[Progress, dict[Partition, int], Callable[[float, int, int], None]]


@pytest.fixture
def watched() -> Watched:
    """Make a progress that looks when it is told, what is acknowledged, and the way to tell it."""
    acknowledged = {HERE: 10, THERE: 10}
    progress = Progress("", "", lambda: dict(acknowledged), lambda _: None)

    def look(now: float, here: int, there: int) -> None:
        progress._take({HERE: here, THERE: there}, now)

    return progress, acknowledged, look


def test_a_fault_is_made_up_for_when_all_that_came_until_a_second_after_it_is_committed(watched: Watched) -> None:
    """Records that came later do not count, and one partition alone does not do."""
    progress, acknowledged, look = watched
    progress.fault_ended("killed")
    (fault,) = progress.faults
    fault.at = 100.0
    look(100.5, 10, 10)
    assert fault.seconds is None  # the second is not over
    acknowledged[HERE] = 12
    look(101.1, 10, 10)
    acknowledged[HERE] = acknowledged[THERE] = 50
    look(103.0, 12, 9)
    assert not progress.is_settled
    look(107.0, 12, 10)
    assert fault.seconds == pytest.approx(7.0)
    assert progress.is_settled


def test_a_partition_stands_still_while_it_has_records_and_commits_none(watched: Watched) -> None:
    """Neither an idle partition nor one that moves slowly stands still; being set back is a movement."""
    progress, acknowledged, look = watched
    for now in range(5):
        look(float(now), 10, 5 + now)
    assert progress.still_seconds_max == 0.0
    acknowledged[HERE] = 11
    look(5.0, 10, 10)
    look(12.0, 10, 10)
    assert progress.still_seconds_max == pytest.approx(8.0)
    look(13.0, 3, 10)
    look(14.0, 3, 10)
    assert progress.still_seconds_max == pytest.approx(8.0)


def test_a_group_that_never_committed_stands_still(watched: Watched) -> None:
    """What a storm of rebalances prevents from the beginning is told too."""
    progress, _, _ = watched
    progress._take({}, 0.0)
    progress._take({}, 70.0)
    assert progress.still_seconds_max == pytest.approx(70.0)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(p95_seconds=30, max_seconds=60, still_seconds=60), []),
        (Limits(p95_seconds=20), ["95 of 100 faults were made up for within 25.0 s, at most 20 s are allowed"]),
        (Limits(max_seconds=24), ["a fault was made up for within 25.0 s, at most 24 s are allowed"]),
        (Limits(still_seconds=10), ["a partition stood still for 12.0 s, at most 10 s are allowed"]),
    ],
)
def test_what_takes_too_long_is_told(limits: Limits, told: list[str]) -> None:
    """Each limit is held against its own figure."""
    nothing: Any = None
    outcome = Outcome(Verdict(), [], nothing, nothing, [2.0] * 9 + [25.0], still_seconds_max=12.0)
    assert list(complaints(limits, outcome)) == told


def record(seed: int, **changes: object) -> RunRecord:
    """Make the record of a run."""
    made = {"scenario": "F1", "title": "kills", "does": "F1: some die.", "seed": seed, "is_full": True, "seconds": 60}
    return RunRecord.model_validate({**made, "passed": True, "counts": {"events": 1_000, "crashes": 20}, **changes})


def test_reports_merge_into_one_table() -> None:
    """Two runs of one scenario are one row with sums and the worst time, as read back from JSON."""
    told = [Report(machines=[this_machine()], runs=[record(7, catch_up_seconds=[1.0, 9.5])])]
    told.append(Report(machines=told[0].machines, runs=[record(8, catch_up_seconds=[4.0], differences={"lost": 2})]))
    whole = merged(Report.model_validate_json(each.model_dump_json()) for each in told)
    assert len(whole.machines) == 1
    (row,) = [line for line in as_markdown(whole).splitlines() if line.startswith("| F1 | kills")]
    assert row == "| F1 | kills | 2 | 2000 | 40 | 0 | 0 | 2 | 0 | 0 | 0 | 0 | 0 | 9.5 | 9.5 | 0.0 | passed |"
    assert "Seeds: 7, 8. Size: full." in as_markdown(whole)


def test_a_failed_run_is_told() -> None:
    """A run that failed makes the report a failed one, with the reason and the seed."""
    report = Report(machines=[], runs=[record(7), record(8, passed=False, failure="too slow\nmore")])
    assert not report.passed
    page = as_markdown(report)
    assert "**failed** (1 of 2)" in page
    assert "- F1 kills, seed 8: too slow\n" in page


@pytest.mark.kafka
def test_leaders_are_found(broker: EmbeddedKafka) -> None:
    """The only broker leads everything, controllers too."""
    names = TopicNames(app_id="leaders-app", prefix="leaders-")
    asyncio.run(apply_topics(broker.bootstrap, names))
    assert asyncio.run(controller(broker.bootstrap)) == 1
    assert asyncio.run(leader_of(broker.bootstrap, names.changelog, 3)) == 1
