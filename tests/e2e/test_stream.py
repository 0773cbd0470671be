"""The page over a lost connection: it says so, says how old the figures are, and misses nothing afterwards."""

from __future__ import annotations

import re
import time

import pytest

from tests.chaos.proxy import Weather
from tests.e2e.browser import Browser
from tests.e2e.conftest import Deployment, stand
from tests.e2e.pages import FIRST_IS, LIVE, log_in, show
from tests.service.copy_kit import alert

pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.slow, pytest.mark.usefixtures("no_complaint")]

LOST = "return document.getElementById('connection').dataset.state === 'lost'"
CUT_SECONDS = 60
SILENT_SECONDS = 35  # the page gives a silent stream 25 s
ACCOUNTS = 20  # in each half of the cut
REFUSED = ("ERR_", "htmx:sendError", "htmx:timeout")  # what a browser complains about meanwhile


def publish_late(deployment: Deployment, half: int) -> list[str]:
    """Publish scores of accounts above all others, and an alert of each; return their names, the first on top."""
    names = [f"Late-{half}-{number:02}" for number in range(ACCOUNTS)]
    revenue = 1_000 * (half + 1)
    deployment.publish_scores(*(stand(name, 1, revenue - number) for number, name in enumerate(names)))
    deployment.publish_alerts(*(alert(name, 1, time_ms=time.time_ns() // 1_000_000, name=name) for name in names))
    return names


def age_seconds(browser: Browser) -> int:
    """Read how old the page says that its figures are."""
    found = re.fullmatch(r"Data is (\d+) (s|min) old", browser.text("#age"))
    assert found, browser.text("#age")
    return int(found[1]) * (60 if found[2] == "min" else 1)


def shown_alerts(browser: Browser) -> list[str]:
    """List the accounts of the alerts on the page of alerts, as they stand there."""
    names = browser.run("return [...document.querySelectorAll('#alerts tbody th a')].map(a => a.innerText)")
    return [str(name) for name in names]


def test_a_minute_without_connection_loses_nothing(deployment: Deployment, browser: Browser) -> None:
    """First no byte passes and nobody tells, then connections are refused; scores and alerts arrive all the time.

    The page says that it is not live, and its age grows; when the connection is back every row and alert is there,
    without a reload.
    """
    deployment.publish_scores(stand("first", 1, 30))
    browser.look()
    browser.driver.get(deployment.url + "/")
    log_in(browser, deployment.key)
    browser.wait(FIRST_IS, "First")
    browser.run("window.untouched = true")
    began = time.monotonic()
    deployment.link.set(Weather(cut=True), 0)
    try:
        late = publish_late(deployment, 0)
        browser.wait(LOST, within_seconds=SILENT_SECONDS)
        assert re.match(r"Connection lost at .+ What you see is not live", browser.text("#connection"))
        assert browser.accounts() == ["First"]
        time.sleep(max(0.0, began + SILENT_SECONDS - time.monotonic()))
        silent_age_seconds = age_seconds(browser)
        deployment.cut()
        late = publish_late(deployment, 1) + late
        time.sleep(max(0.0, began + CUT_SECONDS - time.monotonic()))
        assert browser.run(LOST)
        assert browser.accounts() == ["First"]
        assert silent_age_seconds >= SILENT_SECONDS - 10  # it is said anew every second, from the copy's last beat on
        assert age_seconds(browser) >= CUT_SECONDS - 10
    finally:
        deployment.mend()
    browser.wait(LIVE)
    browser.wait(FIRST_IS, late[0])
    assert browser.accounts() == [*late, "First"]
    assert age_seconds(browser) < CUT_SECONDS / 2
    assert late[ACCOUNTS - 1] in browser.text("#changes")
    assert browser.run("return window.untouched") is True
    show(browser, deployment.url, "/alerts")
    assert sorted(shown_alerts(browser)) == sorted(late)
    deployment.publish_scores(stand("first", 2, 9_000))
    show(browser, deployment.url)
    browser.wait(FIRST_IS, "First")
    lines = browser.complaints()
    assert all(any(word in line for word in REFUSED) for line in lines), lines
