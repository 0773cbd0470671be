"""F13: the copy's Redis is down, frozen, slow and wiped; scoring does not notice, and the copy is whole again.

The projector and its Redis run beside the workers for the whole run. In the end the copy is compared with what the
compacted topic of scores would keep: the last score of every account, and nothing else.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import RedisError

from service.account_copy.layout import Keys
from service.account_copy.rows import unpack
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.redis_client import RedisClient
from tests.chaos.compare import Difference
from tests.chaos.observed import Observed
from tests.chaos.run import Run
from tests.integration.kafka_tools import TestedProcess

DOWN_SECONDS = {False: 3.0, True: 300.0}  # short and full size
FROZEN_SECONDS = 7.0  # longer than the projector waits for an answer
SLOW_SECONDS = 5.0
SLOW_ANSWER_MS = 400
WHOLE_SECONDS = 60.0
BASE = "vitals:"


def break_redis(run: Run, times: int) -> None:
    """F13: the copy's Redis is killed and away for a time, frozen, slow and wiped, while records flow."""
    is_full = run.plan.is_full
    server = EmbeddedRedis(Path(run.beside.enter_context(tempfile.TemporaryDirectory(prefix="vitals-r"))))
    server.start()
    run.beside.callback(server.stop)
    projector = run.beside.enter_context(_projector(run, server))
    redis: RedisClient = run.beside.enter_context(Redis(unix_socket_path=str(server.socket)))
    run.fleet.wait_ready()
    _wait_whole(run, redis, projector)
    before = run.fleet.rebalances(), run.fleet.crashes
    for _ in range(times):
        for fault in (_down, _frozen, _slow, _wiped):
            fault(run, server, redis, DOWN_SECONDS[is_full])
            _wait_whole(run, redis, projector)
            run.fleet.pass_time(run.plan.pace)
    after = run.fleet.rebalances(), run.fleet.crashes
    assert after == before, f"the workers noticed that Redis was away: {before}, {after}\n{run.fleet.tails()}"
    run.checks.append(lambda _, observed: _compare_copy(redis, projector, observed))


def _projector(run: Run, server: EmbeddedRedis) -> TestedProcess:
    return TestedProcess(
        run.folder / "projector.log",
        "service.cli.main",
        "projector",
        VITALS_BROKER=run.bootstrap,
        VITALS_APP_ID=run.topics.app_id,
        VITALS_TOPIC_PREFIX=run.topics.prefix,
        VITALS_REDIS=server.url,
    )


def _down(run: Run, server: EmbeddedRedis, _: RedisClient, seconds: float) -> None:
    server.kill()
    run.fault_ended(f"Redis is dead for {seconds:.0f} s")
    run.fleet.pass_time(seconds)
    server.start()
    run.history.note("Redis runs again, empty")


def _frozen(run: Run, _: EmbeddedRedis, redis: RedisClient, _seconds: float) -> None:
    pid = int(redis.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    run.fault_ended(f"Redis is frozen for {FROZEN_SECONDS:.0f} s")
    try:
        run.fleet.pass_time(FROZEN_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def _slow(run: Run, _: EmbeddedRedis, redis: RedisClient, _seconds: float) -> None:
    run.history.note(f"Redis answers {SLOW_ANSWER_MS} ms late for {SLOW_SECONDS:.0f} s")
    deadline = time.monotonic() + SLOW_SECONDS
    while time.monotonic() < deadline:
        redis.execute_command("CLIENT PAUSE", SLOW_ANSWER_MS, "ALL")
        run.fleet.pass_time(SLOW_ANSWER_MS / 1000)
    run.fault_ended("Redis answers at once again")


def _wiped(run: Run, _: EmbeddedRedis, redis: RedisClient, _seconds: float) -> None:
    redis.flushall()
    run.fault_ended("Redis is wiped")
    run.wait_for(lambda: bool(_told(redis)), WHOLE_SECONDS)  # the projector has begun another copy


def _wait_whole(run: Run, redis: RedisClient, projector: TestedProcess) -> None:
    """Wait until the copy is live: every partition was read to its end."""
    took = run.fleet.wait_until(lambda: _is_live(redis, projector), "the copy to be whole", WHOLE_SECONDS)
    run.history.note(f"the copy is whole after {took:.1f} s")


def _is_live(redis: RedisClient, projector: TestedProcess) -> bool:
    assert projector.process.poll() is None, f"the projector ended\n{projector.output()[-3000:]}"
    return _told(redis).get("live") == "1"


def _told(redis: RedisClient) -> dict[str, str]:
    try:
        return {name.decode(): value.decode() for name, value in redis.hgetall(BASE + "copy").items()}
    except RedisError:
        return {}


def _compare_copy(redis: RedisClient, projector: TestedProcess, observed: Observed) -> Iterable[Difference]:
    """Compare the copy's scores, and how many accounts its counts tell of, with the last scores in the topic."""
    due = observed.last_scores()
    scores = {account: orjson.loads(value)["data"] for account, value in due.items()}
    _wait(lambda: _scores(redis) == scores or projector.process.poll() is not None)
    found = _scores(redis)
    for account in sorted(scores.keys() | found.keys()):
        if scores.get(account) != found.get(account):
            yield Difference("copy", account, scores.get(account), found.get(account))
    counted, listed = _counted(redis), sum(score["stage"] != "churned" for score in scores.values())
    if counted != listed:
        yield Difference("copy", "accounts counted", listed, counted)


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WHOLE_SECONDS
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.3)


def _scores(redis: RedisClient) -> dict[str, Any]:
    prefix = Keys(BASE, _told(redis).get("epoch", "")).account("")
    found = {key.decode().removeprefix(prefix): key for key in redis.scan_iter(match=prefix + "*", count=1_000)}
    values = {account: redis.hget(key, "data") for account, key in found.items()}
    return {account: orjson.loads(unpack(value)) for account, value in values.items() if value is not None}


def _counted(redis: RedisClient) -> int:
    counts = redis.hgetall(Keys(BASE, _told(redis).get("epoch", "")).of("portfolio"))
    return sum(int(value) for field, value in counts.items() if field.endswith(b"|accounts"))
