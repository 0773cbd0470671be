"""The runbooks of docs/operations, followed by the letter: what they say to type exists, and does what they promise."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from service.adapters.embedded_kafka import EmbeddedKafka
from service.cli.main import build_cli
from service.settings import Settings, load_settings
from tests.chaos.admin import delete_topics
from tests.conftest import Vitals
from tests.integration.test_worker import Deployment

PAGES = sorted((Path(__file__).parents[2] / "docs" / "operations").glob("*.md"))
WORDS = re.compile(r"^(?:[A-Z_]+=\S+ )*(?:docker compose run --rm )?vitals (.*?)(?: *#.*)?$")
FIRST, SECOND = "2025-01-01", "2025-05-01"  # the second four months begin when the first end
EVENT_CLOCK = ("--clock", "event")


def commands() -> list[tuple[str, str]]:
    """Find every `vitals` command of a block of commands, with its page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:console|bash)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = (WORDS.match(line.split(" | ")[-1]) for line in block.splitlines())
            found += [(page.name, line[1]) for line in lines if line]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_of_a_runbook_exists(page: str, line: str) -> None:
    """With its arguments and options; nothing is run."""
    words = shlex.split(line)
    command: Any = typer.main.get_command(build_cli())
    context = click.Context(command, info_name="vitals")
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        assert command is not None, (page, line)
        context = click.Context(command, info_name=name, parent=context)
    command.parse_args(context, words)


@pytest.fixture
def scored(settings: Settings, vitals: Vitals, tmp_path: Path) -> Deployment:
    """Make a deployment with its topics."""
    return Deployment(settings, vitals, tmp_path)


def publish_simulated(deployment: Deployment, start: str) -> None:
    """Publish four months of a company, as a user does."""
    events = deployment.log.with_name(f"events-{start}.ndjson")
    size = ("--accounts", "40", "--days", "120", "--seed", "1", "--start", start)
    made = deployment.run("simulate", *size, "--out", str(events))
    assert made.returncode == 0, made.stderr
    published = deployment.run("publish", str(events))
    assert published.returncode == 0, published.stderr


def score_all(deployment: Deployment) -> None:
    """Run a worker until everything is committed."""
    worker = deployment.start(*EVENT_CLOCK)
    deployment.wait(worker)
    assert worker.terminate(30) == 0


def last_scores(deployment: Deployment) -> dict[str, tuple[int, str, float]]:
    """Return every account's change number, band and score; when it was last told is a matter of flushes."""
    return {account: (told["seq"], told["band"], told["score"]) for account, told in deployment.scores().items()}


def alert_ids(deployment: Deployment) -> set[str]:
    """Return the keys of all alerts, by account and number."""
    return {f"{alert['account']}/{alert['seq']}" for alert in deployment.alerts()}


@pytest.mark.kafka
@pytest.mark.slow
def test_a_lost_changelog_is_made_again_from_the_inputs(scored: Deployment) -> None:
    """The worker refuses; after `vitals topics seek --execute` it comes to the same scores, with the same alerts."""
    publish_simulated(scored, FIRST)
    score_all(scored)
    scores, alerts, states = last_scores(scored), alert_ids(scored), set(scored.states())
    assert len(scores) == 40
    assert len(alerts) > 10
    delete_topics(scored.bootstrap, [scored.names.changelog])
    refused = scored.run("worker", *EVENT_CLOCK)
    assert refused.returncode == 1
    assert "the state was deleted" in refused.stderr
    shown = scored.run("topics", "seek")
    assert shown.returncode == 0, shown.stderr
    assert scored.run("topics", "seek", "--execute").returncode == 0
    score_all(scored)
    assert last_scores(scored) == scores
    assert alert_ids(scored) == alerts
    assert set(scored.states()) == states


@pytest.mark.kafka
@pytest.mark.slow
def test_a_backup_of_the_embedded_broker_goes_on_where_it_ended(vitals: Vitals, tmp_path: Path) -> None:
    """A copy of the stopped broker's folder has states, alerts and offsets; what came after it is published anew."""
    home, backup = tmp_path / ".vitals", tmp_path / "vitals-backup"
    assert vitals("kafka", "up", "--port", "0", VITALS_HOME=str(home)).returncode == 0
    try:
        deployment = _deployment(vitals, home, tmp_path)
        publish_simulated(deployment, FIRST)
        score_all(deployment)
        before = alert_ids(deployment)
        assert vitals("kafka", "down", VITALS_HOME=str(home)).returncode == 0
        shutil.copytree(home, backup, symlinks=True)
        assert vitals("kafka", "up", VITALS_HOME=str(home)).returncode == 0
        publish_simulated(deployment, SECOND)
        score_all(deployment)
        scores, alerts = last_scores(deployment), alert_ids(deployment)
        assert vitals("kafka", "down", VITALS_HOME=str(home)).returncode == 0
        shutil.rmtree(home)
        backup.rename(home)
        assert vitals("kafka", "up", VITALS_HOME=str(home)).returncode == 0
        assert alert_ids(deployment) == before
        publish_simulated(deployment, SECOND)
        score_all(deployment)
        assert last_scores(deployment) == scores
        assert alert_ids(deployment) == alerts > before
    finally:
        vitals("kafka", "down", VITALS_HOME=str(home))


def _deployment(vitals: Vitals, home: Path, folder: Path) -> Deployment:
    settings: Settings = load_settings(broker=EmbeddedKafka(home).bootstrap, app_id="moved", home=home)
    return Deployment(settings, vitals, folder)
