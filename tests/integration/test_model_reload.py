"""Another model on a real broker: a changed file, SIGHUP, a refused file, two workers, a kill in the middle."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.codec import encode_input
from service.model.loader import load_model
from service.settings import Settings
from tests.conftest import Vitals
from tests.integration.kafka_tools import TestedProcess, produce
from tests.integration.test_worker import DAY_MS, READY, Deployment

pytestmark = pytest.mark.kafka
DEFAULT = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")


def stern() -> str:
    """Write a model that finds every account endangered, whatever it does."""
    document = yaml.safe_load(DEFAULT)
    for factor in document["factors"].values():
        factor["curve"] = [[x, 10] for x, _ in factor["curve"]]
    return yaml.safe_dump({**document, "version": "stern", "profiles": {}}, sort_keys=False)


def write_model(file: Path, text: str) -> str:
    """Put a model in the place of another, as a deployment tool does; return its version."""
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)
    return load_model(file).version


def logins(accounts: range, days: range, now_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """Write a login a day for each account, keyed."""
    for day in days:
        for number in accounts:
            account, time_ms = f"acct-{number}", now_ms - day * DAY_MS
            event = encode_input(
                "login",
                {"user": "ann"},
                event_id=f"{account}-{day}",
                source="test",
                account=account,
                time_ms=time_ms,
            )
            yield account.encode(), event


def owners(accounts: range) -> Iterator[tuple[bytes, bytes]]:
    """Give each account an owner, from now on."""
    now_ms = time.time_ns() // 1_000_000
    for account in (f"acct-{number}" for number in accounts):
        event_id = f"{account}-owner"
        yield (
            account.encode(),
            encode_input(
                "account_updated", {"owner": "eve"}, event_id=event_id, source="test", account=account, time_ms=now_ms
            ),
        )


class ModelDeployment(Deployment):
    """A deployment whose workers read one model file."""

    def __init__(self, settings: Settings, vitals: Vitals, folder: Path) -> None:
        super().__init__(settings, vitals, folder)
        self.file = folder / "model.yaml"
        self.folder = folder
        self.now_ms = time.time_ns() // 1_000_000

    def start_worker(self, name: str) -> TestedProcess:
        """Start a worker with a log of its own."""
        return TestedProcess(
            self.folder / f"{name}.log",
            "service.cli.main",
            "worker",
            VITALS_BROKER=self.bootstrap,
            VITALS_APP_ID=self.settings.app_id,
            VITALS_TOPIC_PREFIX=self.settings.topic_prefix,
            VITALS_SESSION_TIMEOUT_SECONDS="6",
            VITALS_MODEL=str(self.file),
        )

    def publish(self, accounts: range, days: range) -> None:
        """Publish a login a day of each account."""
        produce(self.bootstrap, f"{self.settings.topic_prefix}product-usage", logins(accounts, days, self.now_ms))

    def wait_versions(self, version: str, accounts: int, within_seconds: float = 90) -> dict[str, dict[str, Any]]:
        """Wait until the last score of so many accounts names a version; return all scores."""
        deadline = time.monotonic() + within_seconds
        while True:
            scores = self.scores()
            if sum(score["model_version"] == version for score in scores.values()) == accounts:
                return scores
            assert time.monotonic() < deadline, [score["model_version"] for score in scores.values()]
            time.sleep(0.5)


@pytest.fixture
def deployment(settings: Settings, vitals: Vitals, tmp_path: Path) -> ModelDeployment:
    """Make a deployment with its topics and a file with the packaged model."""
    made = ModelDeployment(settings, vitals, tmp_path)
    write_model(made.file, DEFAULT)
    return made


def wait_count(worker: TestedProcess, text: str, count: int, within_seconds: float = 60) -> None:
    """Wait until a worker logged a text so often."""
    deadline = time.monotonic() + within_seconds
    while worker.output().count(text) < count:
        assert worker.process.poll() is None, worker.output()[-3000:]
        assert time.monotonic() < deadline, worker.output()[-3000:]
        time.sleep(0.1)


def test_a_changed_file_scores_every_account_anew_and_a_refused_one_none(deployment: ModelDeployment) -> None:
    """Two workers follow the file: marked scores, no alert; an invalid file, also at SIGHUP, leaves the model."""
    old = load_model(deployment.file).version
    deployment.publish(range(40), range(70, 1, -1))
    with deployment.start_worker("one") as one, deployment.start_worker("two") as two:
        workers = (one, two)
        for worker in workers:
            worker.wait_for(READY)
        deployment.wait(one)
        before = deployment.wait_versions(old, 40)
        assert {score["band"] for score in before.values()} == {"healthy"}

        new = write_model(deployment.file, stern())
        for worker in workers:
            worker.wait_for(f"model {new} is in force, before it {old}")
        after = deployment.wait_versions(new, 40)
        assert {(score["band"], score["model_changed"]) for score in after.values()} == {("endangered", True)}
        assert all(score["score"] == pytest.approx(10) for score in after.values())

        deployment.file.write_text(stern().replace("dwell_days: 10", "dwell_days: -1"))
        for worker in workers:
            wait_count(worker, f"model {new} stays in force", 1)
            worker.process.send_signal(signal.SIGHUP)
            wait_count(worker, f"model {new} stays in force", 2)
            assert f"{deployment.file}:" in worker.output()
            assert "bands.dwell_days: must be >= 0 (got -1" in worker.output()

        produce(deployment.bootstrap, f"{deployment.settings.topic_prefix}accounts", owners(range(40)))
        deployment.wait(one)
        last = deployment.wait_versions(new, 40)
        assert {score["owner"] for score in last.values()} == {"eve"}
        assert not any(score["model_changed"] for score in last.values())

        assert write_model(deployment.file, DEFAULT) == old
        for worker in workers:
            worker.process.send_signal(signal.SIGHUP)
        healthy = deployment.wait_versions(old, 40)
        assert {(score["band"], score["model_changed"]) for score in healthy.values()} == {("healthy", True)}
        assert not deployment.alerts()
        assert [worker.terminate() for worker in workers] == [0, 0]


def test_a_kill_in_the_middle_leaves_no_account_behind(deployment: ModelDeployment) -> None:
    """Restarted, the worker scores the accounts that are left; each has one marked score of the new model, whole."""
    accounts = 6_000
    deployment.publish(range(accounts), range(1))
    old = load_model(deployment.file).version
    with deployment.start_worker("one") as worker:
        worker.wait_for(READY)
        deployment.wait(worker)
        deployment.wait_versions(old, accounts)
        new = write_model(deployment.file, stern())
        worker.wait_for(f"model {new} is in force")
        deadline = time.monotonic() + 60
        while not (changed := marked(deployment, new)):
            assert time.monotonic() < deadline
        worker.kill()
    assert 0 < len(changed) < accounts
    with deployment.start_worker("two") as worker:
        worker.wait_for(READY)
        scores = deployment.wait_versions(new, accounts)
        assert worker.terminate() == 0
    assert set(marked(deployment, new)) == set(scores)
    for score in scores.values():
        assert score["score"] == pytest.approx(10) == sum(factor["contribution"] for factor in score["factors"])
    assert not deployment.alerts()


def marked(deployment: ModelDeployment, version: str) -> list[str]:
    """Name the accounts whose last score of a version is marked as changed by the model."""
    return [
        account
        for account, score in deployment.scores().items()
        if score["model_version"] == version and score["model_changed"]
    ]
