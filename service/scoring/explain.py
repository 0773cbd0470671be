"""Why a score is what it is: every factor that has data, most points lost first.

Reads the state, never changes it (but its cache). The contributions add up to the score, and `points_lost` to the rest
of the 100.
"""

from __future__ import annotations

from service.scoring.acting import snooze_end_ms
from service.scoring.bands import override_in_force
from service.scoring.evaluation import holding_rules, score_change
from service.scoring.model import OUTPUT_MAX, Model
from service.scoring.parts import factor_sentence, parts_of, read_values
from service.scoring.records import NEVER, Attributes
from service.scoring.state import AccountState
from service.scoring.views import Alert, FactorChange, FactorView, ScoreView

__all__ = ["Alert", "FactorChange", "FactorView", "ScoreView", "score_view"]


def score_view(state: AccountState, model: Model) -> ScoreView:
    """Show the account's score at its clock with every factor that has data, most points lost first."""
    plan = model.plan_for(state.attributes)
    facts = state.attributes or Attributes()
    # Nothing is due while an account is churned, so a view could not follow the end of either.
    override = None if state.is_churned else override_in_force(state)
    snoozed_until_ms = NEVER if state.is_churned else snooze_end_ms(state)
    return ScoreView(
        account=state.account,
        time_ms=state.clock_ms,
        score=state.score,
        band=state.band,
        coverage=state.coverage,
        model_version=model.version,
        factors=factor_views(state, model),
        name=facts.name,
        tier=facts.tier,
        mrr_minor=facts.mrr_minor,
        currency=facts.currency,
        owner=facts.owner,
        stage=facts.stage,
        score_seq=state.score_seq,
        profile=plan.name,
        computed_band=state.computed_band,
        override_reason=override.reason if override else None,
        override_until_ms=override.until_ms if override else None,
        rules=holding_rules(state, plan),
        trend_7=score_change(state, 7),
        trend_30=score_change(state, 30),
        model_changed=state.model_changed,
        returned_ms=state.returned_ms if state.returned_ms >= 0 else None,
        snoozed_until_ms=None if snoozed_until_ms == NEVER else snoozed_until_ms,
        csm_sentiment=facts.csm_sentiment,
        csm_sentiment_ms=None if facts.csm_sentiment is None else facts.time_of("csm_sentiment"),
    )


def factor_views(state: AccountState, model: Model) -> tuple[FactorView, ...]:
    """Show every factor that has data, most points lost first."""
    plan = model.plan_for(state.attributes)
    state.key_features = plan.key_features
    parts = parts_of(read_values(state, plan), plan)
    views = [
        FactorView(
            factor.name,
            factor.label,
            *part,
            points_lost=part.weight * OUTPUT_MAX - part.contribution,
            sentence=factor_sentence(factor, part.value, state),
        )
        for factor, part in zip(plan.factors, parts, strict=True)
        if part is not None
    ]
    return tuple(sorted(views, key=lambda view: (-view.points_lost, view.name)))
