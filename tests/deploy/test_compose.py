"""What `docker compose up` would run: every command line of the compose file, as plain processes on real servers."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from service.adapters.embedded_kafka import EmbeddedKafka, free_ports
from service.cli.health import ask
from tests.deploy.compose import own, services, start_order
from tests.integration.kafka_tools import TestedProcess

SHELL = ["sh", "-c"]
HEALTHY_SECONDS = 90
ONE_OFF = "no"  # the restart policy of what ends by itself


def test_images_are_pinned_and_ports_are_this_machines() -> None:
    """No image moves by itself, and nothing listens wider than loopback."""
    for name, service in services().items():
        assert re.fullmatch(r"[a-z/]+:v?\d+(\.\d+)+(-alpine)?", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_our_containers_may_do_nothing_that_they_need_not() -> None:
    """Read-only root, no capabilities, no new privileges, and time to stop in order."""
    for name, service in own().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["stop_grace_period"] == "60s", name
        assert "user" not in service, name  # the image's own, which has no rights


def test_services_start_in_an_order_that_works() -> None:
    """Each waits for what it needs: for health where there is a health check, for the end of what ends."""
    found = services()
    for name in start_order():
        for other, told in found[name].get("depends_on", {}).items():
            is_one_off = found[other]["restart"] == ONE_OFF
            has_check = not found[other].get("healthcheck", {"disable": True}).get("disable", False)
            due = "service_completed_successfully" if is_one_off else "service_healthy"
            assert told["condition"] in {due, "service_started"}, (name, other)
            assert is_one_off or has_check or told["condition"] == "service_started", (name, other)


def test_profiles_leave_the_default_small() -> None:
    """Without a profile, only what scoring, the copy and the page need runs."""
    default = {name for name, service in services().items() if not service.get("profiles")}
    assert default == {"kafka", "redis", "topics", "worker", "projector", "api"}


@dataclass
class Composed:
    """Runs services as processes; hosts, paths and ports of containers become those of the test."""

    folder: Path
    hosts: dict[str, str]
    port: int
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")
    metrics: dict[str, str] = field(default_factory=dict)

    def environment(self, name: str) -> dict[str, str]:
        """Give a service the variables of the compose file and the image."""
        self.metrics.setdefault(name, f"127.0.0.1:{free_ports(1)[0]}")
        given = {variable: self._here(value) for variable, value in own()[name]["environment"].items()}
        isolated = {"VITALS_TOPIC_PREFIX": f"{self.prefix}-", "VITALS_APP_ID": f"{self.prefix}-app"}
        own_prefix = {"VITALS_REDIS_PREFIX": f"{self.prefix}:", "VITALS_HOME": str(self.folder)}
        return {**given, **isolated, **own_prefix, "VITALS_METRICS": self.metrics[name]}

    def start(self, name: str) -> TestedProcess:
        """Start the service's command line."""
        arguments = [self._here(argument) for argument in own()[name]["command"]]
        if name == "api":
            arguments += ["--port", str(self.port)]
        log = self.folder / f"{name}.log"
        return TestedProcess(log, "service.cli.main", *arguments, **self.environment(name))

    def _here(self, text: str) -> str:
        for there, here in self.hosts.items():
            text = text.replace(there, here)
        return text


@pytest.fixture
def composed(broker: EmbeddedKafka, redis_url: str, tmp_path: Path) -> Composed:
    """Set up servers in the places of the compose file's own."""
    (tmp_path / "keys").mkdir()
    hosts = {
        "kafka:9092": broker.bootstrap,
        "redis://redis:6379/0": redis_url,
        "/var/lib/vitals/keys": str(tmp_path / "keys"),
        "0.0.0.0": "127.0.0.1",  # noqa: S104 - the compose file's; a test listens at loopback
    }
    return Composed(tmp_path, hosts, free_ports(1)[0])


@pytest.mark.kafka
@pytest.mark.slow
def test_every_command_line_runs(composed: Composed) -> None:
    """Topics, keys, worker, projector and API come up healthy in order, and what the demo publishes is on the page."""
    with contextlib.ExitStack() as running:
        keys = composed.start("keys")
        assert keys.process.wait(30) == 0, keys.output()
        key = keys.output().split()[-1]
        for name in [name for name in start_order() if name in own() and name not in {"keys", "demo"}]:
            process = running.enter_context(composed.start(name))
            if own()[name]["restart"] == ONE_OFF:
                assert process.process.wait(60) == 0, process.output()
            else:
                wait_healthy(composed, name, process)
        publish_demo(composed)
        assert 150 < wait_accounts(composed, key) <= 200  # a few of the simulated ones churn


def wait_healthy(composed: Composed, name: str, process: TestedProcess) -> None:
    """Run the service's health check until it succeeds."""
    assert own()[name]["healthcheck"]["test"] == ["CMD", "vitals", "health"]
    deadline = time.monotonic() + HEALTHY_SECONDS
    while (found := ask(composed.metrics[name], "/readyz")) != (True, []):
        assert process.process.poll() is None, process.output()[-3000:]
        assert time.monotonic() < deadline, (found, process.output()[-3000:])
        time.sleep(0.3)


def publish_demo(composed: Composed) -> None:
    """Run the shell line of the demo, its `vitals` being this interpreter's."""
    shell, line = own()["demo"]["entrypoint"][:2], own()["demo"]["entrypoint"][2]
    assert shell == SHELL
    line = line.replace("$$", "$").replace("vitals ", f"{sys.executable} -m service.cli.main ")
    done = subprocess.run(
        [*SHELL, line],
        env={"PATH": "/usr/bin:/bin", **composed.environment("demo")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def wait_accounts(composed: Composed, key: str) -> int:
    """Ask the API for the number of accounts until it stays the same for two seconds; churned ones do not count."""
    found = [-1]
    with httpx.Client(base_url=f"http://127.0.0.1:{composed.port}", headers={"Authorization": f"Bearer {key}"}) as api:
        while found[-1] <= 0 or found[-5:] != [found[-1]] * 5:
            found.append(api.get("/v1/portfolio").raise_for_status().json()["portfolio"]["accounts"])
            assert len(found) < 300, found[-10:]
            time.sleep(0.4)
    return found[-1]
