"""What people do on the page, in a real browser and with a real worker: forms answer in place, and the page follows.

Revenue and paid invoices make an account healthy; failed payments put it at risk. Each test has accounts of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from selenium.webdriver.common.by import By

from service.adapters.embedded_kafka import EmbeddedKafka
from tests.e2e.browser import Browser
from tests.e2e.conftest import Deployment
from tests.e2e.pages import FIRST_IS, LIVE, log_in, show
from tests.integration.kafka_tools import read_topic

pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.slow, pytest.mark.usefixtures("no_complaint")]

TOLD = "return document.querySelector('#act-' + arguments[0] + ' .told')?.dataset.state === arguments[1]"
CONTAINS = "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])"
STATE = "#alerts td[data-label=State]"


@pytest.fixture(scope="module")
def page(working: Deployment, browser: Browser) -> Deployment:
    """Log in."""
    browser.look()
    browser.driver.get(working.url + "/")
    log_in(browser, working.key)
    return working


def start_account(deployment: Deployment, account: str) -> None:
    """Publish what makes an account healthy."""
    deployment.publish_event(account, "account_updated", {"name": account.title(), "owner": "dana"})
    deployment.publish_event(account, "subscription_changed", {"mrr_minor": 10_000, "currency": "EUR"})
    deployment.publish_event(account, "invoice_paid", {"invoice": f"{account}-0"})


def fail_payments(deployment: Deployment, account: str, count: int = 1) -> None:
    """Publish that payments failed: one puts a healthy account at risk, a second one lower."""
    for number in range(1, count + 1):
        deployment.publish_event(account, "payment_failed", {"invoice": f"{account}-{number}"})


def show_account(browser: Browser, deployment: Deployment, account: str) -> None:
    """Open the page of an account once it is there."""
    show(browser, deployment.url, "/?show=all")
    browser.wait(CONTAINS, "#rows", account.title())
    show(browser, deployment.url, f"/account?id={account}")
    browser.run("window.untouched = true")


def type_in(browser: Browser, field: str, text: str) -> None:
    """Type into a field of a form."""
    browser.driver.find_element(By.ID, field).send_keys(text)


def set_field(browser: Browser, field: str, value: str) -> None:
    """Give a field a value that typing reaches in other ways on other machines, as days and times."""
    browser.run("document.getElementById(arguments[0]).value = arguments[1]", field, value)


def value_of(browser: Browser, field: str) -> str:
    """Read what stands in a field."""
    return str(browser.run("return document.getElementById(arguments[0]).value", field))


def press_button(browser: Browser, button: str) -> None:
    """Press a button of a form."""
    browser.driver.find_element(By.ID, button).click()


def follow(browser: Browser, link: str) -> None:
    """Follow a link where the page may be refreshed at any moment."""
    browser.run("document.querySelector(arguments[0]).click()", link)


def hours_from_now(hours: int) -> str:
    """Write a time as a field of days and times has it."""
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M")


def taken(deployment: Deployment, account: str) -> list[tuple[str, str | None]]:
    """List the actions of an account that the audit has, with their notes."""
    audit = [orjson.loads(record.value)["data"] for record in read_topic(deployment.bootstrap, deployment.names.audit)]
    return [(entry["action"], entry["note"]) for entry in audit if entry["account"] == account]


def test_the_whole_way_of_an_event(page: Deployment, browser: Browser) -> None:
    """A failed payment moves its account's row, the alert appears, it is acknowledged there, and its state is told."""
    start_account(page, "north")
    start_account(page, "south")
    fail_payments(page, "north")
    show(browser, page.url, "/?show=all&sort=risk")
    browser.wait(FIRST_IS, "North")
    browser.wait(CONTAINS, "#rows > tr:nth-child(2)", "South")
    browser.wait(CONTAINS, "#rows > tr:nth-child(2)", "Healthy")
    browser.run("window.untouched = true")
    fail_payments(page, "south", 2)
    browser.wait(FIRST_IS, "South")
    browser.wait(CONTAINS, "#rows > tr", "At risk")
    assert browser.accounts() == ["South", "North"]
    browser.wait(CONTAINS, "#changes", "South")
    assert browser.run("return window.untouched") is True

    follow(browser, "#rows > tr > th a")
    browser.wait(LIVE)
    browser.wait(CONTAINS, STATE, "New")
    follow(browser, f"{STATE} a")
    browser.wait("return location.hash === '#act'")
    browser.wait(LIVE)
    browser.run("window.untouched = true")
    press_button(browser, "act-alert-do-acknowledge")
    browser.wait(TOLD, "alert", "applied")
    browser.wait(CONTAINS, STATE, "Acknowledged")
    assert browser.run("return window.untouched") is True
    assert taken(page, "south") == [("acknowledge", None)]


def test_a_band_set_by_hand_is_on_the_page_and_in_the_worklist(page: Deployment, browser: Browser) -> None:
    """With its reason and its end; the form is empty again, and a note is taken beside it."""
    start_account(page, "west")
    show_account(browser, page, "west")
    browser.driver.find_element(By.CSS_SELECTOR, "#act-override-band option[value=endangered]").click()
    type_in(browser, "act-override-reason", "champion left")
    until = hours_from_now(9)
    set_field(browser, "act-override-until", until)
    press_button(browser, "act-override-do-override")
    browser.wait(TOLD, "override", "applied")
    assert (value_of(browser, "act-override-reason"), value_of(browser, "act-override-until")) == ("", "")
    browser.wait(CONTAINS, "#live", f"{until[-5:]} UTC: champion left")
    assert "Endangered" in browser.text(".total")
    type_in(browser, "act-note-note", "called her, she is away until Monday")
    press_button(browser, "act-note-do-note")
    browser.wait(TOLD, "note", "applied")
    assert browser.run("return window.untouched") is True
    assert taken(page, "west")[1] == ("note", "called her, she is away until Monday")
    show(browser, page.url, "/?show=endangered")
    browser.wait(CONTAINS, "#rows", "West")


def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(page: Deployment, browser: Browser) -> None:
    """A year of five digits and a tab pass a browser and not us: nothing is sent, and once mended it is taken."""
    start_account(page, "east")
    show_account(browser, page, "east")
    type_in(browser, "act-override-reason", "champion left")
    set_field(browser, "act-override-until", "12030-01-01T10:00")
    press_button(browser, "act-override-do-override")
    browser.wait(CONTAINS, "#act-override-until-fault", "Choose a day and a time, in UTC.")
    assert browser.run("return document.getElementById('act-override-until').ariaInvalid") == "true"
    assert value_of(browser, "act-override-reason") == "champion left"
    assert value_of(browser, "act-override-until") == "12030-01-01T10:00"
    assert browser.run("return document.getElementById('trouble').hidden") is True
    set_field(browser, "act-note-note", "one\ttwo")
    press_button(browser, "act-note-do-note")
    browser.wait(CONTAINS, "#act-note-note-fault", "Write one line")
    assert value_of(browser, "act-note-note") == "one\ttwo"
    assert value_of(browser, "act-override-reason") == "champion left"
    set_field(browser, "act-override-until", hours_from_now(9))
    press_button(browser, "act-override-do-override")
    browser.wait(TOLD, "override", "applied")
    assert browser.run("return document.querySelector('#act-override .fault') === null")
    assert browser.run("return window.untouched") is True
    assert [action for action, _ in taken(page, "east")] == ["override"]
    lines = browser.complaints()
    assert all("422" in line for line in lines), lines  # the browser tells of every refused form


def test_without_brokers_nothing_typed_is_lost(page: Deployment, browser: Browser, broker: EmbeddedKafka) -> None:
    """The form says that they do not answer; sent again when they do, it is applied, once."""
    start_account(page, "hill")
    show_account(browser, page, "hill")
    type_in(browser, "act-note-note", "first")
    press_button(browser, "act-note-do-note")
    browser.wait(TOLD, "note", "applied")  # the API's way to the brokers is open
    type_in(browser, "act-note-note", "they want a call")
    type_in(browser, "act-snooze-note", "on holiday")
    broker.kill(0)
    try:
        press_button(browser, "act-note-do-note")
        browser.wait(CONTAINS, "#act-note [role=alert]", "the brokers do not answer")
        assert value_of(browser, "act-note-note") == "they want a call"
        assert value_of(browser, "act-snooze-note") == "on holiday"
        press_button(browser, "act-note-do-note")
        browser.wait("return !document.querySelector('#act-note.htmx-request')")
        assert "the brokers do not answer" in browser.text("#act-note [role=alert]")
        assert value_of(browser, "act-note-note") == "they want a call"
    finally:
        broker.restart(0)
    press_button(browser, "act-note-do-note")
    browser.wait(TOLD, "note", "applied")
    assert browser.run("return window.untouched") is True
    assert taken(page, "hill") == [("note", "first"), ("note", "they want a call")]
    lines = browser.complaints()
    assert all("503" in line for line in lines), lines


def test_without_a_connection_the_form_says_so(page: Deployment, browser: Browser) -> None:
    """In its own place, as the reader may not see the top of the page; nothing typed is lost, and it counts once."""
    start_account(page, "lake")
    show_account(browser, page, "lake")
    type_in(browser, "act-note-note", "they want a call")
    page.cut()
    try:
        press_button(browser, "act-note-do-note")
        browser.wait(CONTAINS, "#act-note [role=alert]", "The server does not answer")
        assert value_of(browser, "act-note-note") == "they want a call"
    finally:
        page.mend()
    browser.wait(LIVE)
    press_button(browser, "act-note-do-note")
    browser.wait(TOLD, "note", "applied")
    assert browser.run("return window.untouched") is True
    assert taken(page, "lake") == [("note", "they want a call")]
    lines = browser.complaints()
    assert all("ERR_" in line or "htmx:sendError" in line for line in lines), lines
