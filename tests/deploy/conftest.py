"""What the tests of the deployment share: one scrape of every process, and Prometheus' checker."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from service.adapters.embedded_kafka import EmbeddedKafka
from tests.deploy.exposition_kit import Scraped, scrape_all
from tests.deploy.promtool import has_promtool, run_promtool

Promtool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def scraped(broker: EmbeddedKafka, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    """Scrape all processes once."""
    return scrape_all(broker.bootstrap, redis_url, tmp_path_factory.mktemp("scraped"))


@pytest.fixture(scope="session")
def checker() -> Promtool:
    """Run Prometheus' checker; skips where it cannot be had."""
    if not has_promtool():
        pytest.skip("no promtool here: tests/deploy/tools.sh installs Debian's")
    return run_promtool
