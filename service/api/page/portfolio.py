"""The portfolio: where all accounts stand, what changed on the latest day, and whom to call first.

The worklist shows accounts that are at risk, the most revenue first, until the reader asks for something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from service.account_copy.alerts_feed import list_alerts
from service.account_copy.listing import Question, Sort, TooBroad, list_accounts
from service.account_copy.reader import CopyReader, day_text
from service.api.accounts import Copy
from service.api.answers import account_row
from service.api.gate import Reader
from service.api.overview import portfolio_of
from service.api.page.pictures import spark
from service.api.page.rendering import PLAIN, PageRoute, page, paging
from service.api.page.trends import plots, portfolio_day
from service.api.page.words import BANDS
from service.api.page_tokens import TOKEN_MAX, read_token, write_token

ROWS: Final = 50
ALERTS_SHOWN: Final = 12
SHOWS: Final = {"risk": tuple(BANDS)[:2], "all": (), **{band: (band,) for band in BANDS}}

DEFAULTS: Final = {"show": "risk", "sort": "mrr_at_risk"}

Show = Literal["risk", "endangered", "at_risk", "healthy", "unknown", "all"]
Tier = Literal["", "high_touch", "low_touch", "none"]

routes = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the reader asked for, as it stands in the address; empty is no wish."""

    show: Show
    sort: Sort
    tier: Tier
    owner: str
    search: str

    def question(self) -> Question:
        """Ask the copy."""
        values = {
            "band": SHOWS[self.show],
            "tier": (self.tier,) if self.tier else (),
            "owner": (self.owner,) if self.owner else (),
        }
        return Question(self.sort, values, self.search.strip())

    def address(self, **changes: str) -> str:
        """Name the page with these filters and changes."""
        asked = {name: value for name, value in asdict(self).items() if value != DEFAULTS.get(name, "")} | changes
        return "/" + ("?" + urlencode(asked) if asked else "")


def filters(
    *,
    show: Annotated[Show, Query()] = "risk",
    sort: Annotated[Sort, Query()] = "mrr_at_risk",
    tier: Annotated[Tier, Query()] = "",
    owner: Annotated[str, Query(max_length=256, pattern=PLAIN)] = "",
    search: Annotated[str, Query(max_length=64, pattern=PLAIN)] = "",
) -> Filters:
    """Read the address."""
    return Filters(show, sort, tier, owner, search)


@routes.get("/")
async def portfolio(
    request: Request,
    copy: Copy,
    asked: Annotated[Filters, Depends(filters)],
    _key: Reader,
    page_token: Annotated[str, Query(max_length=TOKEN_MAX)] = "",
) -> Response:
    """Show the portfolio."""
    now, days = await copy.portfolio()
    worklist = await _worklist(copy, asked, page_token, max(days, default=0))
    alerts, _ = await list_alerts(copy, lambda _: True, None, ALERTS_SHOWN)
    state = await copy.state()
    day = day_text(max(days)) if days else None
    return page(
        request,
        "portfolio.html",
        state=state,
        filters=asked,
        total=portfolio_of(now),
        **_days(now, days),
        day=day,
        changes=[alert for alert in alerts if day is None or alert["as_of"][:10] == day],
        **worklist,
    )


async def _worklist(copy: CopyReader, asked: Filters, page_token: str, latest_day: int) -> dict[str, Any]:
    question = asked.question()
    bound = [question.sort, question.values, question.search]
    try:
        found = await list_accounts(copy, question, read_token(page_token, bound), ROWS)
    except TooBroad:
        return {"rows": [], "is_too_broad": True, **paging(asked.address, page_token, "")}
    accounts = [place.account for place in found.places]
    scores, days = (await copy.scores(accounts), await copy.histories(accounts)) if accounts else ([], [])
    latest_day = max([latest_day, *(history[-1].day for history in days if history)])  # a copy being made has no days
    return {
        "rows": [
            {**account_row(score), "spark": spark(history, latest_day)}
            for score, history in zip(scores, days, strict=True)
            if score is not None
        ],
        "is_too_broad": False,
        **paging(asked.address, page_token, write_token(found.next_place, bound)),
    }


def _days(now: Mapping[str, int], sums: Mapping[int, dict[str, int]]) -> dict[str, Any]:
    """Compare with the end of the day before the latest, and tell every day that is known."""
    days = [portfolio_day(day, found) for day, found in sorted(sums.items())]
    change, before = None, None
    if len(days) > 1:
        here, before = portfolio_day(days[-1].day, now).accounts, days[-2]
        change = {band: here.get(band, 0) - before.accounts.get(band, 0) for band in BANDS}
    return {
        "change": change,
        "before": None if before is None else day_text(before.day),
        "days": [(day_text(day.day), day) for day in days],
        "plots": plots(days),
    }
