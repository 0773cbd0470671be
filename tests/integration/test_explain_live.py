"""`vitals explain --live`: the account's last score and its alerts, found on a real broker by the account's id."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from service.account_topics import TOLD_DAYS, read_account
from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.topic_admin import ensure_topics
from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.conftest import Vitals

pytestmark = pytest.mark.kafka


def message(account: str, **data: object) -> bytes:
    return orjson.dumps({"subject": account, "data": {"account": account, **data}})


async def publish(bootstrap: str, names: TopicNames, accounts: list[str]) -> None:
    """Write two scores and three alerts of each account as a worker does: keyed, so that the client finds the place."""
    await ensure_topics(bootstrap, names)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    now_ms = time.time_ns() // 1_000_000
    try:
        for account in accounts:
            key = account.encode()
            for number in range(2):
                await producer.send_and_wait(names.scores, message(account, seq=number), key=key)
            await producer.send_and_wait(names.audit, message(account, seq=1), key=key)
            for number, age_days in enumerate((TOLD_DAYS + 1, 1, 0)):
                old_ms = now_ms - age_days * 86_400_000
                await producer.send_and_wait(names.alerts, message(account, seq=number), key=key, timestamp_ms=old_ms)
    finally:
        await producer.stop()


def test_the_last_score_and_recent_alerts_are_found(broker: EmbeddedKafka, settings: Settings) -> None:
    """Whatever partition the id hashes to, the last score and the recent alerts come back, of that account alone."""
    names = TopicNames.from_settings(settings)
    accounts = [f"acct-{number}" for number in range(12)] + ["äöü"]

    async def run() -> None:
        await publish(broker.bootstrap, names, accounts)
        for account in accounts:
            found = await read_account(broker.bootstrap, names, account)
            assert found.score == message(account, seq=1)
            assert found.actions == [message(account, seq=1)]
            assert found.alerts[-2:] == [message(account, seq=1), message(account, seq=2)]
        assert (await read_account(broker.bootstrap, names, "nobody")).score is None

    asyncio.run(run())


def test_the_command_names_what_is_missing(broker: EmbeddedKafka, topic_prefix: str, vitals: Vitals) -> None:
    """Without topics, and without the account, the error says which and what to do."""
    settings = {"VITALS_BROKER": broker.bootstrap, "VITALS_TOPIC_PREFIX": topic_prefix}
    done = vitals("explain", "acme", "--live", **settings)
    assert done.returncode == 1
    assert "no such topic" in done.stderr
    assert vitals("topics", "apply", **settings).returncode == 0
    done = vitals("explain", "acme", "--live", **settings)
    assert done.returncode == 1
    assert "no score of account 'acme'" in done.stderr
