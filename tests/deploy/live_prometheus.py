"""Debian's Prometheus at work: it scrapes and judges once a second, and the minutes of our rules are its seconds.

`scaled` is all that tests change of the rules: durations become a sixtieth, and the bounds of `SHORTER`, which are
seconds of the service and no durations, become what a test can wait for.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Any, Final

import yaml

from service.adapters.embedded_kafka import free_ports
from tests.deploy.promtool import RULES

MINUTES: Final = {"m": 1, "h": 60, "d": 24 * 60}
SHORTER: Final = {"max(vitals_lag_seconds) > 60": "max(vitals_lag_seconds) > 6", 'le="30.0"': 'le="10.0"'}
START_SECONDS: Final = 30.0


def scaled(text: str) -> str:
    """Make seconds of all minutes of rules or of a query, as many."""
    return re.sub(r"\b(\d+)([mhd])\b", lambda found: f"{int(found[1]) * MINUTES[found[2]]}s", text)


def shortened(rules: str) -> str:
    """Scale the rules and lower the bounds that are too long to wait for; each must be there."""
    assert all(bound in rules for bound in SHORTER)
    for bound, shorter in SHORTER.items():
        rules = rules.replace(bound, shorter)
    return scaled(rules)


class LivePrometheus:
    """One that runs in a folder of its own until it is stopped; `targets` are ports by job."""

    def __init__(self, folder: Path, targets: Mapping[str, int]) -> None:
        folder.mkdir()
        (folder / RULES.name).write_text(shortened(RULES.read_text(encoding="utf-8")), encoding="utf-8")
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": jobs,
            "rule_files": [RULES.name],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._targets = len(targets)
        self._log = folder / "prometheus.log"
        self._address = f"127.0.0.1:{free_ports(1)[0]}"
        with self._log.open("wb") as output:
            self._process = Popen(
                [
                    "prometheus",
                    "--config.file=prometheus.yml",
                    "--storage.tsdb.path=data",
                    f"--web.listen-address={self._address}",
                ],
                cwd=folder,
                stdout=output,
                stderr=STDOUT,
            )

    def wait_scraping(self) -> None:
        """Wait until it has scraped every target, and has judged since: before, each is missing."""
        deadline = time.monotonic() + START_SECONDS
        while not self._has_scraped() or self.firing():
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.1)

    def _has_scraped(self) -> bool:
        try:
            found = self._ask("query", query="sum(up)")["result"]
        except OSError:  # it does not answer yet
            return False
        return bool(found) and float(found[0]["value"][1]) == self._targets

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)

    def firing(self) -> set[str]:
        """Name the alerts that fire now."""
        alerts = self._ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def values(self, query: str, begin_seconds: float) -> list[float]:
        """Give every value of a query, of every second since an instant and of every series."""
        found = self._ask("query_range", query=query, start=begin_seconds, end=time.time(), step=1)["result"]
        return [float(value) for series in found for _, value in series["values"]]

    def _ask(self, path: str, **asked: object) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
