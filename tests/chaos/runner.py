"""Runs scenarios one after the other on clusters that they share, and keeps what each gave."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.compare import Verdict
from tests.chaos.fleet import IN_VAIN
from tests.chaos.run import Outcome, Place, Run, running
from tests.chaos.scenarios import Limits, Scenario, Size


@dataclass
class Result:
    """One scenario that was run."""

    scenario: str
    title: str
    seed: int
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    history: list[str] = field(default_factory=list)
    catch_up_seconds: list[float] = field(default_factory=list)
    still_seconds_max: float = 0.0
    failure: str = ""
    """What went wrong before there was a verdict."""

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.failure and self.verdict.passed

    @property
    def noticed(self) -> bool:
        """Whether the promise itself was seen broken, and not only the harness disturbed."""
        return not self.verdict.passed or IN_VAIN in self.failure

    def told(self) -> str:
        """Tell seed, history and the first difference, side by side."""
        lines = [f"{self.scenario} {self.title}, seed {self.seed}", *self.history]
        if self.failure:
            lines.append(self.failure)
        for difference in self.verdict.differences[:1]:
            lines += [f"{difference.kind}: {difference.where}", f"  expected {difference.expected}"]
            lines.append(f"  found    {difference.found}")
        kinds = sorted(self.verdict.kinds)
        lines.append(f"{len(self.verdict.differences)} differences of the kinds {kinds}" if kinds else "no difference")
        return "\n".join(lines)


def run_scenario(scenario: Scenario, size: Size, seed: int, place: Place, folder: Path, **variables: str) -> Result:
    """Run one scenario; `variables` are the environment of every worker."""
    began = time.monotonic()
    result = Result(scenario.name, scenario.title, seed)
    with running(scenario.plan, place, folder / f"{scenario.name}-{seed}", seed, variables) as run:
        try:
            outcome = _drive(scenario, size, seed, run)
            result.verdict, result.catch_up_seconds = outcome.verdict, outcome.catch_up_seconds
            result.still_seconds_max = outcome.still_seconds_max
            if size is scenario.full:  # short ones run on machines that do other things meanwhile
                result.failure = "; ".join(complaints(scenario.limits, outcome))
        except Exception as error:
            result.failure = "".join(traceback.format_exception_only(error))[:20_000]
        result.history = run.history.lines
    result.seconds = time.monotonic() - began
    return result


def _drive(scenario: Scenario, size: Size, seed: int, run: Run) -> Outcome:
    log = scenario.log(seed, size)
    if scenario.begins:
        run.begin(log)
    else:
        run.prepare(log)
    scenario.drive(run, size.times)
    return run.finish()


def complaints(limits: Limits, outcome: Outcome) -> Iterator[str]:
    """Tell what took too long."""
    took = outcome.catch_up_seconds
    for what, found, allowed in (
        ("95 of 100 faults were made up for within", percentile(took, 0.95), limits.p95_seconds),
        ("a fault was made up for within", max(took, default=0), limits.max_seconds),
        ("a partition stood still for", outcome.still_seconds_max, limits.still_seconds),
    ):
        if found > allowed:
            yield f"{what} {found:.1f} s, at most {allowed:.0f} s are allowed"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which the share of the values lies; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
