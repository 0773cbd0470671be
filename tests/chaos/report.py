"""What a chaos run tells afterwards, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.chaos.compare import Verdict
from tests.chaos.mutants import MUTANTS
from tests.chaos.runner import Result, percentile

HEADS = (
    *("fault", "what", "events", "crashes", "alerts", "repeated", "lost", "doubled", "missing", "unknown", "other"),
    *("p95 caught up, s", "verdict"),
)
COLUMNS = ("lost", "doubled", "alert missing", "alert unknown")


def as_markdown(seed: int, results: Sequence[Result]) -> str:
    """Write the table of faults."""
    lines = [
        f"Seed {seed}. `make chaos ARGS='--seed {seed}'` runs the same again.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "|" + "---|" * len(HEADS),
    ]
    for result in results:
        verdict, counts = result.verdict, result.verdict.counts
        found = [_found(verdict, kind) for kind in COLUMNS]
        other = len(verdict.differences) - sum(found)
        cells = [
            result.scenario,
            result.title,
            counts["events"],
            counts["crashes"],
            counts["alerts"],
            counts["repeated alerts"],
            *found,
            other,
            f"{percentile(result.catch_up_seconds, 0.95):.1f}",
            "passed" if result.passed else "**failed**",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def as_json(seed: int, results: Sequence[Result]) -> dict[str, Any]:
    """Give the same with histories, for programs."""
    return {
        "seed": seed,
        "passed": all(result.passed for result in results),
        "scenarios": [
            {
                "scenario": result.scenario,
                "title": result.title,
                "seed": result.seed,
                "passed": result.passed,
                "seconds": round(result.seconds, 1),
                "counts": dict(result.verdict.counts),
                "differences": {kind: _found(result.verdict, kind) for kind in sorted(result.verdict.kinds)},
                "failure": result.failure,
                "catch_up_seconds": [round(seconds, 1) for seconds in result.catch_up_seconds],
                "history": result.history,
            }
            for result in results
        ],
    }


def mutant_table(results: Mapping[str, Result]) -> str:
    """Write which seeded bug was noticed by what."""
    lines = ["| bug | scenario | noticed as |", "|---|---|---|"]
    for name, result in results.items():
        kinds = ", ".join(f"{kind} ({_found(result.verdict, kind)})" for kind in sorted(result.verdict.kinds))
        noticed = kinds or (result.failure.partition("\n")[0][:120] if result.noticed else "**not noticed**")
        lines.append(f"| {MUTANTS[name].title} | {result.scenario} | {noticed} |")
    return "\n".join(lines) + "\n"


def _found(verdict: Verdict, kind: str) -> int:
    return sum(difference.kind == kind for difference in verdict.differences)
