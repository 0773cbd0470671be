"""The page in a real browser: a record on a topic moves a row, everybody can use it.

What the browser complains about (scripts, policy, loading) fails the test that caused it.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser import Browser
from tests.e2e.conftest import Deployment, stand
from tests.e2e.pages import FIRST_IS, LIVE, focused, log_in, press, show
from tests.service.copy_kit import alert
from tests.service.test_page_hostile import CORPUS, named, told

pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.slow, pytest.mark.usefixtures("no_complaint")]

PAGES = (
    "/login",
    "/",
    "/?show=all&search=nobody",
    "/alerts",
    "/alerts?band=healthy",
    "/alerts?state=new&tier=none&owner=dana",
    "/system",
    "/account?id=first",
    "/account?id=nobody",
)
PLACES = ("first", "second", "third")


@pytest.fixture(scope="module")
def filled(browser: Browser, deployment: Deployment) -> Deployment:
    """Publish three accounts and an alert, and log in."""
    deployment.publish_scores(*(stand(name, 1, 30 - number) for number, name in enumerate(PLACES)))
    deployment.publish_alerts(alert("first", 1, time_ms=time.time_ns() // 1_000_000, name="First"))
    browser.look()
    browser.driver.get(deployment.url + "/")
    log_in(browser, deployment.key)
    return deployment


def test_a_wrong_key_is_told_and_a_good_one_opens(filled: Deployment, browser: Browser) -> None:
    """Logging out ends it; the reader comes back to where they wanted to be."""
    show(browser, filled.url)
    browser.driver.find_element(By.CSS_SELECTOR, ".who button").click()
    browser.wait("return location.pathname === '/login'")
    browser.driver.get(filled.url + "/account?id=second")
    browser.driver.find_element(By.ID, "key").send_keys("vitals_wrong", Keys.ENTER)
    browser.wait("return document.getElementById('wrong') !== null")
    lines = browser.complaints()
    assert all("401" in line for line in lines), lines  # the browser tells of every refused page
    log_in(browser, filled.key)
    assert browser.text("h1") == "Second"
    assert browser.run("return document.cookie") == ""


def test_a_record_moves_its_row(filled: Deployment, browser: Browser) -> None:
    """What is published on the topic is on the page a moment later, sums included, without a reload."""
    show(browser, filled.url)
    browser.run("window.untouched = true")
    assert browser.accounts()[:3] == ["First", "Second", "Third"]
    before = browser.text("#mrr-at-risk")
    filled.publish_scores(stand("third", 2, 900, score=31.0, band="endangered"))
    browser.wait(FIRST_IS, "Third")
    assert "31.0" in browser.text("#rows > tr")
    assert "Endangered" in browser.text("#rows > tr")
    assert browser.text("#mrr-at-risk") != before
    filled.publish_alerts(alert("third", 1, time_ms=time.time_ns() // 1_000_000, kind="endangered", name="Third"))
    browser.wait("return document.querySelector('#changes')?.innerText.includes('Third')")
    filled.publish_scores(stand("third", 3, 1))
    browser.wait(FIRST_IS, "First")
    assert browser.run("return window.untouched") is True


def test_an_account_that_recovers_leaves_the_worklist(filled: Deployment, browser: Browser) -> None:
    """And its own page, open meanwhile, follows."""
    show(browser, filled.url, "/account?id=second")
    filled.publish_scores(stand("second", 2, 29, band="healthy", score=91.0))
    browser.wait("return document.querySelector('.total')?.innerText.includes('91.0')")
    show(browser, filled.url)
    assert "Second" not in browser.accounts()
    filled.publish_scores(stand("second", 3, 29))
    browser.wait("return document.querySelector('#rows').innerText.includes('Second')")


def test_an_alert_appears_among_all(filled: Deployment, browser: Browser) -> None:
    """On top, without a reload; a filter hides the others and keeps the page live."""
    show(browser, filled.url, "/alerts")
    browser.run("window.untouched = true")
    first = "return document.querySelector('#alerts tbody th a')?.innerText === arguments[0]"
    filled.publish_alerts(alert("second", 1, time_ms=time.time_ns() // 1_000_000, name="Second", previous_score=77.5))
    browser.wait(first, "Second")
    assert "77.5" in browser.text("#alerts tbody tr")
    browser.run("document.querySelector('select[name=kind]').focus()")
    press(browser, "Rec")
    browser.wait("return document.getElementById('empty')?.innerText.includes('passes these filters')")
    assert "kind=recovered" in str(browser.run("return location.search"))
    filled.publish_alerts(alert("third", 2, time_ms=time.time_ns() // 1_000_000, name="Third", kind="recovered"))
    browser.wait(first, "Third")
    assert browser.run("return window.untouched") is True
    assert browser.run("return document.querySelectorAll('#alerts tbody tr').length") == 1


def test_it_works_by_keyboard(filled: Deployment, browser: Browser) -> None:
    """Keys j and k walk the rows, Enter opens, the slash searches; a refresh takes no focus away."""
    show(browser, filled.url)
    press(browser, "j")
    assert focused(browser) == "First"
    press(browser, "j", "j", "k")
    assert focused(browser) == "Second"
    filled.publish_scores(stand("third", 4, 500))
    browser.wait(FIRST_IS, "Third")
    assert focused(browser) == "Second"
    press(browser, Keys.ENTER)
    browser.wait("return location.search === '?id=second'")
    show(browser, filled.url)
    press(browser, "/")
    assert focused(browser) == "search"
    press(browser, "fir")
    browser.wait("return document.querySelectorAll('#rows > tr').length === 1")
    assert "search=fir" in str(browser.run("return location.search"))
    press(browser, Keys.ESCAPE)
    assert focused(browser) != "search"
    filled.publish_scores(stand("third", 5, 1))


def test_hostile_names_do_nothing(filled: Deployment, browser: Browser) -> None:
    """In lists and on pages of their own: no script runs, no policy is touched, nothing is asked elsewhere."""
    accounts = [word for word in CORPUS if len(word.encode()) <= 256]
    filled.publish_scores(*(stand(word, 1, 5, **named(word) | {"owner": "hostile"}) for word in accounts))
    filled.publish_alerts(*(alert(word, 1, time_ms=time.time_ns() // 1_000_000, **told(word)) for word in accounts))
    show(browser, filled.url, "/?show=all&owner=hostile")
    browser.wait("return document.querySelectorAll('#rows > tr').length === arguments[0]", len(accounts))
    links = browser.run("return [...document.querySelectorAll('#rows th a')].map(a => a.href)")
    for link in links:
        browser.driver.get(link)
        assert browser.run("return document.querySelector('h1') !== null && document.querySelector('.total') !== null")
    asked = browser.run("return performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)")
    assert set(asked) <= {filled.url}


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("dark", [False, True])
def test_nobody_is_shut_out(filled: Deployment, browser: Browser, width: int, dark: bool) -> None:
    """By axe: no barrier on any page, light or dark, wide or on a phone; nothing is cut off at the side."""
    browser.look(width=width, dark=dark)
    for path in PAGES:
        browser.driver.get(filled.url + path)
        if "nobody" not in path and path != "/login":
            browser.wait(LIVE)
        assert browser.barriers() == [], path
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), path
    lines = browser.complaints()
    assert all("404" in line for line in lines), lines  # of the account that does not exist
    browser.look()


def test_it_prints(filled: Deployment, browser: Browser) -> None:
    """What is for the screen alone is left out; the worklist is there."""
    show(browser, filled.url)
    browser.tell("Emulation.setEmulatedMedia", media="print")
    try:
        hidden = "return getComputedStyle(document.querySelector(arguments[0])).display === 'none'"
        assert all(browser.run(hidden, selector) for selector in (".filters", ".status", "footer"))
        assert not browser.run(hidden, ".worklist")
    finally:
        browser.tell("Emulation.setEmulatedMedia", media="")


def test_axe_finds_what_is_wrong(filled: Deployment, browser: Browser, tmp_path: Path) -> None:
    """A page with a field that has no name is not passed: the tool works, and its file is read."""
    show(browser, filled.url)
    browser.run("document.querySelector('main').append(document.createElement('input'))")
    assert any(barrier.startswith("label") for barrier in browser.barriers())
