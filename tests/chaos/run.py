"""One run of one scenario: topics, log, workers, faults, quiet, and the verdict of the oracle."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from service.adapters.clients import Partition
from service.adapters.topic_admin import apply_topics, end_offsets
from service.errors import DependencyError
from service.model.loader import load_model
from service.settings import Clock
from service.topic_catalogue import TopicNames
from tests.chaos.admin import alter_topic, delete_topics, evict_members, rewind_group
from tests.chaos.cluster import Cluster
from tests.chaos.compare import Bounds, Part, Verdict, compare
from tests.chaos.fleet import Fleet, Slot
from tests.chaos.logs import LIVE_NOON_MS, LogKind, LogRecord
from tests.chaos.observed import Observed, observe
from tests.chaos.oracle import Accounting, CoreAccounting, Expected, InOrder, NaiveAccounting, expected_outcome
from tests.chaos.producing import Producing
from tests.chaos.progress import Progress
from tests.integration.kafka_tools import lag_records

MODELS: dict[LogKind, Path | None] = {
    "live": Path(__file__).parent / "live.yaml",
    "contested": Path(__file__).parent / "contested.yaml",
    "late": Path(__file__).parent / "contested.yaml",
    "history": None,
    "acting": None,
}
# Of a state, what the same events within 24 hours leave behind in every order (docs/model.md, "Time").
IN_ANY_ORDER = (
    "more",
    "logins",
    "users",
    "recent_logins",
    "previous_logins",
    "active_mask",
    "score",
    "coverage",
    "unsent",
)
QUIET_SECONDS = 3.0
CATCH_UP_SECONDS = 240.0
SETTLE_SECONDS = 20.0
SETTLED_SECONDS = 180.0
SESSION_TIMEOUT_SECONDS = 6.0


@dataclass(frozen=True)
class Plan:
    """What a run is made of, besides its faults."""

    log: LogKind = "live"
    workers: int = 2
    rate: float = 1_000.0
    """Records a second under the wall clock; under the event clock everything is produced before the start."""
    commit_interval_seconds: float = 0.5
    batch_max_records: int = 50
    slow_sends_seconds: float = 0.0
    """How long every flush stands still in the middle of its sending."""
    pace: float = 1.0
    """How much longer than in the short form there is between two faults."""
    ends_with_faults: bool = False
    """Whether producing ends with the faults; the log has no end of its own then."""
    watched: bool = True
    """Whether the workers have watchdogs; without, a pause is like that of a machine whose clocks stood still too."""
    changes_model: bool = False
    """Whether the model file is the run's own, and the scenario puts others in its place."""

    @property
    def is_full(self) -> bool:
        """Whether this is the full size of a scenario; only there are amounts and times judged."""
        return self.pace > 1

    @property
    def recount_every(self) -> int:
        """Of how many accounts one is recounted: simulated companies of half a year take long."""
        return 8 if self.clock == "event" else 1

    @property
    def clock(self) -> Clock:
        """The clock that the log is made for."""
        return "event" if self.log in {"history", "acting"} else "wall"


@dataclass
class Outcome:
    """What a run gave."""

    verdict: Verdict
    history: list[str]
    expected: Expected
    observed: Observed
    catch_up_seconds: list[float] = field(default_factory=list)
    """How long it took until each fault was made up for."""
    still_seconds_max: float = 0.0
    """The longest time that a partition with unscored records stood still."""


@dataclass(frozen=True)
class Place:
    """Where a run takes place."""

    direct: str
    """The brokers as the harness reaches them, whatever the weather."""
    bootstrap: str
    """The brokers as the workers know them; a cluster has an own way to them for each worker."""
    cluster: Cluster | None = None


class Run:
    """A deployment of its own on a cluster that may be shared."""

    def __init__(self, plan: Plan, place: Place, folder: Path, seed: int, variables: dict[str, str]) -> None:
        self.plan = plan
        self._fixed = variables
        self.bootstrap = place.direct
        self._worker_bootstrap = place.bootstrap
        self._cluster = place.cluster
        self.folder = folder
        self.rng = Random(f"faults/{seed}")
        prefix = f"c{uuid.uuid4().hex[:8]}-"
        self.topics = TopicNames(app_id=f"{prefix}app", prefix=prefix)
        self.model_path = MODELS[plan.log]
        if plan.changes_model and self.model_path is not None:
            self.model_path = Path(shutil.copy(self.model_path, folder / "model.yaml"))
        self.shift_file = folder / "clock-shift"
        self._clock = f"{LIVE_NOON_MS}@{time.time_ns() // 1_000_000}@{self.shift_file}"
        arguments = ["--clock", plan.clock, *(["--model", str(self.model_path)] if self.model_path else [])]
        self.fleet = Fleet(folder, arguments, self._variables)
        self.history = self.fleet.history
        self.special: Callable[[Slot], dict[str, str]] = lambda _: {}
        self.checks: list[Part] = []
        self.beside = contextlib.ExitStack()
        """What a scenario started besides the workers; ends with the run."""
        self._producing: Producing | None = None
        self._progress = Progress(self.bootstrap, self.topics.app_id, self._acknowledged, self.history.note)

    def _variables(self, slot: Slot) -> dict[str, str]:
        return {
            "VITALS_BROKER": self._cluster.bootstrap(slot.number) if self._cluster else self._worker_bootstrap,
            "VITALS_APP_ID": self.topics.app_id,
            "VITALS_TOPIC_PREFIX": self.topics.prefix,
            "VITALS_SESSION_TIMEOUT_SECONDS": str(SESSION_TIMEOUT_SECONDS),
            "VITALS_COMMIT_INTERVAL_SECONDS": str(self.plan.commit_interval_seconds),
            "VITALS_BATCH_MAX_RECORDS": str(self.plan.batch_max_records),
            "CHAOS_SLOW_SENDS": str(self.plan.slow_sends_seconds),
            **({} if self.plan.watched else {"CHAOS_UNWATCHED": "1"}),
            **({"CHAOS_CLOCK": self._clock} if self.plan.clock == "wall" else {}),
            **self._fixed,
            **self.special(slot),
        }

    def begin(self, log: Iterable[LogRecord]) -> None:
        """Make the topics, begin to produce, start the workers."""
        self.prepare(log)
        if self.plan.clock == "event":
            self.produce()
            self.wait_produced()
        self.fleet.scale(self.plan.workers)
        if self.plan.clock == "wall":
            self.produce()

    def prepare(self, log: Iterable[LogRecord]) -> None:
        """Make the topics and have the log at hand."""
        self._make_topics()
        rate = self.plan.rate if self.plan.clock == "wall" else float("inf")
        self._producing = Producing(self.bootstrap, self.topics, log, rate)
        self._progress.start()

    def _make_topics(self) -> None:
        for left in (2, 1, 0):  # on a busy machine the leaders take their time
            try:
                asyncio.run(apply_topics(self.bootstrap, self.topics))
                break
            except DependencyError:
                if not left:
                    raise

    def produce(self) -> None:
        """Begin to produce."""
        assert self._producing is not None
        self.history.note("producing begins")
        self._producing.start()

    def wait_produced(self) -> None:
        """Wait until everything is produced."""
        self.fleet.wait_until(lambda: not self.producing, "the log to be produced", CATCH_UP_SECONDS)
        self.history.note(f"{self.produced} records produced")

    def end_producing(self) -> None:
        """Produce no more, where the plan has producing end with the faults."""
        if self._producing is not None and self.plan.ends_with_faults:
            self._producing.stop()
            self.history.note(f"producing ends after {self.produced} records")

    def fault_ended(self, what: str) -> None:
        """Measure from now how long it takes until a fault is made up for.

        Not under the event clock, where all was produced before: there it is measured after the last fault only.
        """
        self.history.note(what)
        if self.plan.clock == "wall":
            self._progress.fault_ended(what)

    def wait_settled(self) -> None:
        """Wait until the faults so far are made up for."""
        self.fleet.wait_until(lambda: self._progress.is_settled, "faults to be made up for", SETTLED_SECONDS)

    def _acknowledged(self) -> dict[Partition, int]:
        return dict(self._producing.acknowledged) if self._producing else {}

    @property
    def cluster(self) -> Cluster:
        """The brokers, for scenarios that break them."""
        assert self._cluster is not None, "this scenario needs a cluster of its own"
        return self._cluster

    @property
    def produced(self) -> int:
        """How many records were handed to the producer so far."""
        return self._producing.sent if self._producing else 0

    @property
    def producing(self) -> bool:
        """Whether records are still to be produced."""
        return self._producing is not None and self._producing.is_alive()

    def catch_up(self, seconds: float = CATCH_UP_SECONDS) -> None:
        """Wait until everything produced is committed, and note how long that took."""
        took = self.fleet.wait_until(self._caught_up, "the workers to catch up", seconds)
        self.history.note(f"caught up in {took:.1f} s")

    def _caught_up(self) -> bool:
        try:
            return not self.producing and self.lag() == 0
        except Exception:  # a broker is away: ask again
            return False

    def wait_for(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait without starting anything again; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.1)

    def evict_dead(self) -> None:
        """Take the members of dead workers out of the group, when none lives: nobody need wait for their sessions."""
        if not any(slot.alive for slot in self.fleet.slots):
            evict_members(self.bootstrap, self.topics.app_id)

    def rewind(self) -> None:
        """Set the group back to the start of every input."""
        self.history.note("offsets set back to the start")
        rewind_group(self.bootstrap, self.topics.app_id, [*self.topics.inputs, self.topics.rekeyed])

    def put_model(self, model: Path | None) -> None:
        """Put another model in the place of the run's own, as a deployment tool does."""
        assert model is not None
        assert self.model_path is not None
        part = Path(shutil.copy(model, self.model_path.with_suffix(".part")))
        part.replace(self.model_path)
        self.history.note(f"model {model.stem} put in place")

    def set_topic(self, topic: str, name: str, value: str) -> None:
        """Change one setting of a topic."""
        self.history.note(f"{topic}: {name} = {value}")
        alter_topic(self.bootstrap, topic, {name: value})

    def lag(self) -> int:
        """Count the records of all inputs that are not committed."""
        return lag_records(self.bootstrap, self.topics.app_id, [*self.topics.inputs, self.topics.rekeyed])

    def wait_quiet(self) -> None:
        """Wait until everything is committed and nothing is written any more."""
        written = [
            self.topics.changelog,
            self.topics.alerts,
            self.topics.audit,
            self.topics.scores,
            self.topics.rekeyed,
        ]
        deadline = time.monotonic() + CATCH_UP_SECONDS
        ends, since = None, time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS or self.lag() > 0:
            assert time.monotonic() < deadline, f"it does not become quiet\n{self.fleet.tails()}"
            self.fleet.tend()
            found = asyncio.run(end_offsets(self.bootstrap, written))
            if found != ends:
                ends, since = found, time.monotonic()
            time.sleep(0.3)

    def finish(self) -> Outcome:
        """Let everything come to rest, stop the workers, and compare."""
        if not self._progress.faults:
            self._progress.fault_ended("the last fault")
        self.end_producing()
        self.fleet.wait_ready()
        self.catch_up()
        self.fleet.wait_until(lambda: self._progress.is_settled, "every fault to be made up for", SETTLE_SECONDS)
        self._progress.stop()
        self.wait_quiet()
        self.fleet.wait_ready()
        codes = [self.fleet.terminate(slot) for slot in self.fleet.running()]
        outcome = self.judge()
        assert not any(codes), f"workers ended with {codes}\n{self.fleet.tails()}"
        return outcome

    def judge(self) -> Outcome:
        """Compare what is there with what must be there."""
        observed = observe(self.bootstrap, self.topics, self.topics.app_id)
        accountings: list[Accounting] = [
            CoreAccounting(load_model(self.model_path)),
            NaiveAccounting(self.model_path, self.plan.recount_every),
        ]
        if self.plan.log == "late":
            accountings = [InOrder(accounting) for accounting in accountings]
        expected = expected_outcome(
            self.topics, self.plan.clock, accountings, observed.records, observed.rekeyed_offsets()
        )
        verdict = compare(expected, observed, self._bounds())
        for check in self.checks:
            verdict.differences.extend(check(expected, observed))
        verdict.counts.update(self._told())
        return Outcome(
            verdict,
            self.history.lines,
            expected,
            observed,
            [fault.seconds for fault in self._progress.faults if fault.seconds is not None],
            self._progress.still_seconds_max,
        )

    def _bounds(self) -> Bounds:
        bounds = Bounds(self.fleet.crashes, self.fleet.zombies, counts_repeats=self.plan.is_full)
        if self.plan.log == "late":
            return replace(bounds, is_ordered=False, facts=IN_ANY_ORDER)
        return replace(bounds, is_ordered=self.plan.log != "contested" and not self.plan.changes_model)

    def _told(self) -> Counter[str]:
        return Counter({"crashes": self.fleet.crashes, "starts": sum(slot.started for slot in self.fleet.slots)})

    def close(self) -> None:
        """End every process and thread of this run."""
        self.beside.close()
        self.fleet.close()
        self._progress.stop()
        if self._producing is not None:
            self._producing.stop()
        with contextlib.suppress(Exception):  # a cluster that is gone keeps nothing either
            delete_topics(self.bootstrap, self.topics.worker_topics())


@contextlib.contextmanager
def running(plan: Plan, place: Place, folder: Path, seed: int, variables: dict[str, str]) -> Iterator[Run]:
    """Make a run and close it in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(plan, place, folder, seed, variables)
    try:
        yield run
    finally:
        run.close()
