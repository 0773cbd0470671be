"""The faults, as data: what each scenario does to a run while records flow, in a short and a full size.

The numbers (F1 ...) are those of the design's table of faults. A scenario only disturbs; what must hold afterwards is
the same for all of them and stands in `compare`. What must hold besides is asserted here, where it happens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from agents.runtime.sight import LOOK_SECONDS
from tests.chaos.broker_faults import below_min_isr, kill_brokers
from tests.chaos.dying import die_at_points, die_at_the_end, die_in_recovery
from tests.chaos.fleet import READY, RECOVERED, Slot
from tests.chaos.link_faults import bad_weather, cut, swizzle
from tests.chaos.logs import LogKind, LogRecord, acting_log, contested_log, history_log, late_log, live_log
from tests.chaos.models import change_model
from tests.chaos.outputs import refuse_alerts, refuse_alerts_shortly
from tests.chaos.poison import drain
from tests.chaos.rebalances import give_and_take, recovery_across_revoke
from tests.chaos.recoveries import die_in_compaction, die_with_emptied
from tests.chaos.redis_faults import break_redis
from tests.chaos.releases import roll_back, upgrade_in_turns
from tests.chaos.run import SESSION_TIMEOUT_SECONDS, Plan, Run
from tests.chaos.splits import HALF_SENT, TO_BE_SENT

ZOMBIE_SECONDS = 3 * SESSION_TIMEOUT_SECONDS
STORM_SECONDS = 20
HOUR_MS = 3_600_000
READY_AGAIN_SECONDS = 60
# The full size: what the design's table of faults asks for, unless a scenario is about one worker.
FULL_WORKERS = 3
FULL_BROKERS = 3
FULL_PACE = 2.0
FULL_RATE = 200


@dataclass(frozen=True)
class Size:
    """How much of a scenario is done."""

    accounts: int
    rounds: int
    """Of tickets of each account; under the event clock days."""
    times: int
    """How often the fault happens."""


@dataclass(frozen=True)
class Limits:
    """How long what a fault did may last."""

    p95_seconds: float = float("inf")
    """Until a fault is made up for, 95 of 100 times."""
    max_seconds: float = float("inf")
    """The same, always."""
    still_seconds: float = float("inf")
    """That a partition with unscored records stands still."""


Drive = Callable[..., None]
UNLIMITED = Limits()
DEFAULT = Plan()
SLOW = Plan(rate=150)
ALONE = Plan(workers=1, rate=80, slow_sends_seconds=0.1)
ENDING = Plan(workers=1, rate=float("inf"), batch_max_records=10, slow_sends_seconds=0.1)
CONTESTED = Plan(log="contested", workers=1, rate=80, slow_sends_seconds=0.1)
CHANGING = Plan(rate=150, changes_model=True)
LATE = Plan(log="late", rate=250)
HISTORY = Plan(log="history", workers=1, slow_sends_seconds=0.1)
EVENT = Plan(log="history")
ACTING = Plan(log="acting")
COPIED = Plan(rate=100, ends_with_faults=True)
UNWATCHED = Plan(rate=150, watched=False)
ALL_BEFORE = "Under the event clock, on half a year of history that is there before the workers start."
LOGS_TOLD: dict[LogKind, str] = {
    "history": ALL_BEFORE,
    "acting": ALL_BEFORE,
    "contested": "Events of one account stand in several inputs at the same time.",
}
FROZEN = "Its watchdog sees nothing of it, as when a whole machine stands still with its clocks."


@dataclass(frozen=True)
class Scenario:
    """One kind of fault."""

    name: str
    title: str
    drive: Drive
    short: Size
    full: Size
    plan: Plan = DEFAULT
    brokers: int = 1
    cut: bool = False
    """Whether it needs the proxies, with one broker too."""
    begins: bool = True
    """Whether records flow and workers run before `drive`; otherwise it begins itself."""
    limits: Limits = UNLIMITED
    """At the full size."""

    @property
    def besides(self) -> str:
        """What distinguishes it from another one that does the same."""
        return LOGS_TOLD.get(self.plan.log, "") if self.plan.watched else FROZEN

    def log(self, seed: int, size: Size) -> Iterable[LogRecord]:
        """Draw the records that flow meanwhile; without end, some accounts after the other, if faults end them."""
        if not self.plan.ends_with_faults:
            draw_all: dict[LogKind, Callable[[int, int, int], list[LogRecord]]] = {
                "live": live_log,
                "contested": contested_log,
                "late": late_log,
                "history": history_log,
                "acting": acting_log,
            }
            return draw_all[self.plan.log](seed, size.accounts, size.rounds)
        draw = {"live": live_log, "contested": contested_log}[self.plan.log]
        firsts = itertools.count(0, size.accounts)
        return itertools.chain.from_iterable(draw(seed, size.accounts, size.rounds, first) for first in firsts)

    def at_full_size(self) -> Scenario:
        """Return the same on three brokers with three workers, records flowing as long as the faults last."""
        plan = self.plan
        if plan.workers > 1:
            plan = replace(plan, workers=FULL_WORKERS)
        endless = plan.log in ("live", "contested") and plan.rate < float("inf")
        if self.plan is not DEFAULT and endless and self.begins:
            rate = plan.rate if plan.workers == 1 else FULL_RATE
            plan = replace(plan, rate=rate, ends_with_faults=True)
        return replace(self, plan=replace(plan, pace=FULL_PACE), brokers=FULL_BROKERS)


def kill_at_random(run: Run, times: int) -> None:
    """F1: a random worker dies, and is started again; at full size the next one when that is made up for."""
    for _ in range(times):
        run.fleet.pass_time(run.rng.uniform(0.5, 4))
        slot = run.rng.choice(run.fleet.running())
        run.fleet.kill(slot)
        run.fault_ended(f"w{slot.number} is dead")
        run.fleet.tend()
        if run.plan.pace > 1:
            run.wait_settled()


def kill_all(run: Run, times: int) -> None:
    """F2: all workers die at once."""
    for _ in range(times):
        run.fleet.pass_time(run.plan.pace * run.rng.uniform(2, 6))
        for slot in run.fleet.running():
            run.fleet.kill(slot)
        run.evict_dead()
        run.fault_ended("all are dead")
        run.fleet.tend()
        took = run.fleet.wait_ready(READY_AGAIN_SECONDS)
        run.history.note(f"all are ready after {took:.1f} s")


def stop_in_turns(run: Run, times: int) -> None:
    """F3: each worker is stopped cleanly and started again, as at an update."""
    run.fleet.wait_ready()
    for _ in range(times):
        for slot in run.fleet.running():
            code = run.fleet.terminate(slot)
            assert code == 0, f"w{slot.number} ended with {code} at SIGTERM\n{run.fleet.tails()}"
            run.fault_ended(f"w{slot.number} is away")
            slot.expected_to_run = True
            run.fleet.wait_ready()
            assert _recovered_before_ready(slot), f"w{slot.number} was ready before it recovered\n{run.fleet.tails()}"


def _recovered_before_ready(slot: Slot) -> bool:
    said = slot.process.output() if slot.process else ""
    return 0 <= said.find(RECOVERED) < said.find(READY)


def pause_at_random(run: Run, times: int) -> None:
    """F7: a worker is frozen until others own its partitions, then it goes on."""
    run.fleet.wait_ready()
    for _ in range(times):
        slot = run.rng.choice(run.fleet.running())
        run.fleet.pause(slot)
        run.fleet.pass_time(ZOMBIE_SECONDS)
        run.fleet.resume(slot)
        run.fleet.pass_time(2)


def pause_at_points(
    run: Run, times: int, points: tuple[str, ...] = (TO_BE_SENT, HALF_SENT, "state acknowledged", "outputs published")
) -> None:
    """F7: a worker freezes in the middle of a flush, and goes on when others have written newer states."""
    first = run.rng.randrange(len(points))
    for number in range(times):
        point = points[(first + number) % len(points)]
        slot = run.fleet.running()[0]
        run.special = lambda each, point=point: {"CHAOS_PAUSE": f"{point}:6"} if each.number == 0 else {}  # type: ignore[misc]
        run.fleet.kill(slot)
        run.fleet.tend()
        run.special = lambda _: {}
        run.fleet.wait_until(lambda slot=slot: slot.frozen or not slot.alive, f"w0 to freeze at {point}", 60)  # type: ignore[misc]
        run.history.note(f"w0 froze at {point!r}")
        run.fleet.pass_time(ZOMBIE_SECONDS)
        run.fleet.resume(slot)
        run.fleet.pass_time(3)


def die_as_zombie(run: Run, times: int, points: tuple[str, ...] = (TO_BE_SENT,)) -> None:
    """F7: a worker wakes up in a flush when all is done, writes what it has, and dies: no rebalance sees that."""
    for _ in range(times):
        run.special = lambda each: (
            {"CHAOS_PAUSE": f"{points[0]}:6", "CHAOS_FAULT": "state flushed"} if each.number == 0 else {}
        )
        slot = run.fleet.running()[0]
        run.fleet.kill(slot)
        run.fleet.tend()
        run.special = lambda _: {}
        run.fleet.wait_until(lambda slot=slot: slot.frozen or not slot.alive, "w0 to freeze", 60)  # type: ignore[misc]
        run.history.note("w0 froze in a flush")
        run.fleet.pass_time(SESSION_TIMEOUT_SECONDS / 2)
        run.end_producing()  # so its successor stores many accounts once, as the zombie will
        run.fleet.pass_time(ZOMBIE_SECONDS - SESSION_TIMEOUT_SECONDS / 2)
        run.catch_up()  # nothing comes after what the zombie writes
        run.fleet.resume(slot)
        slot.expected_to_run = False
        run.fleet.wait_until(lambda slot=slot: not slot.alive, "the zombie to end", 20)  # type: ignore[misc]
        run.fleet.pass_time(2 * LOOK_SECONDS)  # where nothing is written, the owner looks only so often


def storm(run: Run, times: int) -> None:
    """F11: workers come and go, 1, 6, 2, 1 ..., faster than they get ready; in the second half every 20 s."""
    for number in range(times):
        run.fleet.scale((1, 6, 2)[number % 3])
        run.fault_ended(f"{len(run.fleet.running())} workers")
        is_slow = run.plan.pace > 1 and number >= times // 2
        run.fleet.pass_time(STORM_SECONDS if is_slow else run.plan.pace * run.rng.uniform(1, 4))
    run.fleet.scale(run.plan.workers)


def fetch_across_rebalance(run: Run, times: int) -> None:
    """F11: a fetch that began before a rebalance ends after it, with the first records that there ever were."""
    run.special = lambda slot: {"CHAOS_FETCH_SECONDS": "30"} if slot.number == 0 else {}
    run.fleet.scale(1)
    run.fleet.wait_ready()
    run.fleet.scale(2)
    run.fleet.wait_until(lambda: run.fleet.slots[0].says("rebalancing"), "the rebalance", 30)
    run.produce()


def replay_all(run: Run, times: int) -> None:
    """F15: the group's offsets go back to the start, and every record comes again."""
    for _ in range(times):
        run.catch_up()
        for slot in run.fleet.running():
            assert run.fleet.terminate(slot) == 0
            slot.expected_to_run = True
        run.rewind()
        run.fleet.tend()


def step_clock(run: Run, times: int) -> None:
    """F17: the workers' clock jumps by an hour, both ways."""
    for number in range(times):
        shift_ms = (HOUR_MS, -HOUR_MS, 0)[number % 3]
        run.shift_file.write_text(str(shift_ms), encoding="ascii")
        run.history.note(f"clock shifted by {shift_ms} ms")
        run.fleet.pass_time(2)


# Of the design's table: a fault is made up for within so long, on a machine that has nothing else to do.
KILLED = Limits(p95_seconds=30, max_seconds=60)
BELOW = Limits(max_seconds=60, still_seconds=60 + 30)  # 30 s until it resumes, then what piled up is scored
WEATHERED = Limits(max_seconds=120)
STORMED = Limits(still_seconds=60)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("F1", "random SIGKILL", kill_at_random, Size(150, 5, 3), Size(1_000, 10, 20), SLOW, limits=KILLED),
        Scenario("F1e", "random SIGKILL, event clock", kill_at_random, Size(60, 90, 2), Size(200, 180, 4), EVENT),
        Scenario("F1a", "random SIGKILL, acted on", kill_at_random, Size(60, 90, 2), Size(200, 180, 4), ACTING),
        Scenario("F2", "all workers killed at once", kill_all, Size(100, 5, 2), Size(600, 10, 3), SLOW),
        Scenario("F3", "rolling SIGTERM", stop_in_turns, Size(150, 5, 1), Size(600, 10, 2), SLOW),
        Scenario("F4", "killed at each point", die_at_points, Size(100, 5, 1), Size(300, 10, 1), ALONE),
        Scenario("F7", "zombie", pause_at_random, Size(200, 5, 1), Size(600, 10, 2), SLOW),
        Scenario("F7p", "zombie in a flush", pause_at_points, Size(200, 5, 1), Size(600, 10, 2), SLOW),
        Scenario("F4e", "killed at each point, at the end", die_at_the_end, Size(100, 5, 1), Size(300, 10, 1), ENDING),
        Scenario("F4c", "killed at each point, contested", die_at_points, Size(100, 8, 1), Size(300, 12, 1), CONTESTED),
        Scenario("F4h", "killed at points, event clock", die_at_points, Size(100, 180, 1), Size(120, 180, 1), HISTORY),
        Scenario("F5", "leaders of brokers killed", kill_brokers, Size(200, 5, 1), Size(1_000, 10, 5), SLOW, brokers=3),
        Scenario(
            "F6", "below min ISR", below_min_isr, Size(200, 5, 1), Size(800, 10, 1), SLOW, brokers=3, limits=BELOW
        ),
        Scenario("F8", "a worker cut from the brokers", cut, Size(200, 5, 2), Size(1_000, 10, 3), SLOW, cut=True),
        Scenario("F9", "slow links", bad_weather, Size(200, 5, 3), Size(600, 10, 3), SLOW, cut=True, limits=WEATHERED),
        Scenario("F10", "swizzle-clog", swizzle, Size(200, 5, 1), Size(1_000, 10, 10), SLOW, brokers=3),
        Scenario("F7k", "zombie that dies", die_as_zombie, Size(200, 5, 1), Size(200, 5, 1), SLOW),
        Scenario("F7b", "zombie of a frozen machine", pause_at_random, Size(200, 5, 1), Size(600, 10, 1), UNWATCHED),
        Scenario(
            "F7bp",
            "zombie of a frozen machine, in a flush",
            pause_at_points,
            Size(200, 5, 1),
            Size(600, 10, 2),
            UNWATCHED,
        ),
        Scenario(
            "F7bk",
            "zombie of a frozen machine, dies",
            die_as_zombie,
            Size(200, 5, 1),
            Size(200, 5, 1),
            UNWATCHED,
        ),
        Scenario("F11", "rebalance storm", storm, Size(250, 5, 5), Size(600, 10, 12), SLOW, limits=STORMED),
        Scenario(
            "F11f", "fetch across a rebalance", fetch_across_rebalance, Size(60, 5, 1), Size(60, 5, 1), begins=False
        ),
        Scenario("F11g", "partitions given and taken", give_and_take, Size(250, 5, 2), Size(600, 10, 2), SLOW),
        Scenario(
            "F11r",
            "recovery across a revoke",
            recovery_across_revoke,
            Size(300, 5, 1),
            Size(600, 10, 1),
            SLOW,
            begins=False,
        ),
        Scenario("F12", "recovery interrupted", die_in_recovery, Size(100, 5, 1), Size(300, 10, 3), ALONE),
        Scenario(
            "F12c", "recovery interrupted in compaction", die_in_compaction, Size(100, 5, 1), Size(300, 10, 1), ALONE
        ),
        Scenario(
            "F12e",
            "recovery of emptied partitions",
            die_with_emptied,
            Size(60, 5, 1),
            Size(200, 10, 1),
            ALONE,
            begins=False,
        ),
        Scenario("F13", "Redis down, slow, wiped", break_redis, Size(100, 5, 1), Size(600, 10, 1), COPIED),
        Scenario("F15", "everything replayed", replay_all, Size(100, 5, 1), Size(800, 10, 1)),
        Scenario("F15l", "a day late and shuffled", kill_at_random, Size(80, 5, 2), Size(300, 10, 3), LATE),
        Scenario("F17", "clock steps", step_clock, Size(100, 5, 3), Size(200, 10, 9), SLOW),
        Scenario("F18u", "upgrade in turns", upgrade_in_turns, Size(200, 5, 1), Size(600, 10, 1), SLOW, begins=False),
        Scenario("F18r", "release rolled back", roll_back, Size(300, 5, 1), Size(600, 10, 1), SLOW, begins=False),
        Scenario("F19", "model changed", change_model, Size(300, 5, 3), Size(600, 10, 3), CHANGING),
        Scenario("F20", "alert topic refuses", refuse_alerts, Size(150, 5, 1), Size(600, 10, 2), SLOW),
        Scenario("F20s", "alert topic refuses shortly", refuse_alerts_shortly, Size(150, 5, 3), Size(600, 10, 3), SLOW),
        Scenario("F21", "topic full of poison", drain, Size(40, 5, 1), Size(150, 10, 2), Plan(workers=1)),
    )
}
