"""The forms of an account's page: what a person does about it, and in place what became of that.

An action goes the way of the API's own (`service.api.actions.take`); here are only fields and words. Each form carries
its idempotency key until it is known what became of it, so whoever sends it again acts once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, get_args
from uuid import UUID, uuid4

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from schemas.fields import ACCOUNT_MAX
from schemas.outputs import ActionTakenData
from schemas.times import time_text
from service.api.accounts import ALERTS_SHOWN, Copy
from service.api.actions import Act, state_of, take
from service.api.gate import Actor
from service.api.keys import ApiKey
from service.api.page.forms import read_form
from service.api.page.rendering import PageRoute, page
from service.api.problems import KINDS, Problem, kind_of
from service.commands import Outcome
from service.errors import VitalsError

FormName = Literal["alert", "snooze", "override", "lift", "sentiment", "note"]

BODY_MAX: Final = 32_768  # a note of 2,000 characters, each sent as four encoded bytes
WAIT_SECONDS: Final = 5
FORMS: Final[tuple[FormName, ...]] = get_args(FormName)
FAULTS: Final = {
    "action": "Choose what to do.",
    "alert_seq": "Choose an alert.",
    "until": "Choose a day and a time, in UTC.",
    "band": "Choose a band.",
    "reason": "Say why, in up to 256 characters.",
    "sentiment": "Give a number from -1 to 1.",
    "note": "Write one line of up to 2,000 characters.",
}
REFUSALS: Final = {
    "unknown_alert": "the account has no such alert",
    "old_alert": "the alert is too old to be acted on",
    "resolved_alert": "the alert is resolved already",
    "superseded": "a later word counts",
    "churned": "the account has left",
}

_ACT: Final[TypeAdapter[Any]] = TypeAdapter(Act)

routes = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Form:
    """One form as it is shown: what was typed, what is wrong with it, what became of it."""

    name: FormName
    values: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    trouble: str | None = None
    told: str | None = None
    state: str | None = None
    key: str = field(default_factory=lambda: str(uuid4()))


def forms_for(key: ApiKey, alert: str) -> list[Form]:
    """Give the forms that a key may use, with an alert chosen; none for one that only reads."""
    return [Form(name, {"alert_seq": alert}) for name in FORMS] if key.may("act") else []


@routes.post("/account")
async def act(
    request: Request,
    copy: Copy,
    account_id: Annotated[str, Query(alias="id", min_length=1, max_length=ACCOUNT_MAX)],
    key: Actor,
) -> Response:
    """Act, and show the form again with what became of it."""
    sent = await read_form(request, BODY_MAX)
    alerts = (await copy.account(account_id, ALERTS_SHOWN)).alerts
    form, status = await _settled(request, copy, account_id, key, sent)
    answer = page(
        request,
        "act_form.html",
        status,
        form=form,
        account=account_id,
        alerts=[orjson.loads(alert) for alert in alerts],
    )
    answer.headers["HX-Reswap"] = "outerHTML"  # by this the page knows that a refusal, too, is a form
    return answer


async def _settled(request: Request, copy: Copy, account: str, key: ApiKey, sent: dict[str, str]) -> tuple[Form, int]:
    name: FormName = next((known for known in FORMS if known == sent.get("form")), FORMS[-1])
    action_id = _key_of(sent)
    if action_id is None:
        return Form(name, sent, trouble="This form is not whole. Send it again."), 422
    try:
        body = _ACT.validate_python(_said(name, sent))
    except ValidationError as error:
        return Form(name, sent, _faults(error), key=action_id), 422
    try:
        taken = await take(request, copy, account, body, key=key, action_id=action_id, wait_seconds=WAIT_SECONDS)
    except (Problem, VitalsError) as error:
        return _troubled(name, sent, action_id, kind_of(error))
    if taken is None:
        return Form(name, sent, told=_told(taken), state="pending", key=action_id), 202
    return Form(name, told=_told(taken), state=state_of(taken)), 200


def _key_of(sent: Mapping[str, str]) -> str | None:
    with suppress(ValueError):
        return str(UUID(sent.get("key", "")))
    return None


def _said(name: FormName, sent: Mapping[str, str]) -> dict[str, Any]:
    """Read typed fields as the API takes them; what cannot be read is left for it to refuse."""
    said: dict[str, Any] = {known: sent[known] for known in FAULTS if known in sent}
    if name != "alert":  # there the button says which action it is
        said["action"] = "override" if name == "lift" else name
    if name == "lift":
        said["until"] = time_text(time.time_ns() // 1_000_000)
    elif "until" in said:
        said["until"] += ":00Z"
    with suppress(ValueError, KeyError):
        said["alert_seq"] = int(said["alert_seq"])
    with suppress(ValueError, KeyError):
        said["sentiment"] = float(said["sentiment"])
    return said


def _faults(error: ValidationError) -> dict[str, str]:
    """Say by field what is wrong, in the page's own words."""
    places = [str(fault["loc"][-1]) if fault["loc"] else "action" for fault in error.errors(include_input=False)]
    return {place: FAULTS.get(place, "This does not belong here.") for place in places}


def _troubled(name: FormName, sent: dict[str, str], action_id: str, kind: str) -> tuple[Form, int]:
    status, title = KINDS[kind]
    if kind == "idempotency-key-reused":
        text = "What you sent first was taken, and this was not. Send it again if it shall count, too."
        return Form(name, sent, trouble=text), status
    if kind == "acting-unavailable":
        title = (
            "This was not taken, or it is not known whether: the brokers do not answer. Send it again; it counts once."
        )
    return Form(name, sent, trouble=title, key=action_id), status


def _told(taken: Outcome | None) -> str:
    if taken is None:
        return "Pending: it is sent, and will be applied or refused. Send it again to ask; it counts once."
    if isinstance(taken, ActionTakenData) and taken.refusal is not None:
        return f"Refused: {REFUSALS[taken.refusal]}."
    return "Applied. The page shows it in a moment."
