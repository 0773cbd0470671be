"""What the processes really expose: all of the catalogue and nothing else, true figures, and no account."""

from __future__ import annotations

import pytest

from service.metrics.catalogue import CATALOGUE, EVERY_ROLE, Role
from tests.deploy.conftest import Promtool
from tests.deploy.exposition_kit import ACCOUNTS, Scraped

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
# Absent while nothing waits.
OF_A_LAG = {"vitals_oldest_unapplied_timestamp_seconds"}


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_each_role_exposes_what_the_catalogue_says(role: Role, scraped: Scraped) -> None:
    """Name, kind, help and labels, of every metric of the role and of no other."""
    found = {name: family for name, family in scraped.families(role).items() if not name.startswith("process_")}
    expected = {metric.name: metric for metric in CATALOGUE if role in metric.roles}
    assert expected.keys() - OF_A_LAG == found.keys()
    for name, family in found.items():
        assert (family.type, family.documentation) == (expected[name].kind, expected[name].meaning)
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == {label.name for label in expected[name].labels}


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_no_account_is_told(role: Role, scraped: Scraped) -> None:
    """Neither as a label nor in a route, also when the API was asked for one that does not exist."""
    text = scraped.texts[role]
    assert not [account for account in (*ACCOUNTS, "globex", "initech", "nobody") if account in text]


def test_each_role_at_work_is_ready(scraped: Scraped) -> None:
    """Nothing keeps a worker, projector or API that is through with its work from being ready."""
    assert scraped.unready == {role: [] for role in EVERY_ROLE}


def test_the_worker_tells_what_came_of_the_events(scraped: Scraped) -> None:
    """By topic and outcome; alerts by kind; the age of each scored event once."""
    events = {
        outcome: scraped.value("worker", "vitals_events_total", outcome=outcome) for outcome in ("applied", "late")
    }
    assert events == {"applied": 3 * 51, "late": 0}
    assert scraped.value("worker", "vitals_events_total", topic="account") == 3
    assert scraped.value("worker", "vitals_event_age_seconds_count") == 3 * 51 + 2  # the bad and the doubled one too
    assert scraped.value("worker", "vitals_alerts_total", kind="endangered") == 3
    alerts = scraped.value("worker", "vitals_alerts_total")
    assert scraped.value("worker", "vitals_alert_latency_seconds_count") == alerts
    assert scraped.value("worker", "vitals_state_keys") == 3
    assert scraped.value("worker", "vitals_lag_seconds") == 0
    assert scraped.value("worker", "vitals_commit_duration_seconds_count") == scraped.value(
        "worker", "vitals_commits_total"
    )


def test_the_copy_and_the_portfolio_are_told(scraped: Scraped) -> None:
    """By whoever can read the copy; what was applied is told by the projector alone."""
    for role in ("projector", "api"):
        assert scraped.value(role, "vitals_accounts", band="endangered") == 3
        assert scraped.value(role, "vitals_mrr_minor_units", currency="EUR") == 3 * 90_000
    assert scraped.value("projector", "vitals_copied_records_total", kind="scores") >= 3
    assert scraped.value("projector", "vitals_copy_lag_records", kind="scores") == 0
    assert scraped.value("api", "vitals_copy_current_timestamp_seconds") > 1_700_000_000


def test_requests_are_told_by_route(scraped: Scraped) -> None:
    """The template of the route, whatever account was asked for; what has no route is one."""
    route = "/v1/accounts/{account}"
    statuses = {
        status: scraped.value("api", "vitals_http_requests_total", route=route, status=status)
        for status in ("200", "404")
    }
    assert statuses == {"200": 2, "404": 1}
    assert scraped.value("api", "vitals_http_requests_total", route="none", status="404") == 1
    assert scraped.value("api", "vitals_http_request_duration_seconds_count", route=route) == 3


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_prometheus_finds_nothing_to_complain_about(role: Role, scraped: Scraped, checker: Promtool) -> None:
    """Neither in the format nor in names, units and help texts."""
    checked = checker("check", "metrics", given=scraped.texts[role])
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_prometheus_would_complain(checker: Promtool) -> None:
    """The check above can fail: about a counter that is not named like one, and about a missing help text."""
    checked = checker("check", "metrics", given="# TYPE vitals_events counter\nvitals_events 1\n")
    assert checked.returncode != 0
    assert "no help text" in checked.stderr + checked.stdout
