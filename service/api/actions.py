"""Routes of acting: what a person does about an account, sent as a command; the worker tells what became of it.

Who acts is the name of the key, never a word of the request. The idempotency key is the caller's, so whoever hears no
answer sends the same again; it is bound to that name, so two callers do not meet in one key.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import quote, unquote

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.fields import AlertSeq, Name, Sentence, Sentiment
from schemas.outputs import ActionTakenData
from schemas.times import RFC3339_PATTERN, parse_time_ms
from service.account_copy.reader import CopyReader
from service.api.accounts import Account, Copy
from service.api.answers import NO_ACCOUNT, NO_ACTION, PROBLEMS
from service.api.desk import DeskKeeper
from service.api.gate import Actor, check_role
from service.api.keys import ApiKey
from service.api.problems import Problem
from service.commands import ActionKey, Outcome, make_command

ActionState: TypeAlias = Literal["pending", "applied", "refused"]

SOURCE: Final = "vitals-api/"
WAIT_MAX_SECONDS: Final = 30
_WAIT: Final = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:[,;]|$)", re.IGNORECASE)

routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["acting"])


def _checked_time(text: str) -> str:
    parse_time_ms(text)
    return text


# The framework validates what it has parsed, where `UtcTime` expects milliseconds; the command takes it as text.
TimeText = Annotated[
    str, Field(pattern=RFC3339_PATTERN, json_schema_extra={"format": "date-time"}), AfterValidator(_checked_time)
]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    note: Sentence | None = None


class Acknowledge(_Said):
    """Someone takes care of an alert, named by its `seq`."""

    action: Literal["acknowledge"]
    alert_seq: AlertSeq


class Snooze(_Said):
    """The account raises no alert until then; a time that is past ends an earlier snooze."""

    action: Literal["snooze"]
    until: TimeText
    alert_seq: Annotated[AlertSeq | None, Field(description="the alert to mark as snoozed")] = None


class Resolve(_Said):
    """What an alert was about is dealt with."""

    action: Literal["resolve"]
    alert_seq: AlertSeq


class Override(_Said):
    """The band is set by hand until then; a time that is past lifts an earlier override."""

    action: Literal["override"]
    band: Literal["healthy", "at_risk", "endangered"]
    reason: Name
    until: TimeText


class SetSentiment(_Said):
    """How the account's manager feels about it, from -1 to 1."""

    action: Literal["sentiment"]
    sentiment: Sentiment


class Note(_Said):
    """Something to remember."""

    action: Literal["note"]
    note: Sentence


class Erase(BaseModel):
    """Everything that is kept of the account is removed; needs a key of the role admin."""

    model_config = _Said.model_config

    action: Literal["erase"]
    reason: Annotated[Name, Field(description="kept in the audit, so it names no person")]


Act: TypeAlias = Annotated[
    Acknowledge | Snooze | Resolve | Override | SetSentiment | Note | Erase, Field(discriminator="action")
]


class ActionAnswer(BaseModel):
    """An action: pending until a worker applied or refused it; `outcome` is what it told then."""

    account: str
    action_id: str
    state: ActionState
    outcome: Outcome | None


IdempotencyKey = Annotated[
    str,
    Header(
        min_length=8,
        max_length=256,
        pattern=r"^[!-~]*$",
        description="chosen by the caller, a UUID for instance: the same again counts once, for a day",
    ),
]
Prefer = Annotated[
    str,
    Header(
        max_length=100, description=f"`wait=N`: answer when it is applied, after N seconds ({WAIT_MAX_SECONDS} at most)"
    ),
]
_PENDING: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": ActionAnswer, "description": "published, and not yet applied: ask again at Location"}
}


@routes.post(
    "/accounts/{account}/actions",
    response_model=ActionAnswer,
    responses={200: {"description": "applied or refused"}, **_PENDING, **NO_ACCOUNT},
)
async def act(
    request: Request,
    *,
    copy: Copy,
    account: Account,
    body: Act,
    key: Actor,
    idempotency_key: IdempotencyKey,
    prefer: Prefer = "",
) -> Response:
    """Act on an account or one of its alerts: 202 when it is published, 200 when it is known what became of it."""
    taken = await take(
        request, copy, account, body, key=key, action_id=idempotency_key, wait_seconds=_wait_seconds(prefer)
    )
    return _answer(ActionKey(account, _source(key), idempotency_key), taken)


async def take(
    request: Request, copy: CopyReader, account: str, body: Act, *, key: ApiKey, action_id: str, wait_seconds: float
) -> Outcome | None:
    """Send an action that a key takes, and wait so long for what becomes of it; None is not known yet."""
    if body.action == "erase":
        check_role(request, "admin")
    elif (await copy.scores([account]))[0] is None:
        raise Problem("account-not-found")
    said = body.model_dump(exclude={"action"}, exclude_none=True)
    command = make_command(body.action, account, {"actor": key.name, **said}, source=_source(key), action_id=action_id)
    async with _keeper(request).desk() as desk:
        return await desk.settle(command, wait_seconds)


def state_of(taken: Outcome | None) -> ActionState:
    """Name what an outcome means for the one who acted."""
    if taken is None:
        return "pending"
    return "refused" if isinstance(taken, ActionTakenData) and taken.refusal is not None else "applied"


@routes.get("/accounts/{account}/actions/{action_id}", response_model=ActionAnswer, responses=NO_ACTION)
async def action(
    request: Request,
    account: Account,
    action_id: Annotated[str, Path(description="its idempotency key, percent-encoded")],
    key: Actor,
) -> Response:
    """Tell what became of an action that the same key's name took within the last day."""
    asked = ActionKey(account, _source(key), unquote(action_id))
    async with _keeper(request).desk() as desk:
        taken = await desk.outcome(asked)
        if taken is None and not await desk.is_published(asked):
            raise Problem("action-not-found")
    return _answer(asked, taken, status_if_pending=200)


def _keeper(request: Request) -> DeskKeeper:
    keeper: DeskKeeper = request.app.state.desks
    return keeper


def _source(key: ApiKey) -> str:
    return SOURCE + quote(key.name, safe="")


def _wait_seconds(prefer: str) -> int:
    """Read how long the caller would wait (RFC 7240); what cannot be read is no wish."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), WAIT_MAX_SECONDS) if found else 0


def _answer(key: ActionKey, taken: Outcome | None, *, status_if_pending: int = 202) -> Response:
    told = ActionAnswer(account=key.account, action_id=key.action_id, state=state_of(taken), outcome=taken)
    place = f"/v1/accounts/{quote(key.account, safe='')}/actions/{quote(key.action_id, safe='')}"
    return Response(
        told.model_dump_json(by_alias=True),
        200 if taken is not None else status_if_pending,
        headers={"Location": place},
        media_type="application/json",
    )
