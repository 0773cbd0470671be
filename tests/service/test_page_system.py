"""The page of the person on call: it answers whatever is away, and two looks at the brokers make its rates."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from pathlib import Path

from service.adapters.cluster_facts import BrokerFacts, GroupFacts
from service.api.deployment import Deployment, Facts, Look, _Kept, judge_look
from service.errors import DependencyError, VitalsError
from service.model.loader import load_model
from service.settings import load_settings
from service.topic_catalogue import TopicNames
from tests.service.api_kit import NO_BROKER, Served, serving
from tests.service.copy_kit import Copy, score

NAMES = TopicNames()
INPUT = next(iter(NAMES.inputs))
BROKER = BrokerFacts(1, "a:1", answers=True, release="4.3")
THEN = Facts(100.0, [BROKER], GroupFacts("Stable", 1, {(INPUT, 0): (0, 10, 40)}), {(NAMES.scores, 0): 5})
NOW = Facts(110.0, [BROKER], GroupFacts("Stable", 1, {(INPUT, 0): (0, 60, 140)}), {(NAMES.scores, 0): 105})


def read(served: Served, status: int = 200) -> str:
    """Read the page."""
    with served.client() as client:
        answer = client.get("/system")
    assert answer.status_code == status, answer.text
    return answer.text


def look_at(before: Facts | None, now: Facts, **settings: float) -> Look:
    """Judge two looks."""
    return judge_look(load_settings(**settings), NAMES, 8, before, now)


def levels(look: Look) -> dict[str, str]:
    """Index findings by check."""
    return {finding.check: finding.level for finding in look.findings}


def test_it_answers_without_kafka_and_without_a_copy(redis_url: str, tmp_path: Path) -> None:
    """It says what is away, as a page that is well."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:
        page = read(api)
        assert "There is no copy yet" in page
        assert f"no Kafka answers at {NO_BROKER}" in page
        assert "Not counted:" in page
        assert load_model().version in page
        api.change(lambda copy: copy.live())
        assert "There is no copy yet" not in read(api)
    with serving(f"unix://{tmp_path}/none.sock", "none:") as api:
        assert "Redis does not answer" in read(api)


def test_another_model_than_the_workers_is_said(redis_url: str) -> None:
    """The page's own model gives labels and thresholds, so it matters."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:

        async def beat(copy: Copy, version: str) -> None:
            await copy.scores(score("acme", 1))
            await copy.writer.beat({}, version)

        api.change(lambda copy: beat(copy, load_model().version))
        assert "another model than this page" not in read(api)
        api.change(lambda copy: beat(copy, "9+other"))
        assert "another model than this page" in read(api)
        assert "9+other" in read(api)


def test_two_looks_make_rates() -> None:
    """Records a second that arrived, were done and were written; what waits is of now; one look makes none."""
    look = look_at(THEN, NOW)
    flow = next(flow for flow in look.inputs if flow.topic == INPUT)
    assert (flow.waiting, flow.arrived, flow.done) == (80, 10.0, 5.0)
    assert (look.outputs[0].topic, look.outputs[0].arrived, look.seconds) == (NAMES.scores, 10.0, 10.0)
    assert look.lag_records == 80
    first = look_at(None, NOW)
    assert first.seconds is None
    assert {flow.arrived for flow in (*first.inputs, *first.outputs)} == {None}
    anew = replace(NOW, ends={(NAMES.scores, 0): 0})
    assert look_at(THEN, anew).outputs[0].arrived == 0  # a topic made anew is not a negative rate


def test_a_worker_that_stands_still_is_told_from_one_that_commits_seldom() -> None:
    """Only looks that are two commits apart can tell."""
    still = replace(THEN, at_seconds=110.0, group=replace(THEN.group))
    assert levels(look_at(THEN, still))["lag"] == "WARN"
    assert levels(look_at(THEN, NOW))["lag"] == "OK"
    assert levels(look_at(THEN, still, commit_interval_seconds=6.0))["lag"] == "OK"
    away = replace(NOW, brokers=[replace(BROKER, answers=False)])
    assert levels(look_at(THEN, away))["brokers"] == "FAIL"


async def _ask_three(answers: list[str | VitalsError], seconds: float) -> list[str | VitalsError]:
    async def ask() -> str:
        answer = answers.pop(0)
        await asyncio.sleep(0.01)
        if isinstance(answer, VitalsError):
            raise answer
        return answer

    kept = _Kept(ask, seconds)
    return [*await asyncio.gather(kept.get(), kept.get()), await kept.get()]


def test_many_who_look_cost_one_look() -> None:
    """An answer is kept, a failure too; afterwards it is asked anew."""
    failure = DependencyError("away")
    assert asyncio.run(_ask_three(["a", "b"], 60)) == ["a", "a", "a"]
    assert asyncio.run(_ask_three([failure, "b"], 60)) == [failure, failure, failure]
    assert asyncio.run(_ask_three(["a", "b", "c"], -1)) == ["a", "b", "c"]


def test_a_deployment_without_a_broker_says_how_to_get_one(tmp_path: Path) -> None:
    """The API runs on when the embedded broker is down."""
    deployment = Deployment(load_settings(home=tmp_path))
    found = asyncio.run(deployment.look())
    assert isinstance(found, VitalsError)
    assert "vitals kafka up" in str(found)
