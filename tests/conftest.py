"""What tests share: one embedded broker for the whole run, and names that keep tests apart on it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.embedded_redis import EmbeddedRedis
from service.settings import Settings, load_settings

Vitals = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run one embedded broker on a free port until the last test is done."""
    kafka = EmbeddedKafka(tmp_path_factory.mktemp("broker"), port=0)
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one embedded Redis until the last test is done; tests keep apart by key prefixes."""
    redis = EmbeddedRedis(tmp_path_factory.mktemp("r"))
    redis.start()
    try:
        yield redis.url
    finally:
        redis.stop()


@pytest.fixture
def topic_prefix() -> str:
    """Make a topic prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}-"


@pytest.fixture
def settings(broker: EmbeddedKafka, topic_prefix: str, tmp_path: Path) -> Settings:
    """Make settings of a deployment of this test's own on the shared broker."""
    return load_settings(
        broker=broker.bootstrap, app_id=f"{topic_prefix}app", topic_prefix=topic_prefix, home=tmp_path / "home"
    )


@pytest.fixture
def vitals() -> Vitals:
    """Run the command line in a process of its own: `vitals("topics", "plan", VITALS_BROKER=...)`."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VITALS_")}
        return subprocess.run(
            [sys.executable, "-m", "service.cli.main", *arguments],
            env={**inherited, "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
