"""Acting over HTTP on real parts: a request becomes a command, the worker applies it, the answer and the copy tell."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest

from schemas.times import time_text
from service.adapters.embedded_kafka import free_ports
from service.adapters.embedded_redis import EmbeddedRedis
from service.api.desk import DeskKeeper
from service.api.keys import add_key
from service.commands import ActionKey, open_desk
from service.errors import DependencyError
from service.settings import Settings
from tests.conftest import Vitals
from tests.integration.kafka_tools import TestedProcess, produce, read_topic
from tests.integration.test_api_live import ACCOUNT, PATH, event, wait_for
from tests.integration.test_worker import Deployment
from tests.service.api_kit import NO_BROKER

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ACTIONS = PATH + "/actions"
WAITING = {"Prefer": "wait=30"}


@dataclass
class Acting:
    """A deployment with all its parts, and a client of each of two people."""

    deployment: Deployment
    worker: TestedProcess
    api: TestedProcess
    dana: httpx.Client
    eve: httpx.Client

    def outcomes(self) -> list[tuple[str, str]]:
        """Return the action and the actor of every outcome in the audit."""
        audit = read_topic(self.deployment.bootstrap, self.deployment.names.audit)
        told = [orjson.loads(record.value)["data"] for record in audit]
        return [(taken["action_id"], taken["actor"]) for taken in told]

    def band(self, wanted: str) -> None:
        """Wait until the copy shows a band."""
        wait_for(self.dana, PATH, self.api, lambda view: view.json()["score"]["band"] == wanted)


@pytest.fixture
def acting(
    settings: Settings, vitals: Vitals, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Acting]:
    """Run worker, projector and API with an account that somebody used."""
    deployment, port = Deployment(settings, vitals, tmp_path), free_ports(1)[0]
    redis = EmbeddedRedis(tmp_path_factory.mktemp("r"))
    redis.start()
    variables = {
        "VITALS_BROKER": deployment.bootstrap,
        "VITALS_APP_ID": settings.app_id,
        "VITALS_TOPIC_PREFIX": settings.topic_prefix,
        "VITALS_REDIS": redis.url,
        "VITALS_API_KEYS": str(tmp_path / "keys.json"),
    }
    tokens = [add_key(tmp_path / "keys.json", name, "act", None) for name in ("dana", "eve of sales")]
    with ExitStack() as stack:
        stack.callback(redis.stop)
        worker = stack.enter_context(deployment.start())
        run = "service.cli.main"
        stack.enter_context(TestedProcess(tmp_path / "projector.log", run, "projector", **variables))
        api = stack.enter_context(TestedProcess(tmp_path / "api.log", run, "api", "--port", str(port), **variables))
        dana, eve = (
            stack.enter_context(
                httpx.Client(
                    base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=60
                )
            )
            for token in tokens
        )
        produce(deployment.bootstrap, deployment.names.input("usage"), [event("login", 1, {"user": "ann"})])
        wait_for(dana, PATH, api)
        yield Acting(deployment, worker, api, dana, eve)
        assert api.terminate() == 0


def override(hours: int) -> dict[str, Any]:
    """Say that the account is endangered until so many hours from now."""
    until = time_text(time.time_ns() // 1_000_000 + hours * 3_600_000)
    return {"action": "override", "band": "endangered", "reason": "champion left", "until": until}


def act(client: httpx.Client, key: str, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
    """Send an action."""
    return client.post(ACTIONS, json=body, headers={"Idempotency-Key": key, **headers})


def test_a_request_changes_the_band_and_the_answer_says_so(acting: Acting) -> None:
    """The same key again, also at the same time, acts once; of another caller it is another key."""
    said = override(9)
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(lambda _: act(acting.dana, "override-1", said, WAITING), range(3))
    assert first.status_code == 200, first.text
    told = first.json()
    assert (told["account"], told["action_id"], told["state"]) == (ACCOUNT, "override-1", "applied")
    outcome = told["outcome"]
    assert (outcome["actor"], outcome["band"], outcome["reason"]) == ("dana", "endangered", "champion left")
    acting.band("endangered")
    again = [*others, act(acting.dana, "override-1", said, {}), acting.dana.get(first.headers["location"])]
    assert [(answer.status_code, answer.json()) for answer in again] == [(200, told)] * 4
    changed = act(acting.dana, "override-1", {**said, "reason": "other"}, WAITING)
    assert changed.status_code == 422
    assert changed.json()["type"] == "urn:vitals:problem:idempotency-key-reused"
    noted = act(acting.eve, "override-1", {"action": "note", "note": "seen"}, WAITING).json()
    assert (noted["state"], noted["outcome"]["actor"]) == ("applied", "eve of sales")
    lifted = act(acting.dana, "override-2", override(-1), WAITING).json()
    assert lifted["state"] == "applied"
    acting.band("unknown")  # what it is of itself
    taken = act(acting.dana, "acknowledge-1", {"action": "acknowledge", "alert_seq": 1}, WAITING).json()
    assert (taken["state"], taken["outcome"]["alert_state"]) == ("applied", "acknowledged")
    refused = act(acting.dana, "resolve-1", {"action": "resolve", "alert_seq": 999}, WAITING)
    assert (refused.status_code, refused.json()["state"]) == (200, "refused")
    assert refused.json()["outcome"]["refusal"] == "unknown_alert"
    assert acting.outcomes() == [
        ("override-1", "dana"),
        ("override-1", "eve of sales"),
        ("override-2", "dana"),
        ("acknowledge-1", "dana"),
        ("resolve-1", "dana"),
    ]


def test_a_form_of_the_page_acts_the_same_way(acting: Acting) -> None:
    """The answer says in place that it is applied, or refused and why; the page shows it a moment later."""
    page = "/account?" + urlencode({"id": ACCOUNT})
    form_key = str(uuid.uuid4())
    said = {"form": "override", "key": form_key, "band": "endangered", "reason": "champion left"}
    until = time_text(time.time_ns() // 1_000_000 + 3_600_000)[:16]
    applied = acting.dana.post(page, data={**said, "until": until})
    while applied.status_code == 202:  # sent again as a person would, it counts once
        applied = acting.dana.post(page, data={**said, "until": until})
    assert (applied.status_code, 'data-state="applied"' in applied.text) == (200, True), applied.text
    assert form_key not in applied.text
    wait_for(acting.dana, page, acting.api, lambda answer: "Band set by hand" in answer.text)
    resolve = {"form": "alert", "key": str(uuid.uuid4()), "action": "resolve", "alert_seq": "999"}
    refused = acting.dana.post(page, data=resolve)
    while refused.status_code == 202:
        refused = acting.dana.post(page, data=resolve)
    assert "Refused: the account has no such alert." in refused.text
    assert acting.outcomes() == [(form_key, "dana"), (resolve["key"], "dana")]


def test_what_no_worker_has_applied_is_pending(acting: Acting) -> None:
    """And is applied once when one runs again, however often it was sent; what nobody sent is not found."""
    acting.worker.kill()
    said = {"action": "sentiment", "sentiment": -1, "note": "angry"}
    sent = [act(acting.dana, "sentiment-1", said, prefer) for prefer in ({}, {"Prefer": "wait=1"})]
    place = sent[0].headers["location"]
    asked = acting.dana.get(place)
    assert [answer.status_code for answer in [*sent, asked]] == [202, 202, 200]
    assert all(answer.json()["state"] == "pending" for answer in [*sent, asked])
    others = acting.eve.get(place)
    assert (others.status_code, others.json()["type"]) == (404, "urn:vitals:problem:action-not-found")
    nobody = acting.dana.post(
        "/v1/accounts/nobody/actions", json=said, headers={"Idempotency-Key": "sentiment-1", **WAITING}
    )
    assert (nobody.status_code, nobody.json()["type"]) == (404, "urn:vitals:problem:account-not-found")
    with acting.deployment.start() as worker:
        wait_for(acting.dana, place, acting.api, lambda answer: answer.json()["state"] == "applied")
        wait_for(acting.dana, PATH, acting.api, lambda view: view.json()["score"]["csm_sentiment"] == -1)
        acting.deployment.wait(worker)
        assert worker.terminate() == 0
    assert acting.outcomes() == [("sentiment-1", "dana")]


def test_the_desk_is_opened_anew_after_the_brokers_failed(settings: Settings, vitals: Vitals, tmp_path: Path) -> None:
    """No brokers at first: the error tells; the next request tries again, also after a desk that was open failed."""
    deployment = Deployment(settings, vitals, tmp_path)
    brokers = iter([NO_BROKER, deployment.bootstrap, deployment.bootstrap])

    async def run() -> None:
        keeper = DeskKeeper(lambda: open_desk(next(brokers), deployment.names))
        with pytest.raises(DependencyError):
            async with keeper.desk():
                pytest.fail("no broker answers here")
        async with keeper.desk() as first, keeper.desk() as same:
            assert first is same
        with pytest.raises(DependencyError):
            async with keeper.desk():
                raise DependencyError("the brokers failed")
        async with keeper.desk() as second:
            assert second is not first
            assert await second.outcome(ActionKey("acme", "test", "none")) is None
        await keeper.close()

    asyncio.run(run())
