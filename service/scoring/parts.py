"""The parts of a score, factor by factor, and their sentences; scores and alerts are explained from these alone.

`weight` is the share a factor has among those with data, so that `contribution = weight * output`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.scoring.model import Factor, Plan, Rule
from service.scoring.signals import SCORE_SIGNALS, SIGNALS
from service.scoring.state import AccountState

Values = Sequence[float | None]


class Part(NamedTuple):
    """A factor's share of a score; absent factors have no part."""

    value: float
    output: float
    weight: float
    contribution: float


def read_values(state: AccountState, plan: Plan) -> list[float | None]:
    """Read the signal of every factor."""
    return [factor.signal.read(state) for factor in plan.factors]


def parts_of(values: Values, plan: Plan) -> list[Part | None]:
    """Share the weight among the factors that have a value."""
    present = sum(factor.weight for factor, value in zip(plan.factors, values, strict=True) if value is not None)
    return [
        None if value is None else _part(factor, value, present)
        for factor, value in zip(plan.factors, values, strict=True)
    ]


def _part(factor: Factor, value: float, present_weight: float) -> Part:
    output = factor.curve.at(value)
    contribution = factor.weight * output / present_weight
    return Part(value, output, factor.weight / present_weight, contribution)


def factor_sentence(factor: Factor, value: float, state: AccountState) -> str:
    """Say what the factor's signal is, in the words of the model."""
    return factor.sentence.format_map({**factor.signal.words(state), "value": _number(value)})


def rule_sentence(rule: Rule, state: AccountState) -> str:
    """Say why the rule holds: the words and values of all signals that it reads."""
    words: dict[str, str] = {}
    for condition in (condition for group in rule.groups for condition in group):
        if condition.signal in SCORE_SIGNALS:
            continue
        signal = SIGNALS[condition.signal]
        value = signal.read(state)
        words |= {**signal.words(state), signal.name: "unknown" if value is None else _number(value)}
    return rule.sentence.format_map(words)


def _number(value: float) -> str:
    return f"{round(value, 2):g}"
