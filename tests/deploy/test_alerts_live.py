"""Every alert fires in a real Prometheus when the real service is broken, and none while all is well.

The service is broken in `STATES`, one after the other, by faults alone: no metric is made up, and the rules are those
of deploy/, with seconds for minutes (`live_prometheus` says what else is shorter). In each state Prometheus is asked
until what must fire does. Alerts whose windows are long go on firing afterwards, so a state may find more of them than
its own, which is why only the first state asks that nothing else does.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from shutil import which
from typing import Final

import pytest

from tests.deploy.again import Again
from tests.deploy.dashboards import FOLDER
from tests.deploy.live_prometheus import LivePrometheus, scaled
from tests.deploy.live_service import LiveService
from tests.deploy.test_rules import ALERTS

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.live,
    pytest.mark.skipif(which("prometheus") is None, reason="no Prometheus: tests/deploy/tools.sh installs Debian's"),
]
WELL_SECONDS: Final = 20.0  # longer than every `for`; rates are judged before their windows are full
FIRES_SECONDS: Final = 60.0
BEHIND: Final = 'vitals_lag_records{topic="usage"}'
QUERIES: Final = [
    (path.stem, target["expr"])
    for path in sorted(FOLDER.glob("*.json"))
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
    for target in panel["targets"]
]


@contextmanager
def _cut(service: LiveService) -> Iterator[None]:
    """Cut the link while events are on their way in and scores on their way out, as a slow one lets us see."""
    service.slow_link(500_000)
    service.publish_big()
    with Again(service.publish_new, 1.0):
        service.wait_worker(lambda told: told.get(BEHIND, 0) > 100 and told["vitals_scores_waiting"] > 0)
    service.cut_link()
    service.publish_complaints(range(1, 14))
    yield
    service.mend_link()


@contextmanager
def _poison(service: LiveService) -> Iterator[None]:
    service.poisoned = True
    service.publish_complaints(range(14, 44))
    yield
    service.poisoned = False


@contextmanager
def _no_redis(service: LiveService) -> Iterator[None]:
    service.silent = True  # from now on
    service.redis.kill()
    yield
    service.redis.start()


@contextmanager
def _no_recovery(service: LiveService) -> Iterator[None]:
    """Start a worker behind a slow link, and cut that when it reads its state back."""
    service.slow_link(20_000)
    service.restart_worker()
    service.wait_worker(lambda told: told.get("vitals_recovering", 0) > 0)
    service.cut_link()
    yield
    service.mend_link()
    service.wait_worker(lambda told: told.get("vitals_recovering") == 0)


@contextmanager
def _no_worker(service: LiveService) -> Iterator[None]:
    service.worker.kill()
    yield


@dataclass(frozen=True, slots=True)
class State:
    """A way in which the service is broken, or was until now, and the alerts that must fire in it."""

    broken: Callable[[LiveService], AbstractContextManager[object]]
    alerts: frozenset[str]


STATES: Final = {
    "the link to the brokers is cut": State(
        _cut, frozenset({"VitalsLagTime", "VitalsNoProgress", "VitalsStaleScores"})
    ),
    "the link is whole again, all that waited is late": State(
        nullcontext, frozenset({"VitalsEventsScoredLate", "VitalsAlertsLate"})
    ),
    "much was late, records are no events, many accounts cross": State(
        _poison,
        frozenset(
            {"VitalsEventsScoredLateSlowly", "VitalsAlertsLateSlowly", "VitalsDeadLetterRatio", "VitalsAlertWave"}
        ),
    ),
    "Redis is gone, and nobody publishes any more": State(_no_redis, frozenset({"VitalsCopyBehind", "VitalsApiFails"})),
    "a new worker cannot read its state back, and still nobody publishes": State(
        _no_recovery, frozenset({"VitalsRecoveryTooLong", "VitalsNoInput"})
    ),
    "the worker is killed": State(_no_worker, frozenset({"VitalsNoWorker"})),
}
CUT, _, _, NO_REDIS, _, NO_WORKER = STATES
STATE_OF: Final = {alert: name for name, state in STATES.items() for alert in state.alerts}


@dataclass
class Story:
    """What Prometheus said."""

    while_well: set[str] = field(default_factory=set)
    values: dict[str, list[float]] = field(default_factory=dict)
    """By query of a dashboard, while all was well."""
    fired: dict[str, set[str]] = field(default_factory=dict)
    """By state."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Run the service, break it in every way, and keep what Prometheus said."""
    folder = tmp_path_factory.mktemp("live")
    service = LiveService(folder)
    with service.running():
        prometheus = LivePrometheus(folder / "prometheus", service.ports)
        try:
            prometheus.wait_scraping()
            return _told(service, prometheus)
        finally:
            prometheus.stop()


def _told(service: LiveService, prometheus: LivePrometheus) -> Story:
    story = Story()
    with service.asking(), service.publishing():
        _be_well(service, prometheus, story)
        for name, state in STATES.items():
            with state.broken(service):
                story.fired[name] = _wait_firing(prometheus, state.alerts)
    return story


def _be_well(service: LiveService, prometheus: LivePrometheus, story: Story) -> None:
    begin_seconds = time.time()
    story.while_well |= _fired_within(prometheus, WELL_SECONDS / 4)
    service.publish_complaints(range(1))  # one alert, after Prometheus knows of none
    story.while_well |= _fired_within(prometheus, WELL_SECONDS)
    for _, query in QUERIES:
        asked = scaled(query).replace("$__rate_interval", "5s")
        story.values[query] = prometheus.values(asked, begin_seconds)


def _fired_within(prometheus: LivePrometheus, seconds: float) -> set[str]:
    fired: set[str] = set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)
        fired |= prometheus.firing()
    return fired


def _wait_firing(prometheus: LivePrometheus, alerts: frozenset[str]) -> set[str]:
    """Return what fired until all of these did, or time ran out."""
    deadline = time.monotonic() + FIRES_SECONDS
    fired: set[str] = set()
    while not alerts <= fired and time.monotonic() < deadline:
        time.sleep(0.5)
        fired |= prometheus.firing()
    return fired


def test_every_alert_has_a_state() -> None:
    """No rule is left out."""
    assert set(STATE_OF) == set(ALERTS)


def test_nothing_fires_while_all_is_well(story: Story) -> None:
    """Not one alert, with events, alerts and requests coming in."""
    assert not story.while_well


@pytest.mark.parametrize("alert", STATE_OF)
def test_it_fires_when_the_service_is_broken(alert: str, story: Story) -> None:
    """Prometheus says so while the service is in the state that is the alert's."""
    assert alert in story.fired[STATE_OF[alert]]


@pytest.mark.parametrize(
    ("broken", "later"),
    [(CUT, NO_REDIS), (NO_REDIS, NO_WORKER)],
)
def test_it_ends_when_the_fault_does(broken: str, later: str, story: Story) -> None:
    """Of alerts whose windows are short, none of an earlier state fires in a later one."""
    assert not STATES[broken].alerts & story.fired[later]


@pytest.mark.parametrize(("uid", "query"), QUERIES)
def test_a_query_of_a_dashboard_has_data(uid: str, query: str, story: Story) -> None:
    """A number at one instant at least, while all was well."""
    assert any(map(math.isfinite, story.values[query]))
