"""One account: where it stands, which factors cost it points, what changed, and what is known besides.

Its address is `/account?id=...`: an id may be any text, and a path cannot carry `..`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from schemas.fields import ACCOUNT_MAX
from service.account_copy.reader import HistoryDay, day_text
from service.api.accounts import ALERTS_SHOWN, Copy
from service.api.details import read_alert_states, read_details, with_stored_days
from service.api.gate import Reader
from service.api.page.acting import forms_for
from service.api.page.pictures import factor_bars
from service.api.page.rendering import PageRoute, page
from service.api.problems import Problem
from service.explain_report import Explanation
from service.scoring.model import Model

MOST_DAYS: Final = 90
# What a score of an older worker does not tell.
OPTIONAL: Final = dict.fromkeys(
    (
        *("name", "tier", "mrr_minor", "currency", "owner", "stage", "trend_7", "trend_30", "profile"),
        *("computed_band", "override_until", "override_reason", "model_changed", "returned_at", "snoozed_until"),
    )
)

routes = APIRouter(route_class=PageRoute, include_in_schema=False)


@routes.get("/account")
async def account(
    request: Request,
    copy: Copy,
    account_id: Annotated[str, Query(alias="id", min_length=1, max_length=ACCOUNT_MAX)],
    key: Reader,
    alert: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show one account, its forms with the alert chosen that the reader wants to act on."""
    published, stored, told = await copy.account(account_id, ALERTS_SHOWN)
    history = await copy.history(account_id)
    if published is None:
        raise Problem("account-not-found")
    score: dict[str, Any] = orjson.loads(published)
    alerts: list[dict[str, Any]] = [orjson.loads(alert) for alert in told]
    model: Model = request.app.state.model
    state = await copy.state()
    factors = sorted(score["factors"], key=lambda factor: -factor["points_lost"])
    return page(
        request,
        "account.html",
        state=state,
        score={**OPTIONAL, **score},
        factors=list(zip(factors, factor_bars(factors), strict=True)),
        rules=_rule_labels(model, score.get("rules", [])),
        since=Explanation(score, alerts[:1]).since_last_alert(),
        alerts=alerts,
        account=account_id,
        alert_states=read_alert_states(account_id, stored),
        forms=forms_for(key, alert),
        details=read_details(account_id, stored, model),
        days=_days(with_stored_days(account_id, stored, history.days), alerts),
        thresholds=model.bands,
    )


def _days(days: list[HistoryDay], alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the alerts of a day beside its score."""
    kinds: dict[str, list[str]] = {}
    for alert in alerts:
        kinds.setdefault(alert["as_of"][:10], []).append(alert["kind"])
    return [
        {
            "day": day_text(day.day),
            "score": day.score,
            "band": day.band,
            "model_changed": day.model_changed,
            "alerts": kinds.get(day_text(day.day), []),
        }
        for day in days[-MOST_DAYS:]
    ]


def _rule_labels(model: Model, names: list[str]) -> list[str]:
    labels = {rule.name: rule.label for rule in model.rules}
    return [labels.get(name, name) for name in names]
