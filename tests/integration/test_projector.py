"""The projector on a real broker and a real Redis: the copy follows the topics, whatever happens to Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.account_copy.layout import Keys
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.redis_client import REDIS_FAILURES, RedisClient, open_redis
from service.adapters.topic_admin import ensure_topics
from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.integration.kafka_tools import TestedProcess, produce
from tests.service.copy_kit import alert, many, score

pytestmark = pytest.mark.kafka

ACCOUNTS = [f"account-{number}" for number in range(300)]


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """Run a Redis that this test may break."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("r"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def names(settings: Settings) -> TopicNames:
    """Make the topics of this test's deployment."""
    made = TopicNames.from_settings(settings)
    asyncio.run(ensure_topics(str(settings.broker), made))
    return made


def start_projector(settings: Settings, redis: EmbeddedRedis, log: Path) -> TestedProcess:
    return TestedProcess(
        log,
        "service.cli.main",
        "projector",
        VITALS_BROKER=settings.broker or "",
        VITALS_APP_ID=settings.app_id,
        VITALS_TOPIC_PREFIX=settings.topic_prefix,
        VITALS_REDIS=redis.url,
    )


async def _seqs(client: RedisClient) -> dict[str, int]:
    epoch = await client.hget("vitals:copy", "epoch")
    if epoch is None:
        return {}
    prefix = Keys("vitals:", epoch.decode()).account("")
    found = [key.decode() async for key in client.scan_iter(match=prefix + "*", count=1000)]
    seqs = [await client.hget(key, "seq") for key in found]
    return {key.removeprefix(prefix): int(seq) for key, seq in zip(found, seqs, strict=True) if seq is not None}


def seqs(redis: EmbeddedRedis) -> dict[str, int]:
    """Read the seq of every account in the copy; nothing while Redis is away."""

    async def read() -> dict[str, int]:
        async with open_redis(redis.url) as client:
            with contextlib.suppress(*REDIS_FAILURES):
                return await _seqs(client)
            return {}

    return asyncio.run(read())


def portfolio_accounts(redis: EmbeddedRedis) -> int:
    """Add up the accounts that the counts tell of."""

    async def read() -> int:
        async with open_redis(redis.url) as client:
            epoch = (await client.hget("vitals:copy", "epoch")).decode()
            counts = await client.hgetall(Keys("vitals:", epoch).of("portfolio"))
            return sum(int(value) for field, value in counts.items() if field.endswith(b"|accounts"))

    return asyncio.run(read())


def wait_until(holds: Callable[[], bool], process: TestedProcess, within_seconds: float = 60) -> None:
    deadline = time.monotonic() + within_seconds
    while not holds():
        assert process.process.poll() is None, process.output()[-3000:]
        assert time.monotonic() < deadline, process.output()[-3000:]
        time.sleep(0.2)


def publish_scores(settings: Settings, names: TopicNames, seq: int) -> dict[str, int]:
    produce(str(settings.broker), names.scores, [score(account, seq) for account in ACCOUNTS])
    return dict.fromkeys(ACCOUNTS, seq)


def test_the_copy_survives_what_happens_to_redis(
    settings: Settings, names: TopicNames, redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """Redis is wiped, killed and away for a time: the same projector makes the copy whole again each time."""
    published = publish_scores(settings, names, 1)
    produce(str(settings.broker), names.scores, [(b"acme", b"nobody's message"), score("zz", 1)])
    published["zz"] = 1
    with start_projector(settings, redis, tmp_path / "projector.log") as projector:
        wait_until(lambda: seqs(redis) == published, projector)
        projector.wait_for("whole and live")
        assert "is no message of ours" in projector.output()

        async def wipe() -> None:
            async with open_redis(redis.url) as client:
                await client.flushall()

        asyncio.run(wipe())
        wait_until(lambda: seqs(redis) == published, projector)

        redis.kill()
        published |= publish_scores(settings, names, 2)
        projector.wait_for("Redis fails")
        redis.start()
        wait_until(lambda: seqs(redis) == published, projector)
        assert portfolio_accounts(redis) == len(published)
        assert projector.terminate() == 0


def test_a_projector_goes_on_where_the_copy_is(
    settings: Settings, names: TopicNames, redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """Killed and started again it applies what came meanwhile, and nothing a second time."""
    published = publish_scores(settings, names, 1)
    with start_projector(settings, redis, tmp_path / "first.log") as projector:
        wait_until(lambda: seqs(redis) == published, projector)
        projector.kill()
    published |= publish_scores(settings, names, 2)
    with start_projector(settings, redis, tmp_path / "second.log") as projector:
        projector.wait_for(f"{len(ACCOUNTS)} records to apply")
        wait_until(lambda: seqs(redis) == published, projector)
        assert projector.terminate() == 0


def test_two_projectors_share_the_partitions(
    settings: Settings, names: TopicNames, redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """When one is killed, the other takes over what it had; the counts stay those of the accounts."""
    published = publish_scores(settings, names, 1)
    first = start_projector(settings, redis, tmp_path / "first.log")
    with first, start_projector(settings, redis, tmp_path / "second.log") as second:
        second.wait_for(": 16 partitions")
        first.wait_for(": 16 partitions")
        wait_until(lambda: seqs(redis) == published, second)
        published |= publish_scores(settings, names, 2)
        produce(str(settings.broker), names.alerts, [alert(account, 1) for account in ACCOUNTS[:5]])
        first.kill()
        published |= publish_scores(settings, names, 3)
        wait_until(lambda: seqs(redis) == published, second)
        assert portfolio_accounts(redis) == len(published)
        assert second.terminate() == 0


def test_topics_made_anew_begin_the_copy_anew(
    settings: Settings, names: TopicNames, redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """A copy that is ahead of the topic is of another topic: it is thrown away."""
    produce(str(settings.broker), names.scores, many(["acme"]))

    async def pretend() -> None:
        async with open_redis(redis.url) as client:
            epoch = (await client.hget("vitals:copy", "epoch")).decode()
            offsets = Keys("vitals:", epoch).of("offsets")
            for place in await client.hkeys(offsets):
                await client.hset(offsets, place, 1_000_000)

    with start_projector(settings, redis, tmp_path / "first.log") as projector:
        wait_until(lambda: seqs(redis) == {"acme": 1}, projector)
        assert projector.terminate() == 0
    asyncio.run(pretend())
    with start_projector(settings, redis, tmp_path / "second.log") as projector:
        projector.wait_for("made anew")
        wait_until(lambda: seqs(redis) == {"acme": 1}, projector)
        assert projector.terminate() == 0
