"""What every answer says besides its matter: how old it is, whether that is too old, which model, how much is covered.

`as_of` is the moment up to which the copy is known to hold everything; it moves on while nothing changes, so the ETag
is of the matter alone (a weak one): 304 means that the matter is the same, and the headers tell the new moment.
"""

from __future__ import annotations

from hashlib import blake2b
from math import fsum
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from schemas.outputs import Band, RuleAlertData, ScoreData
from service.account_copy.marks import AlertState
from service.account_copy.reader import CopyState
from service.api.problems import MEDIA_TYPE

AS_OF_HEADER: Final = "Vitals-As-Of"


class Answer(BaseModel):
    """The part that all answers share."""

    as_of: Annotated[str | None, Field(description="the copy holds all that was published up to here; null: not yet")]
    stale: Annotated[bool, Field(description="the copy is behind, or is being made: accounts may be old or missing")]
    model_version: str | None
    coverage: Annotated[float | None, Field(description="share of the model that has data; of several, the mean")]


class Reason(BaseModel):
    """The factor that costs most points."""

    factor: str
    label: str
    points_lost: float
    sentence: str


class AccountRow(BaseModel):
    """An account in a list."""

    account: str
    name: str | None
    score: float | None
    band: Band
    coverage: float
    seq: int
    as_of: str
    tier: str | None
    stage: str | None
    owner: str | None
    mrr_minor: int | None
    currency: str | None
    trend_7: float | None
    trend_30: float | None
    model_version: str
    override_until: str | None
    reason: Reason | None


class AccountList(Answer):
    """A page of accounts."""

    accounts: list[AccountRow]
    next_page_token: Annotated[str, Field(description="empty at the end; a page may be short before it")]


class AccountBatch(Answer):
    """The accounts asked for that exist, and the ids of those that do not."""

    accounts: list[ScoreData]
    missing: list[str]


class OpenTicket(BaseModel):
    """A ticket that nothing has solved; `opened_at` is null when only later news of it were seen."""

    ticket: str
    severity: Literal["low", "normal", "high", "urgent"] | None
    tags: list[str]
    sentiment: float | None
    opened_at: str | None
    updated_at: str


class UnpaidInvoice(BaseModel):
    """An invoice that no payment followed: overdue since a time, or its latest charge refused at a time."""

    invoice: str
    overdue_since: str | None
    failed_at: str | None


class Survey(BaseModel):
    """An answer of the last 90 days, on a scale of 0 to 100."""

    kind: str
    percent: float
    answered_at: str


class AccountDetails(BaseModel):
    """What the score was made of, as the worker stored it; `score_seq` is the score that this state led to."""

    as_of: str
    score_seq: int
    signals: Annotated[dict[str, float | None], Field(description="every signal there is; null: nothing to judge yet")]
    tickets: Annotated[list[OpenTicket], Field(description="open ones, most severe first, 64 at most")]
    invoices: Annotated[list[UnpaidInvoice], Field(description="unpaid ones, longest first, 32 at most")]
    surveys: Annotated[list[Survey], Field(description="latest first, 16 at most")]
    renewal_at: str | None
    csm_sentiment: float | None
    key_users: list[str]


class AlertView(RuleAlertData):
    """An alert of a band or a rule as published, and what people did about it; `new` again when a snooze is over."""

    state: AlertState


class AccountView(Answer):
    """One account: its score as published, its last alerts, and what changed since the last of them.

    `details` is null when the copy has not got the account's state yet, or the worker is of a release that this API
    cannot read.
    """

    score: ScoreData
    details: AccountDetails | None
    alerts: list[AlertView]
    since_last_alert: dict[str, Any] | None


class Day(BaseModel):
    """The score at the end of a day; `band` is null for a day that only the worker has seen.

    `model_changed`: another model took over on that day, `new_model_version`, null on all others.
    """

    day: str
    score: float | None
    band: Band | None
    model_changed: bool
    new_model_version: str | None


class AccountHistory(Answer):
    """The days that the copy knows, oldest first; days without a score of their own are left out."""

    account: str
    days: list[Day]


class AlertList(Answer):
    """A page of alerts, newest first."""

    alerts: list[AlertView]
    next_page_token: str


class Sum(BaseModel):
    """Accounts, and their monthly revenue by currency in minor units."""

    accounts: int
    mrr_minor: dict[str, int]


class Portfolio(BaseModel):
    """All accounts that have not churned."""

    accounts: int
    by_band: dict[str, Sum]
    by_tier: dict[str, dict[str, Sum]]
    mrr_at_risk_minor: dict[str, int]


class PortfolioDay(Portfolio):
    """The portfolio as it stood when a day ended."""

    day: str


class PortfolioAnswer(Answer):
    """The portfolio now, and its days, oldest first."""

    portfolio: Portfolio
    days: list[PortfolioDay]


class ModelAnswer(Answer):
    """The model of the API's own settings; `in_force` tells whether it made the latest scores."""

    model: dict[str, Any]
    in_force: bool


# Routes write no document of this kind themselves, so its schema is added by `add_problem_schema`.
def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    401: _problem("no key, or a wrong one"),
    403: _problem("the key's role is too small"),
    422: _problem("a part of the request is not allowed"),
    429: _problem("too many requests: see Retry-After"),
    503: _problem("the copy or the brokers do not answer, or there is no copy yet: see Retry-After"),
}
WRONG_TOKEN: Final[dict[int | str, dict[str, Any]]] = {400: _problem("a page token that is not one of this list")}
NO_ACCOUNT: Final[dict[int | str, dict[str, Any]]] = {404: _problem("no account has this id")}
NO_ACTION: Final[dict[int | str, dict[str, Any]]] = {404: _problem("no action of the last day has this key")}


def answer(
    request: Request, state: CopyState, matter: dict[str, Any], *, model_version: str | None, coverage: float | None
) -> Response:
    """Write an answer; 304 when the caller has the same matter."""
    rest = {"stale": state.stale, "model_version": model_version, "coverage": coverage, **matter}
    body = orjson.dumps(rest)
    tag = f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
    headers, as_of = {"ETag": tag}, state.as_of
    if as_of is not None:
        headers[AS_OF_HEADER] = as_of
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(b'{"as_of":%s,%s' % (orjson.dumps(as_of), body[1:]), headers=headers, media_type="application/json")


def account_row(score: dict[str, Any]) -> dict[str, Any]:
    """Shorten a score to a row of a list."""
    worst = max(score["factors"], key=lambda factor: factor["points_lost"], default=None)
    row = {name: score.get(name) for name in AccountRow.model_fields}
    row["reason"] = (
        {
            "factor": worst["name"],
            "label": worst["label"],
            "points_lost": worst["points_lost"],
            "sentence": worst["sentence"],
        }
        if worst
        else None
    )
    return row


def mean_coverage(scores: list[dict[str, Any]]) -> float | None:
    """Return the mean coverage of scores, None without any."""
    return fsum(score["coverage"] for score in scores) / len(scores) if scores else None


def _has(asked: str, tag: str) -> bool:
    opaque = tag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") in {opaque, "*"} for part in asked.split(","))
