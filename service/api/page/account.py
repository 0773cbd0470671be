"""One account: where it stands, which factors cost it points, what changed, and what is known besides.

Its address is `/account?id=...`: an id may be any text, and a path cannot carry `..`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from schemas.fields import ACCOUNT_MAX
from service.account_copy.alerts_feed import told_alerts
from service.account_copy.layout import ACCOUNT_ALERTS_MAX
from service.api.accounts import ALERTS_SHOWN, Copy
from service.api.details import read_details, with_stored_days
from service.api.gate import Reader
from service.api.page.acting import forms_for
from service.api.page.history import marked_days, summary
from service.api.page.pictures import factor_bars
from service.api.page.rendering import PageRoute, page
from service.api.problems import Problem
from service.explain_report import Explanation
from service.scoring.model import Model

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
    view = await copy.account(account_id, ACCOUNT_ALERTS_MAX)
    history = await copy.history(account_id)
    if view.score is None:
        raise Problem("account-not-found")
    score: dict[str, Any] = orjson.loads(view.score)
    alerts: list[dict[str, Any]] = [orjson.loads(alert) for alert in told_alerts(view)]
    days = marked_days(with_stored_days(account_id, view.state, history.days), alerts, await copy.actions(account_id))
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
        alerts=alerts[:ALERTS_SHOWN],
        account=account_id,
        forms=forms_for(key, alert),
        details=read_details(account_id, view.state, model),
        days=days,
        summary=summary(days),
        thresholds=model.bands,
    )


def _rule_labels(model: Model, names: list[str]) -> list[str]:
    labels = {rule.name: rule.label for rule in model.rules}
    return [labels.get(name, name) for name in names]
