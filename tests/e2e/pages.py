"""What tests of the page do in its pages: log in, open one that is live, press keys."""

from __future__ import annotations

from typing import Final

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser import Browser

LIVE: Final = "return document.getElementById('connection')?.dataset.state === 'live'"
FIRST_IS: Final = "return document.querySelector('#rows > tr > th a')?.innerText === arguments[0]"


def log_in(browser: Browser, key: str) -> None:
    """Type a key, and wait until the page is live."""
    field = browser.driver.find_element(By.ID, "key")
    field.send_keys(key, Keys.ENTER)
    browser.wait(LIVE)


def show(browser: Browser, url: str, path: str = "/") -> None:
    """Open a page and wait until it is live."""
    browser.driver.get(url + path)
    browser.wait(LIVE)


def press(browser: Browser, *keys: str) -> None:
    """Press keys, one after the other, wherever the focus is."""
    ActionChains(browser.driver).send_keys(*keys).perform()


def focused(browser: Browser) -> str:
    """Tell what has the focus."""
    return str(browser.run("return document.activeElement.innerText || document.activeElement.id"))
