"""Seeded bugs of the runtime, one at a time: each breaks one promise, and its scenario must notice.

The product holds none of this: a mutant is patched into a worker under test by the environment. A scenario that passes
with its mutant could not fail at all, so `make chaos-mutants` runs them all and prints what noticed what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A bug, and the scenario that must fail with it."""

    name: str
    title: str
    scenario: str
    points: tuple[str, ...]
    """Where the workers die, in a scenario that kills at points; all of them when none is named."""
    install: Callable[[], None]


MUTANTS: dict[str, Mutant] = {}


def mutant(scenario: str, *points: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a bug; its docstring says what it does."""

    def register(install: Callable[[], None]) -> Callable[[], None]:
        name = install.__name__.replace("_", "-")
        MUTANTS[name] = Mutant(name, (install.__doc__ or "").rstrip("."), scenario, points, install)
        return install

    return register


from tests.chaos import recovering_mutants, writing_mutants  # noqa: E402, F401 - they register themselves
