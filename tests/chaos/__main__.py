"""`python -m tests.chaos`: the long run with random seeds, its report, and the table of mutants.

The report is written anew after every scenario, so a run may be cut into pieces by seeds or scenarios, and the reports
of the pieces merged.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

from tests.chaos.cluster import Cluster
from tests.chaos.mutants import MUTANTS
from tests.chaos.report import (
    SIMULATED,
    Report,
    RunRecord,
    as_markdown,
    merged,
    mutant_table,
    recorded,
    recorded_simulations,
    this_machine,
)
from tests.chaos.run import Place
from tests.chaos.runner import Result, run_scenario
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.simulated import POINTS, outcomes_at_points

# How often a mutant's worker dies at its point.
POINT_REPEATS = 4
# What a scenario meets is partly luck: a bug has so many seeds, one after the other, to be noticed.
MUTANT_SEEDS = 5
SIMULATED_RUNS = 200
SIMULATED_RUNS_SHORT = 10
KNOWN = (SIMULATED, *SCENARIOS)
PAGE = "reliability.md"
DATA = "reliability.json"


def main() -> int:
    """Run what is asked for; exit code 1 when anything is not as it must be."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the brokers and workers must end with it
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has jobs in the background ignore it
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that brokers are away is no news here
    options = _options()
    if options.merge:
        whole = merged(Report.model_validate_json(path.read_bytes()) for path in options.merge)
        _write(options, whole)
        sys.stdout.write(as_markdown(whole))
        return 0 if whole.passed else 1
    folder = Path(options.folder or tempfile.mkdtemp(prefix="vitals-chaos-"))
    _say(f"logs of the workers: {folder}")
    if options.mutants:
        return _run_mutants(options, folder)
    seeds = options.seeds or [SystemRandom().randrange(1_000_000)]
    chosen = options.scenarios or KNOWN
    report = Report(machines=[this_machine()])
    with _clusters(folder) as clusters:
        for seed in seeds:
            _say(f"seed {seed}; again with: make chaos ARGS='--seed {seed}'")
            for record in _run_seed(options, seed, chosen, clusters, folder):
                report.runs.append(record)
                _write(options, report)  # what was run is kept if the rest is not
    sys.stdout.write(as_markdown(report))
    left = set(itertools.product(chosen, seeds)) - {(run.scenario, run.seed) for run in report.runs}
    return 0 if report.passed and not left else 1


def _run_seed(
    options: argparse.Namespace, seed: int, chosen: Sequence[str], clusters: Places, folder: Path
) -> Iterator[RunRecord]:
    """Run every chosen scenario with one seed, as far as the time allows."""
    if SIMULATED in chosen:
        yield from _run_simulations(options, seed)
    deadline = time.monotonic() + options.minutes * 60
    scenarios = [
        SCENARIOS[name] if options.short else SCENARIOS[name].at_full_size() for name in chosen if name != SIMULATED
    ]
    for scenario in sorted(scenarios, key=lambda scenario: scenario.brokers):
        if time.monotonic() > deadline:
            _say(f"no time left for {scenario.name} and the ones after it")
            return
        size = scenario.short if options.short else scenario.full
        result = run_scenario(scenario, size, seed, clusters(scenario), folder / str(seed))
        _tell(result)
        yield recorded(scenario, result, is_full=not options.short)


def _run_simulations(options: argparse.Namespace, seed: int) -> Iterator[RunRecord]:
    runs = SIMULATED_RUNS_SHORT if options.short else SIMULATED_RUNS
    outcomes = outcomes_at_points(seed, runs, os.cpu_count() or 1)
    for point in POINTS:
        began = time.monotonic()
        done = list(itertools.islice(outcomes, runs))
        record = recorded_simulations(seed, done, time.monotonic() - began, is_full=not options.short)
        _say(
            f"{'passed' if record.passed else 'FAILED'}  {SIMULATED} {runs} runs at {point!r} ({record.seconds:.0f} s)"
        )
        if not record.passed:
            _say("\n".join([record.failure, *record.history]))
        yield record


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(KNOWN)}; all when none is named")
    parser.add_argument(
        *("--seed", "--seeds"), dest="seeds", type=_seeds, metavar="N[,N...]", help="what chance comes from; else drawn"
    )
    parser.add_argument("--short", action="store_true", help="the sizes of the tests")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no scenario after so many, with a seed")
    parser.add_argument("--mutants", action="store_true", help="run every seeded bug against its scenario")
    parser.add_argument("--only", action="append", help="of the mutants only this one; may be repeated")
    parser.add_argument("--report", type=Path, help=f"folder for {PAGE} and {DATA}")
    parser.add_argument("--merge", type=Path, nargs="+", metavar="JSON", help="only make one report of those of others")
    parser.add_argument("--folder", help="where logs and brokers' data go; a temporary one when not given")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in KNOWN]
    unknown += [name for name in options.only or () if name not in MUTANTS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; scenarios: {', '.join(KNOWN)}; mutants: {', '.join(MUTANTS)}")
    return options


def _seeds(told: str) -> list[int]:
    return [int(each) for each in told.split(",")]


def _run_mutants(options: argparse.Namespace, folder: Path) -> int:
    first_seed = (options.seeds or [1])[0]
    results: dict[str, Result] = {}
    with _clusters(folder) as clusters:
        for mutant in MUTANTS.values():
            if options.only and mutant.name not in options.only:
                continue
            scenario = SCENARIOS[mutant.scenario]
            if mutant.points:
                dying = functools.partial(scenario.drive, points=mutant.points * POINT_REPEATS)
                scenario = dataclasses.replace(scenario, drive=dying)
            for seed in range(first_seed, first_seed + MUTANT_SEEDS):
                place = clusters(scenario)
                result = run_scenario(
                    scenario, scenario.short, seed, place, folder / mutant.name, CHAOS_MUTANT=mutant.name
                )
                found = ", ".join(sorted(result.verdict.kinds)) or result.failure.partition("\n")[0]
                told = "caught" if result.noticed else "not caught"
                _say(f"{told}  {mutant.name} by {scenario.name}, seed {seed}: {found} ({result.seconds:.0f} s)")
                if result.noticed:
                    break
            results[mutant.name] = result
    sys.stdout.write(mutant_table(results))
    return 0 if all(result.noticed for result in results.values()) else 1


@contextmanager
def _clusters(folder: Path) -> Iterator[Places]:
    places = Places(folder)
    try:
        yield places
    finally:
        places.stop()


class Places:
    """The clusters that scenarios share: one at a time, started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster: Cluster | None = None

    def __call__(self, scenario: Scenario) -> Place:
        """Return a cluster of as many brokers as the scenario needs."""
        if self._cluster is None or self._cluster.count != scenario.brokers:
            self.stop()
            self._cluster = Cluster(self._folder / f"brokers-{scenario.brokers}", scenario.brokers)
            self._cluster.start()
        self._cluster.mend()
        return Place(self._cluster.direct, self._cluster.bootstrap(0), self._cluster)

    def stop(self) -> None:
        """Stop the brokers."""
        if self._cluster is not None:
            self._cluster.stop()


def _write(options: argparse.Namespace, report: Report) -> None:
    if options.report is not None:
        options.report.mkdir(parents=True, exist_ok=True)
        (options.report / PAGE).write_text(as_markdown(report), encoding="utf-8")
        (options.report / DATA).write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _tell(result: Result) -> None:
    _say(f"{'passed' if result.passed else 'FAILED'}  {result.scenario} {result.title} ({result.seconds:.0f} s)")
    if not result.passed:
        _say(result.told())


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
