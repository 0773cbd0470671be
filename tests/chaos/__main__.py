"""`python -m tests.chaos`: the long run with random seeds, its report, and the table of mutants."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

from tests.chaos.cluster import Cluster
from tests.chaos.mutants import MUTANTS
from tests.chaos.report import as_json, as_markdown, mutant_table
from tests.chaos.run import Place
from tests.chaos.runner import Result, run_scenario
from tests.chaos.scenarios import SCENARIOS, Scenario

# How often a mutant's worker dies at its point.
POINT_REPEATS = 4


def main() -> int:
    """Run what is asked for; exit code 1 when anything is not as it must be."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the brokers and workers must end with it
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has jobs in the background ignore it
    options = _options()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="vitals-chaos-"))
    _say(f"logs of the workers: {folder}")
    if options.mutants:
        return _run_mutants(options, folder)
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1_000_000)
    _say(f"seed {seed}; again with: make chaos ARGS='--seed {seed}'")
    chosen = [SCENARIOS[name] for name in options.scenarios or SCENARIOS]
    results = []
    deadline = time.monotonic() + options.minutes * 60
    with _clusters(folder) as clusters:
        for number, scenario in enumerate(sorted(chosen, key=lambda scenario: scenario.brokers)):
            if time.monotonic() > deadline:
                _say(f"no time left for {scenario.name} and the ones after it")
                break
            size = scenario.short if options.short else scenario.full
            scenario = scenario if options.short else scenario.at_full_size()
            result = run_scenario(scenario, size, seed + number, clusters(scenario), folder)
            _tell(result)
            results.append(result)
    _write_report(options, seed, results)
    return 0 if len(results) == len(chosen) and all(result.passed for result in results) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; all when none is named")
    parser.add_argument("--seed", type=int, help="what all chance comes from; drawn when not given")
    parser.add_argument("--short", action="store_true", help="the sizes of the tests")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no scenario after so many minutes")
    parser.add_argument("--mutants", action="store_true", help="run every seeded bug against its scenario")
    parser.add_argument("--only", action="append", help="of the mutants only this one; may be repeated")
    parser.add_argument("--report", type=Path, help="folder for report.md and report.json")
    parser.add_argument("--folder", help="where logs and brokers' data go; a temporary one when not given")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    unknown += [name for name in options.only or () if name not in MUTANTS]
    if unknown:
        parser.error(
            f"there is no {', '.join(unknown)}; scenarios: {', '.join(SCENARIOS)}; mutants: {', '.join(MUTANTS)}"
        )
    return options


def _run_mutants(options: argparse.Namespace, folder: Path) -> int:
    seed = options.seed if options.seed is not None else 1
    results: dict[str, Result] = {}
    with _clusters(folder) as clusters:
        for mutant in MUTANTS.values():
            if options.only and mutant.name not in options.only:
                continue
            scenario = SCENARIOS[mutant.scenario]
            if mutant.points:
                dying = functools.partial(scenario.drive, points=mutant.points * POINT_REPEATS)
                scenario = dataclasses.replace(scenario, drive=dying)
            place = clusters(scenario)
            result = run_scenario(scenario, scenario.short, seed, place, folder / mutant.name, CHAOS_MUTANT=mutant.name)
            found = ", ".join(sorted(result.verdict.kinds)) or result.failure.partition("\n")[0]
            told = "caught" if result.noticed else "NOT CAUGHT"
            _say(f"{told}  {mutant.name} by {scenario.name}: {found} ({result.seconds:.0f} s)")
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


def _write_report(options: argparse.Namespace, seed: int, results: list[Result]) -> None:
    report = as_markdown(seed, results)
    sys.stdout.write(report)
    if options.report is not None:
        options.report.mkdir(parents=True, exist_ok=True)
        (options.report / "report.md").write_text(report, encoding="utf-8")
        (options.report / "report.json").write_text(json.dumps(as_json(seed, results), indent=2), encoding="utf-8")


def _tell(result: Result) -> None:
    _say(f"{'passed' if result.passed else 'FAILED'}  {result.scenario} {result.title} ({result.seconds:.0f} s)")
    if not result.passed:
        _say(result.told())


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
