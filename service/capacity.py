"""How much a deployment needs: arithmetic on what was measured of one worker, and no measurement of its own.

The figures are those of the stored run of `make bench` (`benchmarks/baseline.json`; a test holds them together) and of
docs/operations/redis.md. docs/capacity.md tells what they mean and where they end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

EVENTS_PER_SECOND: Final = 45_000  # of one worker with a backlog, the default model, on a shared machine of two cores
EMPTY_MIB: Final = 80  # of a worker without accounts
LIVE_ACCOUNT_BYTES: Final = 7_000  # of an account that has events, in a worker that took a burst of them
STORED_ACCOUNT_BYTES: Final = 700  # of its state in the changelog
RECOVERY_RECORDS_PER_SECOND: Final = 330_000
START_SECONDS: Final = 4.0  # until a worker without accounts is ready
SCORE_BYTES: Final = 2_400  # of a score with eight factors
REDIS_ACCOUNT_BYTES: Final = 6_500  # view, state, an alert in five, and 90 days; more alerts come on top
RECORD_BYTES: Final = 60  # of what Kafka and the changelog's header add to a value, and of its key

# A worker that is planned for all it can do has nothing left for a backlog after an outage, or another's partitions.
LOAD_SHARE: Final = 0.5
# Partitions cannot be added later (docs/failure-modes.md), so there should be more than workers.
PARTITIONS_PER_WORKER: Final = 4
# A compacted topic holds so many times its last records before it is cleaned, and a segment that is open.
COMPACTION_FACTOR: Final = 2
MIB: Final = 1_048_576
DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Need:
    """What a deployment is asked to take."""

    events_per_second: float
    accounts: int
    event_bytes: int
    retention_days: float
    worker_mib: int
    """Memory that one worker may have."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes."""

    workers: int
    partitions: int
    worker_mib: int
    """Most memory of one worker, all of its accounts having events."""
    recovery_seconds: float
    """Until a worker that starts again is ready."""
    changelog_mib: int
    scores_mib: int
    inputs_mib: int
    """On each replica."""
    redis_mib: int


def plan(need: Need) -> Plan:
    """Compute what a deployment takes; a worker is planned for half of what it can do."""
    for_events = need.events_per_second / (EVENTS_PER_SECOND * LOAD_SHARE)
    for_memory = need.accounts * LIVE_ACCOUNT_BYTES / ((need.worker_mib - EMPTY_MIB) * MIB)
    workers = max(1, math.ceil(for_events), math.ceil(for_memory))
    own_accounts = need.accounts / workers
    return Plan(
        workers=workers,
        partitions=max(8, workers * PARTITIONS_PER_WORKER),
        worker_mib=EMPTY_MIB + math.ceil(own_accounts * LIVE_ACCOUNT_BYTES / MIB),
        recovery_seconds=START_SECONDS + own_accounts * COMPACTION_FACTOR / RECOVERY_RECORDS_PER_SECOND,
        changelog_mib=_compacted_mib(need.accounts, STORED_ACCOUNT_BYTES),
        scores_mib=_compacted_mib(need.accounts, SCORE_BYTES),
        inputs_mib=_mib(need.events_per_second * (need.event_bytes + RECORD_BYTES) * need.retention_days * DAY_SECONDS),
        redis_mib=_mib(need.accounts * REDIS_ACCOUNT_BYTES),
    )


def _compacted_mib(accounts: int, value_bytes: int) -> int:
    return _mib(accounts * (value_bytes + RECORD_BYTES) * COMPACTION_FACTOR)


def _mib(size_bytes: float) -> int:
    return math.ceil(size_bytes / MIB)
