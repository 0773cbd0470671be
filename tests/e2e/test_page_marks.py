"""In a real browser: what people do is seen at once among the alerts, plots are drawn with their marks, filters stay.

What the browser complains about fails the test that caused it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from schemas.times import time_text
from tests.e2e.browser import Browser, eventually
from tests.e2e.conftest import Deployment, stand
from tests.e2e.pages import focused, log_in, press, show
from tests.service.copy_kit import DAY_MS, alert, score, taken

pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.slow, pytest.mark.usefixtures("no_complaint")]

STATE = "return document.querySelector(`#rows > tr:nth-child(${arguments[0]}) .state`)?.innerText"
STATES = "return [...document.querySelectorAll('#rows .state')].map(state => state.innerText).join()"
PICTURES = "return [...document.querySelectorAll('.canvas canvas')].map(canvas => canvas.toDataURL())"
# Takes one kind of mark after the other out of the plot, and gives the picture before and after each.
WITHOUT_MARKS = """
const done = arguments[0], pictures = [];
const frame = () => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
const take = () => pictures.push(document.querySelector('.canvas canvas').toDataURL());
(async () => {
  take();
  for (const mark of ['alerts', 'overrides', 'models']) {
    document.querySelectorAll('#history tbody tr').forEach(row => { row.dataset[mark] = 0; });
    dispatchEvent(new Event('resize'));
    await frame();
    take();
  }
  done(pictures);
})();
"""
HEARD_SECONDS = 10.0  # an open page asks again without any news after 15
DRAWN = "return document.querySelectorAll('.canvas canvas').length === arguments[0]"
PAGES = ("/", "/alerts", "/alerts?state=resolved", "/alerts?state=snoozed", "/account?id=first", "/account?id=second")


def now_ms() -> int:
    """Read the wall clock."""
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def filled(browser: Browser, deployment: Deployment) -> Deployment:
    """Publish accounts of two days, alerts, a band set by hand and another model, and log in."""
    yesterday = now_ms() - DAY_MS
    model = {"model_version": "3+0badcafe"}
    names = ("first", "second", "third")
    deployment.publish_scores(*(score(name, 1, time_ms=yesterday, band="healthy", score=85.0) for name in names))
    browser.look()
    browser.driver.get(deployment.url + "/")
    log_in(browser, deployment.key)
    browser.wait("return document.getElementById('band-healthy').innerText.includes('3')")  # so that it is a day
    deployment.publish_scores(*(stand(name, 2, mrr, **model) for name, mrr in (("first", 300), ("second", 200))))
    told = (("first", 1), ("second", 1), ("first", 2))
    deployment.publish_alerts(
        *(alert(name, seq, time_ms=now_ms() + at, name=name.title()) for at, (name, seq) in enumerate(told))
    )
    said = {"band": "at_risk", "reason": "champion left", "until": time_text(now_ms() + DAY_MS)}
    deployment.publish_actions(taken("first", 1, "override", time_ms=yesterday, **said))
    browser.wait("return document.querySelectorAll('#rows > tr').length === 2")
    return deployment


def test_somebody_acts_and_the_row_says_so(filled: Deployment, browser: Browser) -> None:
    """The same row, without a reload, lit up for a moment; a list of those in the old state loses it."""
    show(browser, filled.url, "/alerts")
    browser.wait(STATES + " === 'New,New,New'")
    browser.run("window.untouched = true; window.row = document.querySelector('#rows > tr:nth-child(2)').id")
    browser.wait("return performance.now() > 3000")  # what a page asks by itself when it was opened is over
    filled.publish_actions(taken("second", 1, "acknowledge", alert_seq=1, alert_state="acknowledged"))
    browser.wait(STATE + " === 'Acknowledged'", 2, within_seconds=HEARD_SECONDS)
    assert browser.run("return document.querySelector('#rows > tr:nth-child(2)').id === window.row")
    browser.wait("return [...document.querySelectorAll('#rows > tr.changed')].map(row => row.id).join() === window.row")
    assert browser.run("return window.untouched") is True
    show(browser, filled.url, "/alerts?state=acknowledged")
    filled.publish_actions(taken("second", 2, "resolve", alert_seq=1, alert_state="resolved"))
    browser.wait("return document.getElementById('empty')?.innerText.includes('passes these filters')")


def test_filters_stay_over_a_reload(filled: Deployment, browser: Browser) -> None:
    """Chosen by keyboard, they are in the address, and after a reload in the form and in force."""
    filled.publish_actions(taken("second", 2, "resolve", alert_seq=1, alert_state="resolved"))
    show(browser, filled.url, "/alerts")
    browser.run("document.querySelector('select[name=state]').focus()")
    press(browser, "Res")
    browser.wait(STATES + " === 'Resolved'")
    browser.driver.find_element(By.NAME, "owner").send_keys("dana", Keys.ENTER)
    browser.wait("return location.search.includes('owner=dana')")
    show(browser, filled.url, str(browser.run("return location.pathname + location.search")))
    assert browser.run("return document.querySelector('select[name=state]').value") == "resolved"
    assert browser.run("return document.querySelector('input[name=owner]').value") == "dana"
    assert browser.run(STATES) == "Resolved"


def test_alerts_are_walked_by_keyboard(filled: Deployment, browser: Browser) -> None:
    """As the worklist is: j and k, a refresh keeps the place, Enter opens the account."""
    show(browser, filled.url, "/alerts")
    press(browser, "j", "j", "/")
    assert focused(browser) == "Second"
    filled.publish_actions(taken("first", 2, "acknowledge", alert_seq=2, alert_state="acknowledged"))
    browser.wait(STATE + " === 'Acknowledged'", 1)
    assert focused(browser) == "Second"
    press(browser, Keys.ENTER)
    browser.wait("return location.search === '?id=second'")


def test_plots_are_drawn_and_a_band_can_be_left_out(filled: Deployment, browser: Browser) -> None:
    """By keyboard; it stays left out over refreshes, and nothing breaks when all are."""
    show(browser, filled.url)
    browser.wait(DRAWN, 2)
    before = browser.run(PICTURES)
    browser.run("document.getElementById('show-healthy').focus()")
    press(browser, Keys.SPACE)
    assert browser.run(PICTURES) != before
    filled.publish_scores(stand("second", 3, 250, model_version="3+0badcafe"))
    browser.wait("return document.querySelector('#mrr-at-risk').innerText.includes('550')")
    boxes = "return [...document.querySelectorAll('#bands-legend input')].map(box => box.checked)"
    assert browser.run(boxes) == [True, True, False, True]
    assert focused(browser) == "show-healthy"
    for box in ("show-endangered", "show-at_risk", "show-unknown"):
        browser.driver.find_element(By.ID, box).click()
    assert browser.run(boxes) == [False] * 4
    assert len(browser.run(PICTURES)) == 2


def test_the_marks_of_an_account_are_drawn(filled: Deployment, browser: Browser) -> None:
    """Each sign changes the picture; what it means is in the legend, when it was in the table."""
    words = ("band set to At risk by dana", "champion left", "alert: At risk", "another model: 3+0badcafe")

    def is_told() -> bool:
        show(browser, filled.url, "/account?id=first")
        browser.run("document.getElementById('history-table').open = true")
        return all(each in browser.text("#history") for each in words)

    eventually(is_told, "the history tells all marks")
    browser.wait(DRAWN, 1)

    def all_differ() -> bool:
        show(browser, filled.url, "/account?id=first")
        browser.wait(DRAWN, 1)
        return len(set(browser.driver.execute_async_script(WITHOUT_MARKS))) == 4

    # Again when the page, which asks for news by itself, has put the marks back meanwhile.
    eventually(all_differ, "the picture is another one without alerts, without bands set by hand, without models")
    assert browser.run("return document.querySelectorAll('#history-legend li').length") == 6


@pytest.fixture
def looks(browser: Browser) -> Iterator[Browser]:
    """Give the window back as it was."""
    yield browser
    browser.look()


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("dark", [False, True])
def test_nobody_is_shut_out(filled: Deployment, looks: Browser, width: int, dark: bool) -> None:
    """By axe, with every fold open: plots, legends, tables and states; nothing is cut off at the side."""
    looks.look(width=width, dark=dark)
    for path in PAGES:
        show(looks, filled.url, path)
        looks.run("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        assert looks.barriers() == [], path
        assert looks.run("return document.documentElement.scrollWidth <= innerWidth"), path
