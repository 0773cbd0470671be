"""A real headless Chromium for tests: it tells what it complained about, and can be told to be dark or small.

Debian's browser and driver are used as they are installed; nothing is fetched from here.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

AXE: Final = Path(__file__).with_name("vendor") / "axe.min.js"
RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
WAIT_SECONDS: Final = 60.0
# What htmx logs of a request given up for a newer one, or as the page was left. Failures have other names.
GIVEN_UP: Final = ("htmx:afterRequest", "htmx:sendAbort")


def why_no_browser() -> str | None:
    """Say what is missing for tests with a browser; None when they can run."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} is not installed: `make e2e` as root installs it" if missing else None


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Choose the window's size, and light or dark."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])

    def tell(self, command: str, **parameters: Any) -> Any:
        """Send a command of the developer tools."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any, within_seconds: float = WAIT_SECONDS) -> Any:
        """Wait until a script returns something true."""
        return eventually(lambda: self.run(script, *arguments), script, within_seconds)

    def text(self, selector: str) -> str:
        """Read the text of an element; empty when there is none."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def accounts(self) -> list[str]:
        """List the accounts of the worklist by the names that are shown."""
        names = self.run("return [...document.querySelectorAll('#rows > tr > th a')].map(a => a.innerText)")
        return [str(name) for name in names]

    def complaints(self) -> list[str]:
        """Take what the browser complained about since the last time: errors of scripts, of policies, of loading."""
        found = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        lines = [str(entry["message"]) for entry in found if entry["level"] in {"SEVERE", "WARNING"}]
        return [line for line in lines if not any(f'"{event},' in line for event in GIVEN_UP)]

    def barriers(self) -> list[str]:
        """List what axe finds wrong in the page as it stands."""
        if not self.run("return 'axe' in window"):
            self.run(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[1];"
            "axe.run(document, {runOnly: {type: 'tag', values: arguments[0]}}).then(found => done(found.violations));",
            RULES,
        )
        return [
            f"{fault['id']}: {json.dumps(node['target'])} {node['failureSummary']}"
            for fault in found
            for node in fault["nodes"]
        ]

    def picture(self, path: Path, height: int | None = None) -> None:
        """Save what the page looks like, down to a height."""
        full = int(self.run("return document.documentElement.scrollHeight"))
        width = int(self.run("return innerWidth"))
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=min(full, height or full),
            deviceScaleFactor=1,
            mobile=False,
        )
        time.sleep(0.3)  # the plot is drawn anew
        assert self.driver.save_screenshot(str(path))


def eventually(look: Callable[[], Any], what: str, within_seconds: float = WAIT_SECONDS) -> Any:
    """Look again and again until there is something; fails when time runs out."""
    deadline = time.monotonic() + within_seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)
    return found


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own."""
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    arguments = ["--headless=new", f"--user-data-dir={profile}", "--no-first-run", "--disable-dev-shm-usage"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses its sandbox to root, as in containers of CI
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_script_timeout(WAIT_SECONDS)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
