"""What chaos runs tell afterwards, for people and for programs; reports of several runs merge into one."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from pydantic import BaseModel, Field

from service.adapters.kafka_artifacts import kafka_version
from tests.chaos.compare import KINDS, Verdict
from tests.chaos.mutants import MUTANTS
from tests.chaos.runner import Result, percentile
from tests.chaos.scenarios import SCENARIOS, Limits, Scenario
from tests.chaos.simulated import LIVES, Simulated

SIMULATED = "F4s"
SIMULATED_DOES = (
    f"{SIMULATED}: the product's ingest, scorer, partitions and committer on a broker of lists die up to {LIVES} times "
    "at one named point, each run with another seed; what is left is judged as in every other scenario."
)
COLUMNS = ("lost", "doubled", "alert missing", "alert unknown")
HEADS = (
    *("fault", "what", "runs", "events", "crashes", "alerts", "repeated", "lost", "doubled", "missing", "unknown"),
    *("other", "stale", "made up for, p95 s", "max s", "stood still, max s", "verdict"),
)
SETUP_HEADS = ("fault", "what happens", "brokers", "workers", "records/s", "takes, s", "limits")
INTRO = """# Reliability

Workers, brokers and links were broken on purpose while events flowed. After each scenario everything came to rest,
and what the topics held was compared with an independent replay of the events, read back from the topics: every
account's state, all alerts in their order, the last scores, the dead letters, the committed offsets.
[failure-modes.md](failure-modes.md) says what is promised.

## What was run
"""
EXPLAINED = """- **events**: good events that were scored and compared, repetitions included. **crashes**: workers
  that ended in another way than by a clean stop.
- **repeated**: alerts that came again with the same id and the same bytes, which is allowed after a crash.
- **lost**, **doubled**: accounts whose state counts too few or too much; **missing**, **unknown**: alerts;
  **other**: every other difference. One of any is a failure.
- **stale**: old states that a worker wrote late, when its partition had another owner already: it was paused or cut
  off. They are allowed, as the next recovery passes over them; what it gives then is what is compared.
- **made up for**: seconds from a fault until everything that was acknowledged until a second after it is committed;
  under the event clock, where all is produced before, from the last fault to the end. With one fault only, there is
  no p95. It includes the outage itself where that outlasts the fault: links that are still cut, workers still away.
- **stood still**: the longest time that a partition with unscored records committed nothing, the first start of the
  workers included. At each rebalance every worker gives up and recovers all its partitions (Faust's protocol), so
  workers that come and go one after the other, even cleanly, add up.
- A cell is empty where there is no such thing: the simulation (F4s) has no time.
"""
TIMES = """Times are wall time with start, rest and comparison, means where there are several runs. A worker that
ends is started again, as a process manager would.
"""


class Machine(BaseModel):
    """What the runs took place on."""

    cores: int
    memory_gib: int
    system: str
    versions: dict[str, str]
    load: float
    """Processes that wanted to run when the runs began: more than none means that others worked beside them."""
    commit: str = ""
    """Of the code that ran, with a plus when it was changed since then."""
    date: str = ""


class RunRecord(BaseModel):
    """One run of one scenario, or many simulated ones at one point."""

    scenario: str
    title: str
    does: str
    seed: int
    passed: bool
    is_full: bool
    seconds: float
    runs: int = 1
    brokers: int = 0
    workers: int = 0
    rate: float = 0.0
    """Records a second; 0: all at once."""
    limits: str = ""
    counts: dict[str, int] = Field(default_factory=dict)
    differences: dict[str, int] = Field(default_factory=dict)
    failure: str = ""
    catch_up_seconds: list[float] = Field(default_factory=list)
    still_seconds_max: float = 0.0
    history: list[str] = Field(default_factory=list)


class Report(BaseModel):
    """Runs and where they took place."""

    machines: list[Machine]
    runs: list[RunRecord] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    """What a person adds in the file, such as runs that failed and were done again."""

    @property
    def passed(self) -> bool:
        """Whether every run is as it must be."""
        return all(run.passed for run in self.runs)


def this_machine() -> Machine:
    """Describe the machine without naming it."""
    return Machine(
        cores=os.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / (1 << 30)),
        system=f"{platform.system()} {platform.machine()}",
        versions={
            "Kafka": kafka_version(),
            "Python": platform.python_version(),
            **{name: version(name) for name in ("faust-streaming", "aiokafka")},
        },
        load=round(os.getloadavg()[0], 1),
        commit=_commit(),
        date=datetime.now(UTC).date().isoformat(),
    )


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip()


def merged(reports: Iterable[Report]) -> Report:
    """Put reports together."""
    whole = Report(machines=[])
    for report in reports:
        whole.machines += [machine for machine in report.machines if machine not in whole.machines]
        whole.runs += report.runs
        whole.notes += report.notes
    return whole


def recorded(scenario: Scenario, result: Result, *, is_full: bool) -> RunRecord:
    """Record a run of a scenario."""
    return RunRecord(
        scenario=scenario.name,
        title=scenario.title,
        does=" ".join(filter(None, (_first_paragraph(scenario), scenario.besides))),
        seed=result.seed,
        passed=result.passed,
        is_full=is_full,
        seconds=round(result.seconds, 1),
        brokers=scenario.brokers,
        workers=scenario.plan.workers,
        rate=scenario.plan.rate if scenario.plan.clock == "wall" and scenario.plan.rate < float("inf") else 0.0,
        limits=_told_limits(scenario.limits),
        counts=dict(result.verdict.counts),
        differences=_found(result.verdict),
        failure=result.failure,
        catch_up_seconds=[round(seconds, 1) for seconds in result.catch_up_seconds],
        still_seconds_max=round(result.still_seconds_max, 1),
        history=result.history,
    )


def recorded_simulations(seed: int, simulated: Sequence[Simulated], seconds: float, *, is_full: bool) -> RunRecord:
    """Record all simulated runs at one point; the history is that of the first that failed."""
    counts, differences = Counter[str](), Counter[str]()
    failed = [run for run in simulated if not run.verdict.passed]
    for run in simulated:
        counts.update({**run.verdict.counts, "crashes": run.deaths})
        differences.update(_found(run.verdict))
    return RunRecord(
        scenario=SIMULATED,
        title=f"simulated, killed at “{simulated[0].point}”",
        does=SIMULATED_DOES,
        seed=seed,
        passed=not failed,
        is_full=is_full,
        seconds=round(seconds, 1),
        runs=len(simulated),
        workers=1,
        counts=dict(counts),
        differences=dict(differences),
        failure=f"runs that failed: {', '.join(run.name for run in failed)}" if failed else "",
        history=failed[0].history if failed else [],
    )


def as_markdown(report: Report) -> str:
    """Write the page."""
    seeds = sorted({run.seed for run in report.runs})
    parts = [
        INTRO,
        *_told_place(report, seeds),
        *(f"- {note}" for note in report.notes),
        "\n## The table of faults\n",
        _table(HEADS, (_fault_row(runs) for runs in _grouped(report.runs, by_point=True))),
        EXPLAINED,
        *_told_failures(report.runs),
        "\n## What each scenario does\n",
        _table(SETUP_HEADS, (_setup_row(runs) for runs in _grouped(report.runs, by_point=False))),
        TIMES,
    ]
    return "\n".join(parts)


def mutant_table(results: Mapping[str, Result]) -> str:
    """Write which seeded bug was noticed by what."""
    rows = []
    for name, result in results.items():
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(_found(result.verdict).items()))
        noticed = kinds or (result.failure.partition("\n")[0][:120] if result.noticed else "**not noticed**")
        rows.append([MUTANTS[name].title, result.scenario, result.seed, noticed])
    return _table(("bug", "scenario", "seed", "noticed as"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _grouped(runs: Iterable[RunRecord], *, by_point: bool) -> Iterator[list[RunRecord]]:
    """Put runs of the same scenario together, simulated ones of the same point, in the order of their numbers."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for run in runs:
        groups.setdefault((run.scenario, run.title if by_point and run.scenario == SIMULATED else ""), []).append(run)
    yield from (groups[key] for key in sorted(groups, key=lambda key: _order(key[0])))


def _order(name: str) -> tuple[int, str]:
    """Sort F4e behind F4 and before F10."""
    digits = "".join(re.findall(r"\d", name))
    return int(digits), name


def _fault_row(runs: Sequence[RunRecord]) -> list[object]:
    counts, differences = _summed(run.counts for run in runs), _summed(run.differences for run in runs)
    took = [seconds for run in runs for seconds in run.catch_up_seconds]
    failed = sum(not run.passed for run in runs)
    return [
        *(runs[-1].scenario, runs[-1].title, sum(run.runs for run in runs)),
        *(counts[name] for name in ("events", "crashes", "alerts", "repeated alerts")),
        *(differences[kind] for kind in COLUMNS),
        sum(count for kind, count in differences.items() if kind not in COLUMNS),
        counts["stale writes"],
        f"{percentile(took, 0.95):.1f}" if len(took) > 1 else "",
        f"{max(took):.1f}" if took else "",
        f"{max(run.still_seconds_max for run in runs):.1f}" if took else "",
        f"**failed** ({failed} of {len(runs)})" if failed else "passed",
    ]


def _summed(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total


def _setup_row(runs: Sequence[RunRecord]) -> list[object]:
    last = runs[-1]
    seconds = sum(run.seconds for run in runs) / len({run.seed for run in runs})
    does = last.does.partition(": ")[2]
    rate = f"{last.rate:.0f}" if last.rate else "all at once"
    return [
        *(last.scenario, does[:1].upper() + does[1:], last.brokers or "none", last.workers, rate),
        *(f"{seconds:.0f}", last.limits),
    ]


def _told_place(report: Report, seeds: Sequence[int]) -> Iterator[str]:
    told = ", ".join(map(str, seeds))
    sizes = {run.is_full for run in report.runs}
    size = "full" if sizes == {True} else "short" if sizes == {False} else "full and short"
    known = {SIMULATED, *SCENARIOS}
    done = known & {run.scenario for run in report.runs}
    verdict = "all passed" if report.passed else "**not all passed**"
    yield f"- Seeds: {told}. Size: {size}. {len(done)} of {len(known)} scenarios: {verdict}."
    yield from map(_told_machine, _alike(report.machines))
    yield f"- Again: `make chaos ARGS='--seeds {told.replace(' ', '')}{' --short' if sizes == {False} else ''}'`."
    left = sorted(known - done, key=_order)
    if left:
        titles = {SIMULATED: "simulated", **{name: scenario.title for name, scenario in SCENARIOS.items()}}
        yield f"- **Not run**: {', '.join(f'{name} ({titles[name]})' for name in left)}."
    simulated = {run.runs for run in report.runs if run.scenario == SIMULATED}
    if simulated:
        yield (
            f"- On real brokers a worker dies a few times at each point of F4. {max(simulated)} runs at each point are "
            "simulated: see F4s. That broker is a list; client, network and group protocol are not in it."
        )
    yield from _told_repeated(run for run in report.runs if run.scenario != SIMULATED)
    yield "- A seed fixes the log, who is hit and where, and the pauses in between; not what threads and processes do."


def _alike(machines: Iterable[Machine]) -> list[list[Machine]]:
    """Group machines that differ in nothing but their load."""
    groups: dict[str, list[Machine]] = {}
    for machine in machines:
        groups.setdefault(machine.model_dump_json(exclude={"load", "commit", "date"}), []).append(machine)
    return list(groups.values())


def _told_machine(machines: Sequence[Machine]) -> str:
    first, loads = machines[0], sorted({machine.load for machine in machines})
    builds = sorted({f"{machine.commit} ({machine.date})" for machine in machines if machine.commit})
    versions = ", ".join(f"{name} {number}" for name, number in first.versions.items())
    return (
        f"- On {first.cores} cores and {first.memory_gib} GiB of {first.system}, which brokers, workers and "
        f"harness share; load at the start {loads[0]}{f' to {loads[-1]}' if len(loads) > 1 else ''}. {versions}."
        + (f" Commits: {', '.join(builds)}." if builds else "")
    )


def _told_repeated(runs: Iterable[RunRecord]) -> Iterator[str]:
    """Tell the share of repeated alerts in everything that ran on real brokers; 1 % is the most that is promised."""
    counts = _summed(run.counts for run in runs)
    if counts["alerts"]:
        share = counts["repeated alerts"] / counts["alerts"]
        repeated = f"{counts['repeated alerts']} of {counts['alerts']} alerts came again ({share:.2%})"
        yield f"- On real brokers {repeated}, after {counts['crashes']} crashes."


def _told_failures(runs: Iterable[RunRecord]) -> Iterator[str]:
    failed = [run for run in runs if not run.passed]
    if failed:
        yield "## What failed\n"
    for run in failed:
        kinds = ", ".join(f"{kind}: {count} ({KINDS[kind]})" for kind, count in sorted(run.differences.items()))
        yield f"- {run.scenario} {run.title}, seed {run.seed}: {run.failure.partition(chr(10))[0] or kinds}"


def _told_limits(limits: Limits) -> str:
    told = []
    if limits.p95_seconds < float("inf"):
        told.append(f"p95 {limits.p95_seconds:.0f} s")
    if limits.max_seconds < float("inf"):
        told.append(f"max {limits.max_seconds:.0f} s")
    if limits.still_seconds < float("inf"):
        told.append(f"still {limits.still_seconds:.0f} s")
    return ", ".join(told)


def _first_paragraph(scenario: Scenario) -> str:
    return " ".join((scenario.drive.__doc__ or "").partition("\n\n")[0].split())


def _found(verdict: Verdict) -> dict[str, int]:
    return dict(Counter(difference.kind for difference in verdict.differences))
