"""The judgements of `vitals doctor`: each fault of a deployment is found, graded and given its cure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from service.adapters.cluster_facts import BrokerFacts, ClockFacts, GroupFacts, TopicFacts
from service.adapters.topic_admin import TopicPlan
from service.doctor import (
    Finding,
    judge_brokers,
    judge_clocks,
    judge_group,
    judge_home,
    judge_machine,
    judge_plans,
    judge_replication,
    judge_topics,
    judge_versions,
)
from service.settings import load_settings
from service.topic_catalogue import TopicNames

WELL = TopicFacts("t", 8, 0, 3, 3, 2, is_unclean=False, cleanup_policy="delete")
GROUP = GroupFacts("Stable", 1, {("payments", 0): (0, 10, 10)})


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    """Index findings by check; every one that is not OK must say what to do, and none that is OK."""
    found = list(findings)
    assert len({finding.check for finding in found}) == len(found)
    for finding in found:
        assert bool(finding.cure) == (finding.level != "OK"), finding
    return {finding.check: finding.level for finding in found}


def test_a_well_deployment_has_nothing_to_mend() -> None:
    """Three replicas, all in sync, two needed, nothing unclean: all OK."""
    assert set(levels(judge_replication([WELL, replace(WELL, name="other")], 3)).values()) == {"OK"}
    assert levels(judge_brokers([BrokerFacts(1, "a:1", answers=True, release="4.3")])) == {
        "brokers": "OK",
        "versions": "OK",
    }
    assert levels(judge_group("g", GROUP, GROUP, 8, 2)) == {"group": "OK", "lag": "OK"}
    assert levels(judge_clocks([ClockFacts(1, -900, 3)])) == {"clock": "OK"}


@pytest.mark.parametrize(
    ("topic", "brokers", "check", "level"),
    [
        (replace(WELL, replicas=1, in_sync=1, min_in_sync=1), 1, "replicas", "WARN"),
        (replace(WELL, replicas=1, in_sync=1, min_in_sync=1), 1, "min ISR", "WARN"),
        (replace(WELL, replicas=1, in_sync=1, min_in_sync=1), 3, "replicas", "FAIL"),
        (replace(WELL, replicas=2, in_sync=2, min_in_sync=1), 3, "replicas", "WARN"),
        (replace(WELL, in_sync=2), 3, "in sync", "WARN"),
        (replace(WELL, in_sync=1), 3, "in sync", "FAIL"),
        (replace(WELL, leaderless=1), 3, "in sync", "FAIL"),
        (replace(WELL, min_in_sync=1), 3, "min ISR", "FAIL"),
        (replace(WELL, min_in_sync=3), 3, "min ISR", "WARN"),
        (replace(WELL, min_in_sync=4), 3, "min ISR", "FAIL"),
        (replace(WELL, is_unclean=True), 3, "unclean election", "FAIL"),
    ],
)
def test_faults_of_replication(topic: TopicFacts, brokers: int, check: str, level: str) -> None:
    """A single broker is a warning; what loses or refuses acknowledged writes fails, also among well topics."""
    found = levels(judge_replication([WELL, replace(topic, name="other")], brokers))
    assert found[check] == level


def test_the_worst_topic_decides() -> None:
    """A failing topic is told before those that only deserve a warning."""
    topics = [replace(WELL, name=name, in_sync=count) for name, count in (("a", 2), ("b", 1), ("c", 1))]
    finding = next(finding for finding in judge_replication(topics, 3) if finding.check == "in sync")
    assert (finding.level, "(b, c)" in finding.message) == ("FAIL", True)


def test_faults_of_topics() -> None:
    """Missing topics, other settings, unequal partition counts and a changelog that deletes are found."""
    names = TopicNames()
    plans = [TopicPlan("a", "create", 8), TopicPlan("b", "alter", 8, 8, {"retention.ms": ("1", "2")})]
    assert levels(judge_plans(plans)) == {"topics": "FAIL", "topic settings": "WARN"}
    assert levels(judge_plans([TopicPlan("a", "create", 8)])) == {"topics": "WARN"}
    assert levels(judge_plans([TopicPlan("a", "ok", 8, 8)])) == {"topics": "OK", "topic settings": "OK"}
    changelog = replace(WELL, name=names.changelog, cleanup_policy="compact")
    assert levels(judge_topics([WELL, changelog], names)) == {"partitions": "OK", "changelog": "OK"}
    deleting = replace(changelog, cleanup_policy="compact,delete", partitions=3)
    assert levels(judge_topics([WELL, deleting], names)) == {"partitions": "FAIL", "changelog": "FAIL"}


def test_faults_of_brokers() -> None:
    """A broker that does not answer fails, brokers of several releases are a warning."""
    brokers = [BrokerFacts(1, "a:1", answers=True, release="4.3"), BrokerFacts(2, "b:1", answers=False)]
    assert levels(judge_brokers(brokers)) == {"brokers": "FAIL", "versions": "OK"}
    mixed = [brokers[0], replace(brokers[0], release="4.2")]
    assert levels(judge_brokers(mixed)) == {"brokers": "OK", "versions": "WARN"}


@pytest.mark.parametrize(
    ("clock", "level"),
    [
        (ClockFacts(1, 1_000, 0), "OK"),
        (ClockFacts(1, 2_900, 2_000), "OK"),  # within what can be measured
        (ClockFacts(1, -1_100, 0), "WARN"),
        (ClockFacts(1, 60_001, 0), "FAIL"),
        (ClockFacts(1, -3_600_000, 100), "FAIL"),
    ],
)
def test_clocks_that_differ(clock: ClockFacts, level: str) -> None:
    """More than a second is a warning, more than a minute a failure, in both directions, the worst broker counts."""
    assert levels(judge_clocks([ClockFacts(2, 0, 0), clock])) == {"clock": level}
    assert levels(judge_clocks([])) == {"clock": "WARN"}


def test_faults_of_the_group() -> None:
    """No worker, too many, one that stands still, records deleted unread and inputs made anew are found."""
    behind = replace(GROUP, offsets={("payments", 0): (0, 10, 30), ("payments", 1): (5, None, 7)})
    assert behind.lag_records == 22
    assert levels(judge_group("g", behind, replace(behind), 8, 2)) == {"group": "OK", "lag": "WARN"}
    moved = replace(behind, offsets={("payments", 0): (0, 20, 40)})
    assert levels(judge_group("g", behind, moved, 8, 2)) == {"group": "OK", "lag": "OK"}
    alone = replace(behind, state="Empty", members=0)
    assert levels(judge_group("g", alone, alone, 8, 2)) == {"group": "WARN", "lag": "WARN"}
    assert "the last line of its log" in next(iter(judge_group("g", alone, alone, 8, 2))).cure
    assert "1 member" in next(iter(judge_group("g", GROUP, GROUP, 8, 2))).message.split(", ")
    crowd = replace(GROUP, members=9)
    assert levels(judge_group("g", crowd, crowd, 8, 2))["group"] == "WARN"
    lost = replace(GROUP, offsets={("payments", 0): (15, 10, 15)})
    assert levels(judge_group("g", lost, lost, 8, 2))["unread"] == "FAIL"
    anew = replace(GROUP, offsets={("payments", 0): (0, 10, 3)})
    assert levels(judge_group("g", anew, anew, 8, 2))["inputs"] == "FAIL"


def test_faults_of_this_machine(tmp_path: Path) -> None:
    """A library in an untested version, a wrong model and a home that is a file fail; nothing is left in the home."""
    assert levels(judge_versions({"aiokafka": "9"}, {"aiokafka": ("0.14.0",)})) == {"libraries": "FAIL"}
    assert levels(judge_versions({"aiokafka": "0.14.0"}, {"aiokafka": ("0.14.0",)})) == {"libraries": "OK"}
    model = tmp_path / "model.yaml"
    model.write_text("nonsense")
    found = levels(judge_machine(load_settings(model=model, home=tmp_path / "new" / "home"), {}))
    assert found == {"python": "OK", "libraries": "OK", "settings": "OK", "model": "FAIL", "home": "OK"}
    assert list(tmp_path.iterdir()) == [model]
    assert judge_home(model).level == "FAIL"
    if os.geteuid():  # root may write everywhere
        tmp_path.chmod(0o500)
        assert judge_home(tmp_path).level == "FAIL"
        tmp_path.chmod(0o700)
