"""Routes of accounts: lists, one account, its days, and many accounts by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from schemas.fields import ACCOUNT_MAX, AccountId, Identifier, Label
from schemas.outputs import Band
from service.account_copy.alerts_feed import told_alerts
from service.account_copy.listing import Question, Sort, list_accounts
from service.account_copy.reader import CopyReader, day_text
from service.api.answers import (
    NO_ACCOUNT,
    PROBLEMS,
    WRONG_TOKEN,
    AccountBatch,
    AccountHistory,
    AccountList,
    AccountView,
    account_row,
    answer,
    mean_coverage,
)
from service.api.details import read_details, with_stored_days
from service.api.gate import Reader, check_role
from service.api.page_tokens import TOKEN_MAX, read_token, write_token
from service.api.problems import Problem
from service.explain_report import Explanation

PAGE_MAX: Final = 200
BATCH_MAX: Final = 500
ALERTS_SHOWN: Final = 10
ID_WORDS: Final = "the account's id; every character that a URL reserves encoded"

PREFIX: Final = "/v1"
VIEW_PATH: Final = PREFIX + "/accounts/{account}"
routes = APIRouter(prefix=PREFIX, responses=PROBLEMS, tags=["accounts"])

PageSize = Annotated[int, Query(ge=1, le=PAGE_MAX)]
PageToken = Annotated[str, Query(max_length=TOKEN_MAX)]
Tier = Literal["high_touch", "low_touch", "none"]


async def question(
    *,
    band: Annotated[list[Band] | None, Query(max_length=4)] = None,
    tier: Annotated[list[Tier] | None, Query(max_length=3)] = None,
    owner: Annotated[list[Identifier] | None, Query(max_length=20)] = None,
    factor: Annotated[
        list[Label] | None, Query(max_length=20, description="name of a factor that costs 5 points or more")
    ] = None,
    sort: Annotated[Sort, Query(description="worst first")] = "risk",
    search: Annotated[
        str,
        Query(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$", description="start of the id, or of a word of the name"),
    ] = "",
) -> Question:
    """Read filters and order; of one kind any value may hold, of different kinds all must."""
    values: dict[str, Sequence[str]] = {
        "band": band or [],
        "tier": tier or [],
        "owner": owner or [],
        "factor": factor or [],
    }
    return Question(sort, values, search)


Asked = Annotated[Question, Depends(question)]


async def account_of(account: Annotated[str, Path(description=ID_WORDS)]) -> str:
    """Decode an id of the path, which is matched as it was sent."""
    return _decoded(account)


def _decoded(account: str) -> str:
    try:
        found = unquote(account, errors="strict")
    except UnicodeDecodeError:
        raise Problem("account-not-found") from None
    if not found or len(found) > ACCOUNT_MAX:
        raise Problem("account-not-found")
    return found


Account = Annotated[str, Depends(account_of)]


async def reader_of(request: Request) -> CopyReader:
    """Return the reader that the API was built with."""
    return _reader(request)


def _reader(request: Request) -> CopyReader:
    reader: CopyReader = request.app.state.reader
    return reader


Copy = Annotated[CopyReader, Depends(reader_of)]


@routes.get("/accounts", response_model=AccountList, responses=WRONG_TOKEN)
async def accounts(
    request: Request,
    copy: Copy,
    asked: Asked,
    _key: Reader,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Response:
    """List accounts, worst first; a page may hold fewer than asked for, the end is where the token is empty."""
    bound = [asked.sort, asked.values, asked.search]
    page = await list_accounts(copy, asked, read_token(page_token, bound), page_size)
    scores = [score for score in await copy.scores([place.account for place in page.places]) if score is not None]
    state = await copy.state()
    matter = {
        "accounts": [account_row(score) for score in scores],
        "next_page_token": write_token(page.next_place, bound),
    }
    return answer(request, state, matter, model_version=state.model_version, coverage=mean_coverage(scores))


class _Ids(BaseModel):
    ids: Annotated[list[AccountId], Field(min_length=1, max_length=BATCH_MAX)]


@routes.post("/accounts/read", response_model=AccountBatch)
async def read_accounts(request: Request, copy: Copy, body: _Ids, _key: Reader) -> Response:
    """Read up to 500 accounts by id."""
    ids = list(dict.fromkeys(body.ids))
    found = await copy.scores(ids)
    scores = [score for score in found if score is not None]
    missing = [account for account, score in zip(ids, found, strict=True) if score is None]
    state = await copy.state()
    matter = {"accounts": scores, "missing": missing}
    return answer(request, state, matter, model_version=state.model_version, coverage=mean_coverage(scores))


# Finds its few things itself, and is served by a route of its own (`service.api.app`): the framework takes longer for
# that than all else takes. This one is for the document.
@routes.get(
    VIEW_PATH.removeprefix(PREFIX),
    response_model=AccountView,
    responses=NO_ACCOUNT,
    openapi_extra={
        "parameters": [
            {"name": "account", "in": "path", "required": True, "description": ID_WORDS, "schema": {"type": "string"}}
        ]
    },
)
async def account_view(request: Request) -> Response:
    """Give all that is known of one account: score, factors, trends, override, signals, tickets, alerts and more."""
    check_role(request, "read")
    copy, account = _reader(request), _decoded(request.path_params["account"])
    view = await copy.account(account, ALERTS_SHOWN)
    if view.score is None:
        raise Problem("account-not-found")
    score, alerts = orjson.loads(view.score), told_alerts(view)
    since = Explanation(score, [orjson.loads(alert) for alert in alerts[:1]]).since_last_alert()
    matter: dict[str, Any] = {
        "score": orjson.Fragment(view.score),
        "details": read_details(account, view.state, request.app.state.model),
        "alerts": [orjson.Fragment(alert) for alert in alerts],
        "since_last_alert": since,
    }
    state = await copy.state()
    return answer(request, state, matter, model_version=score["model_version"], coverage=score["coverage"])


@routes.get("/accounts/{account}/history", response_model=AccountHistory, responses=NO_ACCOUNT)
async def account_history(request: Request, copy: Copy, account: Account, _key: Reader) -> Response:
    """Give the score at the end of each of the account's last days: 90 that the copy saw, 31 that the worker knows."""
    score, stored, seen = await copy.history(account)
    if score is None:
        raise Problem("account-not-found")
    days = with_stored_days(account, stored, seen)
    told = [
        {
            "day": day_text(day.day),
            "score": day.score,
            "band": day.band,
            "model_changed": day.new_model is not None,
            "new_model_version": day.new_model,
        }
        for day in days
    ]
    matter = {"account": account, "days": told}
    state = await copy.state()
    return answer(request, state, matter, model_version=score["model_version"], coverage=score["coverage"])
