"""The dashboards: as generated, importable, and every query asks for what the processes really expose."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from tests.deploy.conftest import Promtool
from tests.deploy.dashboards import DASHBOARDS, FOLDER, written
from tests.deploy.exposition_kit import Scraped

OF_THE_SCRAPE = {"instance", "job"}  # Prometheus adds them
QUERIES = [
    (uid, target["expr"], target["legendFormat"])
    for uid in DASHBOARDS
    for panel in json.loads(written(uid))["panels"]
    for target in panel["targets"]
]


def asked(expression: str) -> dict[str, set[str]]:
    """List the metrics of a query, each with the labels that the query asks of it or sums by."""
    labels = {label for found in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r", *", found)}
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(r"\b((?:vitals|process)_\w+)(?:\{([^}]*)\})?", expression):
        found[name] = labels | set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
    return found


@pytest.fixture(scope="module")
def exposed(scraped: Scraped) -> dict[str, set[str]]:
    """List the labels of every sample that any process exposes, by name."""
    found: dict[str, set[str]] = defaultdict(set)
    for role in scraped.texts:
        for family in scraped.families(role).values():
            for sample in family.samples:
                found[sample.name] |= sample.labels.keys() | OF_THE_SCRAPE
    return found


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_the_file_is_as_generated(uid: str) -> None:
    """What lies in deploy/grafana is what the generator writes, and nothing else lies there."""
    found = (FOLDER / f"{uid}.json").read_text(encoding="utf-8")
    assert found == written(uid), "run `.venv/bin/python -m tests.deploy.dashboards`"
    assert {path.stem for path in FOLDER.glob("*.json")} == set(DASHBOARDS)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(("uid", "expression", "legend"), QUERIES)
def test_a_query_asks_for_what_is_exposed(uid: str, expression: str, legend: str, exposed: dict[str, set[str]]) -> None:
    """Names and labels of the query, and the labels of its legend."""
    metrics = asked(expression)
    assert metrics
    for name, labels in metrics.items():
        assert name in exposed
        assert labels <= exposed[name]
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= exposed[name]


def test_every_query_is_valid(checker: Promtool, tmp_path: Path) -> None:
    """Prometheus can parse each."""
    rules = [
        {"record": f"query:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression, _) in enumerate(QUERIES)
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    checked = checker("check", "rules", "--lint=none", str(path))
    assert checked.returncode == 0, checked.stdout + checked.stderr
