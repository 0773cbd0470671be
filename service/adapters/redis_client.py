"""Opens a client of Redis, here and nowhere else: how long an answer may take, and its errors as ours.

Nothing is retried inside the client: its callers know what may be sent twice.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.errors import ConfigError, DependencyError

# redis-py's clients are generic in a way that its own annotations do not agree upon.
RedisClient: TypeAlias = Any

LEAST_VERSION: Final = (6, 2)
CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 5.0

# What a client raises when Redis is away, slow, loading or read-only. Timeouts of the system are OSErrors.
REDIS_FAILURES: Final = (RedisError, OSError)


@asynccontextmanager
async def open_redis(url: str, *, connections_max: int = 32) -> AsyncIterator[RedisClient]:
    """Open a client that answers in bytes; connects when it is used first."""
    pool = BlockingConnectionPool.from_url(
        url,
        timeout=CONNECT_SECONDS,  # for a connection to be free
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        max_connections=connections_max,
        retry=Retry(NoBackoff(), 0),
    )
    client = Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()


async def check_redis(client: RedisClient, url: str) -> str | None:
    """Raise an error for a server that does not answer or is too old; return a warning when it may throw keys away."""
    try:
        version = str((await client.info("server"))["redis_version"])
    except REDIS_FAILURES as error:
        raise DependencyError(
            f"no Redis answers at {hidden(url)} ({error}): see `vitals redis status`, or correct VITALS_REDIS"
        ) from error
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION:
        raise ConfigError(f"Redis at {hidden(url)} is {version}; 6.2 or newer is needed")
    try:
        policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy", "noeviction")
    except REDIS_FAILURES:
        return None  # managed servers refuse the question
    if policy == "noeviction":
        return None
    return f"Redis has maxmemory-policy {policy}: it may throw accounts away without a word; set it to noeviction"


def with_ca(url: str, ca: Path) -> str:
    """Return a rediss:// URL with the file of the certificates to trust, as the client takes it."""
    try:
        ssl.create_default_context(cafile=ca)
    except OSError as error:
        reason = "no such PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"VITALS_REDIS_CA: {ca} cannot be used: {reason}; see docs/security.md") from None
    return f"{url}{'&' if '?' in url else '?'}{urlencode({'ssl_ca_certs': ca})}"


def hidden(url: str) -> str:
    """Return a URL without its password and its options, which may name one too."""
    return re.sub(r"(?<=://).*@", "***@", url.partition("?")[0])
