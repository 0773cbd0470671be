"""Alerts of all accounts, newest first: before, after and why. Filters and the place in the list are in the address.

A day is a day of UTC, as everywhere on the page. An alert that is older than the first day wanted ends the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from service.account_copy.alerts_feed import list_alerts
from service.account_copy.listing import Place
from service.account_copy.marks import AlertState
from service.api.accounts import Copy, Tier
from service.api.gate import Reader
from service.api.page.rendering import PLAIN, PageRoute, page, paging
from service.api.page.words import kind as kind_words
from service.api.page_tokens import TOKEN_MAX, read_token, write_token
from service.scoring.model import Model

ROWS: Final = 50
KIND_MAX: Final = 64
BAND_KINDS: Final = ("endangered", "at_risk", "recovered")

State = Literal["", AlertState]
TierOrAny = Literal["", Tier]
Band = Literal["", "endangered", "at_risk", "healthy", "unknown"]
Day = Annotated[date | None, BeforeValidator(lambda value: value or None)]  # a field left empty is no wish

routes = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the reader asked for; empty is no wish."""

    state: State
    kind: str
    band: Band
    tier: TierOrAny
    owner: str
    first_day: date | None
    last_day: date | None

    def wants(self, alert: Mapping[str, Any]) -> bool:
        """Tell whether an alert has the values asked for; days and the tier are a matter of the walk."""
        asked = {"state": self.state, "kind": self.kind, "band": self.band, "owner": self.owner}
        return all(not value or alert[name] == value for name, value in asked.items())

    def as_query(self) -> dict[str, str]:
        """Write the filters as the address has them."""
        names = {"first_day": "from", "last_day": "to"}
        return {names.get(name, name): str(value) for name, value in asdict(self).items() if value}

    def address(self, **changes: str) -> str:
        """Name the page with these filters and changes."""
        asked = self.as_query() | changes
        return "/alerts" + ("?" + urlencode(asked) if asked else "")


def filters(
    *,
    state: Annotated[State, Query()] = "",
    kind: Annotated[str, Query(max_length=KIND_MAX)] = "",
    band: Annotated[Band, Query()] = "",
    tier: Annotated[TierOrAny, Query()] = "",
    owner: Annotated[str, Query(max_length=256, pattern=PLAIN)] = "",
    first_day: Annotated[Day, Query(alias="from")] = None,
    last_day: Annotated[Day, Query(alias="to")] = None,
) -> Filters:
    """Read the address."""
    return Filters(state, kind, band, tier, owner, first_day, last_day)


@routes.get("/alerts")
async def alerts(
    request: Request,
    copy: Copy,
    asked: Annotated[Filters, Depends(filters)],
    key: Reader,
    page_token: Annotated[str, Query(max_length=TOKEN_MAX)] = "",
) -> Response:
    """Show the alerts."""
    bound = asked.as_query()
    after = read_token(page_token, bound) or _after_last_day(asked.last_day)
    since_ms = None if asked.first_day is None else _midnight_ms(asked.first_day)
    tiers = (asked.tier,) if asked.tier else ()
    told, next_place = await list_alerts(copy, asked.wants, after, ROWS, since_ms=since_ms, tiers=tiers)
    state = await copy.state()
    return page(
        request,
        "alerts.html",
        state=state,
        filters=asked,
        kinds=_kinds(request.app.state.model, asked.kind),
        alerts=told,
        can_act=key.may("act"),
        **paging(asked.address, page_token, write_token(next_place, bound)),
    )


def _kinds(model: Model, asked: str) -> dict[str, str]:
    """Name the kinds that can be asked for; one of another model stays in the list while it is asked for."""
    known = {name: kind_words(name) for name in BAND_KINDS}
    known |= {rule.name: rule.label for rule in model.rules if rule.alerts}
    return known if not asked or asked in known else known | {asked: kind_words(asked)}


def _after_last_day(last_day: date | None) -> Place | None:
    if last_day is None or last_day == date.max:
        return None
    return Place(_midnight_ms(last_day + timedelta(days=1)), "")


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
