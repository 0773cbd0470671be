"""Routes of the whole: alerts, the portfolio, the model."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from schemas.fields import AccountId, Identifier, Label
from schemas.outputs import Band
from service.account_copy.alerts_feed import list_alerts, list_alerts_of
from service.account_copy.marks import AlertState
from service.account_copy.reader import day_text
from service.api.accounts import Copy, PageSize, PageToken, Tier
from service.api.answers import PROBLEMS, WRONG_TOKEN, AlertList, ModelAnswer, PortfolioAnswer, answer, mean_coverage
from service.api.gate import Reader
from service.api.page_tokens import read_token, write_token
from service.scoring.model import Model

routes = APIRouter(prefix="/v1", responses=PROBLEMS)
AT_RISK: Final = frozenset({"at_risk", "endangered"})


@routes.get("/alerts", response_model=AlertList, responses=WRONG_TOKEN, tags=["alerts"])
async def alerts(
    *,
    request: Request,
    copy: Copy,
    _key: Reader,
    account: Annotated[AccountId | None, Query()] = None,
    kind: Annotated[
        list[Label] | None, Query(max_length=20, description="at_risk, recovered, a rule's name ...")
    ] = None,
    band: Annotated[list[Band] | None, Query(max_length=4)] = None,
    state: Annotated[list[AlertState] | None, Query(max_length=4, description="what people did about it")] = None,
    tier: Annotated[list[Tier] | None, Query(max_length=3, description="of the account, now")] = None,
    owner: Annotated[list[Identifier] | None, Query(max_length=20)] = None,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Response:
    """List the last alerts, newest first: 10,000 of all accounts, 50 of one."""

    def wanted(alert: dict[str, Any]) -> bool:
        asked = ((kind, "kind"), (band, "band"), (state, "state"), (owner, "owner"))
        return all(not values or alert[name] in values for values, name in asked)

    bound = [account, kind, band, state, tier, owner]
    if account is not None:
        told, token = await list_alerts_of(copy, account, wanted, tiers=tier or ()), ""
    else:
        told, after = await list_alerts(copy, wanted, read_token(page_token, bound), page_size, tiers=tier or ())
        token = write_token(after, bound)
    found = await copy.state()
    matter = {"alerts": told, "next_page_token": token}
    return answer(request, found, matter, model_version=found.model_version, coverage=mean_coverage(told))


@routes.get("/portfolio", response_model=PortfolioAnswer, tags=["portfolio"])
async def portfolio(request: Request, copy: Copy, _key: Reader) -> Response:
    """Count accounts and their revenue by band and tier, now and at the ends of the last 90 days that were seen."""
    now, days = await copy.portfolio()
    told = [{"day": day_text(day), **portfolio_of(counts)} for day, counts in days.items()]
    matter = {"portfolio": portfolio_of(now), "days": told}
    state = await copy.state()
    return answer(request, state, matter, model_version=state.model_version, coverage=_coverage(now))


@routes.get("/model", response_model=ModelAnswer, tags=["model"])
async def model(request: Request, copy: Copy, _key: Reader) -> Response:
    """Describe the model that this API was started with, and say whether the latest scores are made by it."""
    known: Model = request.app.state.model
    state = await copy.state()
    now, _ = await copy.portfolio()
    matter = {"model": _model(known), "in_force": state.model_version == known.version}
    return answer(request, state, matter, model_version=state.model_version, coverage=_coverage(now))


def portfolio_of(counts: dict[str, int]) -> dict[str, Any]:
    """Sum the copy's counts by band, by tier and band, and the revenue at risk."""
    by_band: dict[str, Any] = {}
    by_tier: dict[str, dict[str, Any]] = defaultdict(dict)
    at_risk: dict[str, int] = defaultdict(int)
    accounts = 0
    for field, value in counts.items():
        band, tier, currency, what = field.split("|")
        for sums in (by_band, by_tier[tier]):
            found = sums.setdefault(band, {"accounts": 0, "mrr_minor": {}})
            if what == "accounts":
                found["accounts"] += value
            elif what == "mrr" and currency:
                found["mrr_minor"][currency] = found["mrr_minor"].get(currency, 0) + value
        if what == "accounts":
            accounts += value
        elif what == "mrr" and currency and band in AT_RISK:
            at_risk[currency] += value
    return {"accounts": accounts, "by_band": by_band, "by_tier": by_tier, "mrr_at_risk_minor": at_risk}


def _coverage(counts: dict[str, int]) -> float | None:
    accounts = sum(value for field, value in counts.items() if field.endswith("|accounts"))
    covered = sum(value for field, value in counts.items() if field.endswith("|coverage"))
    return covered / 10_000 / accounts if accounts else None


def _model(known: Model) -> dict[str, Any]:
    bands = known.bands
    return {
        "version": known.version,
        "min_coverage": bands.min_coverage,
        "bands": {
            name: {"enter_below": at.enter, "leave_at": at.leave}
            for name, at in (("at_risk", bands.at_risk), ("endangered", bands.endangered))
        },
        "factors": [
            {
                "name": factor.name,
                "label": factor.label,
                "signal": factor.signal.name,
                "weight": factor.weight,
                "share": factor.weight / known.plain.total_weight,
            }
            for factor in known.factors
        ],
        "rules": [{"name": rule.name, "cap": rule.cap, "alerts": rule.alerts} for rule in known.rules],
        "profiles": [profile.name for profile, _ in known.plans],
    }
