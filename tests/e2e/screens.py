"""`make screens`: a picture of each page, light and dark and on a phone, into docs/screens."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from service.adapters.embedded_redis import EmbeddedRedis
from service.api.keys import KeyRing, add_key
from tests.e2e.browser import Browser, open_browser, why_no_browser
from tests.e2e.sample import fill
from tests.service.api_kit import Served, serving

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "screens"
MOST_HEIGHT: Final = 1_500


def main() -> int:
    """Take all pictures; exit code 1 without a browser."""
    missing = why_no_browser()
    if missing:
        print(missing, file=sys.stderr)  # noqa: T201 - a command's own line
        return 1
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        key = add_key(keys, "dana", "read", None)
        redis = EmbeddedRedis(Path(folder))
        redis.start()
        try:
            with serving(redis.url, "screens:", keys=KeyRing(keys)) as served:
                served.change(fill)
                with open_browser(Path(folder) / "profile") as browser:
                    take_all(browser, served, key)
        finally:
            redis.stop()
    return 0


def take_all(browser: Browser, served: Served, key: str) -> None:
    """Walk from the login to the account that stands first."""
    take(browser, served.url + "/login", "login")
    browser.run("document.getElementById('key').value = arguments[0]; document.forms[0].requestSubmit()", key)
    browser.wait("return document.getElementById('connection')?.dataset.state === 'live'")
    first = browser.run("return document.querySelector('#rows th a').href")
    take(browser, served.url + "/", "portfolio")
    take(browser, served.url + "/alerts", "alerts")
    take(browser, str(first), "account")


def take(browser: Browser, url: str, name: str) -> None:
    """Take the pictures of one page."""
    for look, width, dark in (("light", 1280, False), ("dark", 1280, True), ("phone", 375, False)):
        browser.look(width=width, dark=dark)
        browser.driver.get(url)
        browser.wait("return (document.getElementById('connection')?.dataset.state ?? 'live') === 'live'")
        browser.picture(FOLDER / f"{name}-{look}.png", MOST_HEIGHT)


if __name__ == "__main__":
    sys.exit(main())
