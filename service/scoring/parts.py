"""The parts of a score, factor by factor, and their sentences; scores and alerts are explained from these alone.

`weight` is the share a factor has among those with data, so that `contribution = weight * output`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from string import Formatter
from typing import Final, NamedTuple

from service.scoring.model import Factor, Plan, Rule
from service.scoring.signals import SCORE_SIGNALS, SIGNALS
from service.scoring.state import AccountState

Values = Sequence[float | None]
_PLAIN_MAX: Final = 1e6  # up to here a whole number is written with all of its digits


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
    return _fill(factor.sentence, factor.signal.words(state), value)


def rule_sentence(rule: Rule, state: AccountState) -> str:
    """Say why the rule holds: the words and values of all signals that it reads."""
    words: dict[str, str] = {}
    for condition in (condition for group in rule.groups for condition in group):
        if condition.signal in SCORE_SIGNALS:
            continue
        signal = SIGNALS[condition.signal]
        value = signal.read(state)
        words |= {**signal.words(state), signal.name: "unknown" if value is None else _number(value)}
    return _fill(rule.sentence, words, None)


def _fill(template: str, words: Mapping[str, str], value: float | None) -> str:
    """Put the words into a template; it names no others and formats none, which the loader has checked."""
    text = ""
    for literal, name in _pieces(template):
        text += literal
        if name is not None:
            text += _number(value) if name == "value" and value is not None else words[name]
    return text


@cache
def _pieces(template: str) -> list[tuple[str, str | None]]:
    return [(literal, name) for literal, name, _, _ in Formatter().parse(template)]


def _number(value: float) -> str:
    if value and -_PLAIN_MAX < value < _PLAIN_MAX and value == int(value):
        return str(int(value))
    return f"{round(value, 2):g}"
