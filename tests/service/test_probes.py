"""The probes beside the metrics, and the command that asks them, on a real server."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from service.adapters.embedded_kafka import free_ports
from service.cli.health import ask
from service.cli.main import build_cli
from service.metrics import in_loop
from service.metrics.exposition import serving
from service.metrics.probes import Health


@pytest.fixture
def address() -> str:
    """Find an address of this machine that nobody listens at."""
    return f"127.0.0.1:{free_ports(1)[0]}"


async def asked(address: str, path: str) -> tuple[bool, list[str]]:
    """Ask from a thread, as others do."""
    return await asyncio.to_thread(ask, address, path)


def test_a_process_is_live_before_it_is_ready(address: str) -> None:
    """While something is missing `/readyz` tells what, a reason a line; `/livez` does not mind."""
    asyncio.run(_become_ready(address))


async def _become_ready(address: str) -> None:
    health = Health()
    with serving(address, CollectorRegistry(), health):
        assert await asked(address, "/readyz") == (False, ["starting"])
        assert await asked(address, "/livez") == (True, [])
        health.unready = lambda: ("state is read back", "far behind")
        assert await asked(address, "/readyz") == (False, ["state is read back", "far behind"])
        health.unready = tuple
        assert await asked(address, "/readyz") == (True, [])
        assert await asked(address, "/metrics") == (True, [])
    assert (await asked(address, "/livez"))[0] is False


def test_a_loop_that_stands_still_is_not_live(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither probe says that all is well while the event loop does not get to answer."""
    monkeypatch.setattr(in_loop, "READ_SECONDS_MAX", 0.3)
    asyncio.run(_stand_still(address))


async def _stand_still(address: str) -> None:
    with serving(address, CollectorRegistry(), Health(tuple)):
        for path in ("/livez", "/readyz"):
            asking = asyncio.ensure_future(asked(address, path))
            await asyncio.sleep(0)  # until the thread asks
            time.sleep(0.8)  # noqa: ASYNC251 - the loop is to stand still
            assert await asking == (False, ["the event loop does not answer"])


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, address: str) -> CliRunner:
    """Make a command line whose settings name the address, where nobody answers."""
    monkeypatch.setenv("VITALS_METRICS", address)
    return CliRunner()


def test_the_command_says_that_nobody_answers(cli: CliRunner, address: str) -> None:
    """With exit code 1, for people and as JSON."""
    shown = cli.invoke(build_cli(), ["health"])
    assert shown.exit_code == 1
    assert shown.output.startswith(f"{address} does not answer: ")
    as_json = cli.invoke(build_cli(), ["health", "--live", "--json"])
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["live"] is False
