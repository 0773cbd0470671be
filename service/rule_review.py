"""Rules of a model that can never act, and what values a signal can take; `service.model_review` does the rest.

Warnings only, each naming its rule, and only when they are certain for every account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isfinite
from typing import Final, TypeAlias

from service.scoring.model import Condition, Model, Rule

Range: TypeAlias = tuple[float, float]

# The least and the greatest value of each signal; `mrr_change` is capped, `band_level` has three.
SIGNAL_RANGES: Final[dict[str, Range]] = {
    "login_trend": (0.0, 2.0),
    "no_login_days": (0.0, inf),
    "recency_days": (0.0, inf),
    "recency_gaps": (0.0, inf),
    "active_days": (0.0, 30.0),
    "active_days_trend": (0.0, 2.0),
    "active_users": (0.0, inf),
    "active_user_share": (0.0, 1.0),
    "key_user_trend": (0.0, 2.0),
    "key_user_drop": (-inf, 1.0),
    "key_features_used": (0.0, inf),
    "key_features_unused": (0.0, inf),
    "failed_payments": (0.0, inf),
    "failing_invoices": (0.0, inf),
    "recovered_payments": (0.0, inf),
    "overdue_days": (0.0, inf),
    "mrr_change": (-1.0, 1.0),
    "purchases": (0.0, inf),
    "purchase_days": (0.0, inf),
    "purchase_gaps": (0.0, inf),
    "purchase_value_trend": (0.0, 2.0),
    "ticket_load": (0.0, inf),
    "open_tickets": (0.0, inf),
    "pressing_tickets": (0.0, inf),
    "bug_tickets": (0.0, inf),
    "ticket_age_days": (0.0, inf),
    "solve_days": (0.0, inf),
    "ticket_sentiment": (-1.0, 1.0),
    "latest_survey": (0.0, 100.0),
    "survey_mean": (0.0, 100.0),
    "negative_surveys": (0.0, inf),
    "csm_sentiment": (-1.0, 1.0),
    "renewal_days": (-inf, inf),
    "tenure_days": (0.0, inf),
    "onboarding": (0.0, 1.0),
    "score": (0.0, 100.0),
    "score_change_7": (-100.0, 100.0),
    "score_change_30": (-100.0, 100.0),
    "band_level": (0.0, 2.0),
}
_DIGITS: Final = 9


def signal_range(name: str, model: Model) -> Range:
    """Give the least and the greatest value that a signal can take with this model."""
    low, high = SIGNAL_RANGES[name]
    return (low, float(len(model.key_features))) if name.startswith("key_features_") else (low, high)


def review_rules(model: Model, scores: Range) -> Iterator[str]:
    """List the warnings about the rules of a model whose scores lie within `scores`."""
    for rule in model.rules:
        place = f"rules.{rule.name}"
        impossible = list(_impossible(rule, model, scores))
        yield from (f"{place}: {fault}" for fault in impossible)
        if not impossible:
            yield from (f"{place}: {fault}" for fault in _idle_conditions(rule, model))
        if not rule.alerts and rule.cool_down_ms != model.bands.cool_down_ms:
            yield f"{place}.cool_down_days: holds alerts back, and the rule has none (alert: true gives it one)"
        if stronger := _stronger_cap(rule, model.rules):
            yield f"{place}.cap: never decides a band: whenever the rule holds, {stronger} does too and caps as low"
        elif _caps_low_scores_only(rule, model):
            yield f"{place}.cap: never decides a band: scores for which the rule holds are {rule.cap} or worse anyway"


def _impossible(rule: Rule, model: Model, scores: Range) -> Iterator[str]:
    """Say what keeps the rule from ever holding."""
    together: dict[str, Range] = {}
    for group in rule.groups:
        ranges = [(scores if c.signal == "score" else signal_range(c.signal, model)) for c in group]
        if not any(_overlap((c.low, c.high), within) for c, within in zip(group, ranges, strict=True)):
            told = " and ".join(
                f"{c.signal} is never {comparison_text(c)} (it goes from {low:g} to {high:g})"
                for c, (low, high) in zip(group, ranges, strict=True)
            )
            yield f"can never hold: {told}"
        elif len(group) == 1:
            (condition,) = group
            low, high = together.get(condition.signal, (-inf, inf))
            both = together[condition.signal] = max(low, condition.low), min(high, condition.high)
            if both[0] > both[1]:
                yield f"can never hold: its conditions on {condition.signal} contradict each other"


def _idle_conditions(rule: Rule, model: Model) -> Iterator[str]:
    for condition in (condition for group in rule.groups for condition in group):
        low, high = signal_range(condition.signal, model)
        if condition.low <= low and condition.high >= high:
            yield (
                f"{condition.signal} is always {comparison_text(condition)} (it goes from {low:g} to {high:g}),"
                " so that condition tells no account from another"
            )


def _overlap(one: Range, other: Range) -> bool:
    return max(one[0], other[0]) <= min(one[1], other[1])


def _stronger_cap(rule: Rule, others: Sequence[Rule]) -> str | None:
    """Name a rule that holds whenever this one does and caps lower, or as low and stands before it."""
    groups = {frozenset(group) for group in rule.groups}
    is_before = True
    for other in others:
        if other is rule:
            is_before = False
        elif {frozenset(group) for group in other.groups} <= groups:
            lower = rule.cap == "at_risk" and other.cap == "endangered"
            if lower or (is_before and rule.cap is not None and other.cap == rule.cap):
                return other.name
    return None


def _caps_low_scores_only(rule: Rule, model: Model) -> bool:
    """Tell whether the rule reads the score so that its cap is no worse than the band of such a score."""
    enter = {"at_risk": model.bands.at_risk.enter, "endangered": model.bands.endangered.enter}
    alone = [group[0] for group in rule.groups if len(group) == 1 and group[0].signal == "score"]
    return rule.cap is not None and any(condition.high < enter[rule.cap] for condition in alone)


def comparison_text(condition: Condition) -> str:
    """Say the comparison as the model file does, where `above` and `below` became the next number."""
    low, high = (round(bound, _DIGITS) if isfinite(bound) else bound for bound in (condition.low, condition.high))
    if condition.high == inf:
        return f"at least {low:g}" if low == condition.low else f"above {low:g}"
    return f"at most {high:g}" if high == condition.high else f"below {high:g}"
