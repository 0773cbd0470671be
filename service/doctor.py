"""Judges a deployment: every finding is OK, WARN or FAIL, and says what to do about it.

The judgements are functions of facts; `examine_cluster` gathers those of the cluster. A check that fails hides no other
that can still be made.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from service.adapters.cluster_facts import (
    BrokerFacts,
    ClockFacts,
    GroupFacts,
    TopicFacts,
    read_brokers,
    read_clocks,
    read_group,
    read_topics,
)
from service.adapters.topic_admin import TopicPlan, other_app_ids, plan_topics
from service.errors import VitalsError
from service.model.loader import load_model
from service.settings import Settings, reaches_loopback_only
from service.topic_catalogue import TopicNames

PYTHON_MIN: Final = (3, 11)
FREE_BYTES_MIN: Final = 512 * 1024 * 1024  # the embedded broker asks for as much
REPLICAS_WANTED: Final = 3
CLOCK_WARN_MS: Final = 1_000
CLOCK_FAIL_MS: Final = 60_000
PROGRESS_SECONDS_MIN: Final = 2.0
LISTED: Final = 3

NO_BROKER_CURE: Final = "start them, or correct how they are reached: topics, clocks and workers were not looked at"

Level = Literal["OK", "WARN", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, and, unless it is well, the cure."""

    check: str
    level: Level
    message: str
    cure: str = ""


async def examine_cluster(settings: Settings, bootstrap: str) -> AsyncIterator[Finding]:
    """Look at brokers, topics, clocks and the worker's group; yields findings as they are made."""
    names = TopicNames.from_settings(settings)
    try:
        brokers = await read_brokers(bootstrap)
    except VitalsError as error:
        yield Finding("brokers", "FAIL", str(error), NO_BROKER_CURE)
        return
    for finding in judge_brokers(brokers):
        yield finding
    try:
        plans = await plan_topics(bootstrap, names)
        topics = await read_topics(bootstrap, [*names.worker_topics(), names.clock])
        others = await other_app_ids(bootstrap, names)
    except VitalsError as error:
        yield Finding(
            "topics", "FAIL", str(error), "mend the brokers first: topics, clocks and workers were not looked at"
        )
        return
    for finding in (
        *judge_plans(plans),
        *judge_replication(topics, len(brokers)),
        *judge_topics(topics, names),
        judge_app_id(names, others),
    ):
        yield finding
    inputs = [topic for topic in topics if topic.name in {*names.inputs, names.rekeyed}]
    for check, findings in (
        ("clock", _clock(bootstrap, names, topics)),
        ("group", _group(bootstrap, settings, inputs)),
    ):
        try:
            for finding in await findings:
                yield finding
        except VitalsError as error:
            yield Finding(check, "FAIL", str(error), "look into the brokers' logs")


async def _clock(bootstrap: str, names: TopicNames, topics: list[TopicFacts]) -> list[Finding]:
    if not any(topic.name == names.clock for topic in topics):
        return [Finding("clock", "WARN", f"not measured: there is no topic {names.clock}", "run `vitals topics apply`")]
    return list(judge_clocks(await read_clocks(bootstrap, names.clock)))


async def _group(bootstrap: str, settings: Settings, inputs: list[TopicFacts]) -> list[Finding]:
    before = await read_group(bootstrap, settings.app_id, inputs)
    seconds = max(PROGRESS_SECONDS_MIN, 2 * settings.commit_interval_seconds)
    after = before
    if before.members and before.lag_records:
        await asyncio.sleep(seconds)
        after = await read_group(bootstrap, settings.app_id, inputs)
    partitions = max((topic.partitions for topic in inputs), default=0)
    return list(judge_group(settings.app_id, before, after, partitions, seconds))


# -- this machine ------------------------------------------------------------------------------------------


def judge_machine(settings: Settings, tested_versions: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Judge Python, the libraries, the model and the folder of the settings."""
    python = platform.python_version()
    if sys.version_info < PYTHON_MIN:
        yield Finding("python", "FAIL", python, "install Python 3.11 or newer")
    else:
        yield Finding("python", "OK", python)
    yield from judge_versions({name: version(name) for name in tested_versions}, tested_versions)
    yield Finding("settings", "OK", "broker " + (settings.broker or "embedded") + f", app id {settings.app_id}")
    try:
        yield Finding("model", "OK", f"{load_model(settings.model).version}")
    except VitalsError as error:
        yield Finding("model", "FAIL", str(error), "see `vitals model check`")
    if settings.broker is None:
        yield judge_home(settings.home)
    else:
        yield judge_security(settings)


def judge_security(settings: Settings) -> Finding:
    """Judge how the brokers are spoken with."""
    known = f" as {settings.kafka_username}" if settings.kafka_username else ""
    if settings.kafka_security.endswith("ssl") or reaches_loopback_only(settings):
        return Finding("security", "OK", f"{settings.kafka_security}{known}")
    message = f"{settings.kafka_security}: who is on the way to the brokers can read and change everything"
    return Finding("security", "WARN", message, "set VITALS_KAFKA_SECURITY to sasl_ssl or ssl, see docs/security.md")


def judge_versions(installed: Mapping[str, str], tested: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Judge the libraries whose private hooks the runtime layer overrides."""
    wrong = [
        f"{name} {found}, tested {', '.join(tested[name])}"
        for name, found in installed.items()
        if found not in tested[name]
    ]
    if wrong:
        cure = "install the pinned dependencies (requirements/run.txt): the worker refuses to start"
        yield Finding("libraries", "FAIL", "; ".join(wrong), cure)
    else:
        yield Finding("libraries", "OK", ", ".join(f"{name} {found}" for name, found in installed.items()))


def judge_home(home: Path) -> Finding:
    """Judge the folder of the embedded broker: whether it can be written, and the free space."""
    folder = home.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        probe = folder / f".vitals-doctor-{id(home)}"
        probe.touch()
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("home", "FAIL", f"{home}: {error.strerror}", "make it writable, or set VITALS_HOME")
    if free < FREE_BYTES_MIN:
        message = f"{home}: {free // 2**20} MiB free"
        return Finding("home", "FAIL", message, f"free {FREE_BYTES_MIN // 2**20} MiB, or set VITALS_HOME")
    return Finding("home", "OK", f"{home}: writable, {free / 2**30:.1f} GiB free")


# -- brokers and topics ------------------------------------------------------------------------------------


def judge_brokers(brokers: Sequence[BrokerFacts]) -> Iterator[Finding]:
    """Judge whether all answer, and whether they are of one release."""
    silent = [f"{broker.node_id} at {broker.address}" for broker in brokers if not broker.answers]
    if silent:
        cure = "start it, or correct its advertised.listeners: this machine must reach every broker"
        yield Finding("brokers", "FAIL", f"no answer from broker {_some(silent)}", cure)
    else:
        yield Finding("brokers", "OK", f"{len(brokers)} of {len(brokers)} answer")
    releases = sorted({broker.release or "older than 3.3" for broker in brokers if broker.answers})
    if len(releases) > 1:
        yield Finding("versions", "WARN", f"brokers of Kafka {', '.join(releases)}", "end the upgrade of the brokers")
    elif releases:
        yield Finding("versions", "OK", f"Kafka {releases[0]}")


def judge_plans(plans: Sequence[TopicPlan]) -> Iterator[Finding]:
    """Judge which topics exist, and their settings against `service/topics.yaml`."""
    missing = [plan.topic for plan in plans if plan.action == "create"]
    if len(missing) == len(plans):
        yield Finding(
            "topics", "WARN", "none exists yet", "run `vitals topics apply`; the first worker makes them, too"
        )
        return
    if missing:
        yield Finding("topics", "FAIL", f"missing: {_some(missing)}", "run `vitals topics apply`")
    else:
        yield Finding("topics", "OK", f"all {len(plans)} exist")
    different = [
        f"{plan.topic} {name}={found}, want {wanted}"
        for plan in plans
        for name, (found, wanted) in plan.differences.items()
    ]
    if different:
        cure = "`vitals topics plan` shows all, `vitals topics apply` sets them"
        yield Finding("topic settings", "WARN", _some(different), cure)
    else:
        yield Finding("topic settings", "OK", "as service/topics.yaml has them")


def judge_topics(topics: Sequence[TopicFacts], names: TopicNames) -> Iterator[Finding]:
    """Judge the partition counts, which must be equal, and the changelog, which must keep every account."""
    by_count: dict[int, list[str]] = {}
    for topic in topics:
        by_count.setdefault(topic.partitions, []).append(topic.name)
    if len(by_count) > 1:
        listed = "; ".join(f"{count}: {_some(found)}" for count, found in sorted(by_count.items()))
        cure = "start over with new topics, see docs/failure-modes.md (Topics not co-partitioned)"
        yield Finding("partitions", "FAIL", f"counts differ ({listed})", cure)
    elif by_count:
        yield Finding("partitions", "OK", f"{next(iter(by_count))} in every topic")
    for topic in topics:
        if topic.name != names.changelog:
            continue
        if topic.cleanup_policy == "compact":
            yield Finding("changelog", "OK", "compacted, nothing is deleted")
        else:
            message = f"{topic.name} has cleanup.policy={topic.cleanup_policy}: the state of idle accounts gets lost"
            yield Finding(
                "changelog", "FAIL", message, "run `vitals topics apply` now; what is lost comes back by a replay"
            )


def judge_app_id(names: TopicNames, others: Sequence[str]) -> Finding:
    """Judge whether another app id scores the same inputs."""
    if not others:
        return Finding("app id", "OK", f"{names.app_id} alone scores these inputs")
    message = f"{_some(others)} scores them as well: two of them write to the same scores and alerts"
    cure = "give each an app id and a prefix of its own, see docs/failure-modes.md (Another app id on the same topics)"
    return Finding("app id", "FAIL", message, cure)


def judge_replication(topics: Sequence[TopicFacts], brokers: int) -> Iterator[Finding]:
    """Judge replicas, those in sync, how many a write needs, and who may become leader."""
    if not topics:
        return
    replicas = {topic.name: _replicas(topic, brokers) for topic in topics}
    yield _worst("replicas", replicas, f"{REPLICAS_WANTED} of every partition")
    yield _worst("in sync", {topic.name: _in_sync(topic) for topic in topics}, "all replicas of every partition")
    enough = {topic.name: _min_in_sync(topic) for topic in topics}
    yield _worst("min ISR", enough, "2 or more for every topic, fewer than its replicas")
    unclean = [topic.name for topic in topics if topic.is_unclean]
    if unclean:
        cure = "set unclean.leader.election.enable=false (kafka-configs.sh --alter --entity-type topics)"
        yield Finding("unclean election", "FAIL", f"on for {_some(unclean)}: acknowledged records can get lost", cure)
    else:
        yield Finding("unclean election", "OK", "off for every topic")


def _replicas(topic: TopicFacts, brokers: int) -> Finding | None:
    if topic.replicas >= REPLICAS_WANTED:
        return None
    if brokers < REPLICAS_WANTED:
        message = f"{topic.replicas}, as the cluster has {_count(brokers, 'broker')}"
        return Finding("", "WARN", message, "for data that may not get lost, run three brokers or more")
    level: Level = "FAIL" if topic.replicas == 1 else "WARN"
    cure = f"raise it to {REPLICAS_WANTED} with kafka-reassign-partitions.sh"
    return Finding("", level, f"{topic.replicas} on {_count(brokers, 'broker')}", cure)


def _in_sync(topic: TopicFacts) -> Finding | None:
    away = f"start broker {_some(map(str, topic.away))}" if topic.away else ""
    if topic.leaderless:
        cure = away or "see the brokers' logs"
        return Finding("", "FAIL", f"{topic.leaderless} partitions without a leader", cure)
    if topic.in_sync < topic.min_in_sync:
        message = f"{topic.in_sync} in sync, {topic.min_in_sync} needed: writes are refused"
        return Finding("", "FAIL", message, away or "see the brokers' logs")
    if topic.in_sync < topic.replicas:
        message = f"{topic.in_sync} of {topic.replicas} in sync"
        return Finding("", "WARN", message, away or "wait until the brokers caught up")
    return None


def _min_in_sync(topic: TopicFacts) -> Finding | None:
    if topic.min_in_sync > topic.replicas:
        message = f"{topic.min_in_sync} needed of {topic.replicas} replicas: no write can succeed"
        return Finding("", "FAIL", message, "run `vitals topics apply`")
    if topic.min_in_sync >= 2:
        if topic.min_in_sync < topic.replicas:
            return None
        message = f"{topic.min_in_sync} of {topic.replicas}: any broker that is away stops writes"
        return Finding("", "WARN", message, "add replicas, or lower min.insync.replicas")
    if topic.replicas < REPLICAS_WANTED:
        return Finding("", "WARN", f"{topic.min_in_sync}: one lost disk loses acknowledged records", "add replicas")
    message = f"{topic.min_in_sync}: acknowledged records may stand on one disk"
    return Finding("", "FAIL", message, "run `vitals topics apply`")


def _worst(check: str, found: Mapping[str, Finding | None], when_well: str) -> Finding:
    """Make one line of the findings of many topics: the worst, and which topics are like it."""
    bad = [finding for finding in found.values() if finding is not None]
    if not bad:
        return Finding(check, "OK", when_well)
    worst = next((finding for finding in bad if finding.level == "FAIL"), bad[0])
    alike = [name for name, finding in found.items() if finding == worst]
    where = "every topic" if len(alike) == len(found) else _some(alike)
    return Finding(check, worst.level, f"{worst.message} ({where})", worst.cure)


# -- time and progress -------------------------------------------------------------------------------------


def judge_clocks(clocks: Sequence[ClockFacts]) -> Iterator[Finding]:
    """Judge the brokers' clocks against ours; what the measurement cannot tell apart is no difference."""
    if not clocks:
        cure = "run `vitals topics apply`"
        yield Finding("clock", "WARN", "not measured: the clock topic keeps its writers' times", cure)
        return
    worst = max(clocks, key=lambda clock: abs(clock.ahead_ms) - clock.uncertainty_ms)
    apart_ms = max(0, abs(worst.ahead_ms) - worst.uncertainty_ms)
    way = "ahead of" if worst.ahead_ms > 0 else "behind"
    message = f"broker {worst.node_id} is {abs(worst.ahead_ms)} ms {way} this machine (+-{worst.uncertainty_ms} ms)"
    if apart_ms <= CLOCK_WARN_MS:
        yield Finding("clock", "OK", message)
        return
    level: Level = "FAIL" if apart_ms > CLOCK_FAIL_MS else "WARN"
    yield Finding(
        "clock", level, message, "let NTP set both; days and future events are judged by this machine's clock"
    )


def judge_group(
    group: str, before: GroupFacts, after: GroupFacts, partitions: int, seconds: float
) -> Iterator[Finding]:
    """Judge whether a worker is there, how far it is behind, whether it moves, and whether records were lost to it."""
    yield _members(group, after, partitions)
    lag = after.lag_records
    if lag and before is not after and after.committed <= before.committed and after.state == "Stable":
        message = f"{lag:,} records, and none was committed for {seconds:.0f} s"
        yield Finding("lag", "WARN", message, "look into the worker's log; restart it when it stays so")
    elif lag and not after.members:
        yield Finding("lag", "WARN", f"{lag:,} records wait", "start a worker")
    else:
        yield Finding("lag", "OK", f"{lag:,} records")
    lost = {
        place: start - committed
        for place, (start, committed, _) in after.offsets.items()
        if committed is not None and committed < start
    }
    if lost:
        message = f"{sum(lost.values()):,} records were deleted before they were read ({_some(map(_place, lost))})"
        yield Finding("unread", "FAIL", message, "publish them again; let retention be longer than any outage")
    anew = [_place(place) for place, (_, committed, end) in after.offsets.items() if (committed or 0) > end]
    if anew:
        cure = "start over with new topics, see docs/failure-modes.md (Input topic made anew)"
        yield Finding("inputs", "FAIL", f"made anew: {_some(anew)} end before what is committed", cure)


def _members(group: str, facts: GroupFacts, partitions: int) -> Finding:
    told = f"group {group}: {facts.state}, {_count(facts.members, 'member')}"
    if not facts.members:
        cure = "start `vitals worker`; when one ended by itself, the last line of its log says why"
        return Finding("group", "WARN", f"group {group}: no worker is running", cure)
    if facts.state != "Stable":
        return Finding("group", "WARN", told, "a rebalance is under way; look again in a minute")
    if partitions and facts.members > partitions:
        return Finding("group", "WARN", told, f"only {partitions} workers have work: stop the others")
    return Finding("group", "OK", told)


def _place(place: tuple[str, int]) -> str:
    return f"{place[0]}/{place[1]}"


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _some(names: Iterable[str]) -> str:
    """List a few, and say how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + more
