"""The oracle agrees with the core on whole histories: real logins, and simulated companies with every kind of event."""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
import yaml

from schemas.catalogue import INPUTS
from service.simulation import Simulation
from tests.oracle.wire import instant, kind_of
from tests.real_data import LOGINS, needs_logins
from tests.scoring.budget import PROFILE_NAME
from tests.scoring.logs import DAY
from tests.scoring.pair import Pair

ACCOUNTS_STEP = 8  # of the real accounts, a run of the tests takes one of eight
COMPANIES = 20
DAYS = 200
SILENT_DAYS = 130  # until every window of the default model has passed


def default_document() -> dict[str, Any]:
    """Read the default model as plain YAML."""
    text = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def agree(pair: Pair, events: list[dict[str, Any]], end_ms: int) -> None:
    """Tell both a history in its order, compare at the end of every day, then let time pass in silence."""
    for event in events:
        midnight = instant(event["time"]) // DAY * DAY
        if 0 <= pair.state.clock_ms < midnight:
            pair.compare()
            pair.walk(midnight)
        pair.apply(event)
    pair.compare()
    pair.walk(end_ms)


def logins_of_accounts() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Give the real log by account, each row as an event at the midnight that begins its day."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with gzip.open(LOGINS, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            rows[row["account"]].append(row)
    for account, own in sorted(rows.items()):
        own.sort(key=lambda row: row["date"])
        yield account, [_login(account, number, row) for number, row in enumerate(own)]


def _login(account: str, number: int, row: dict[str, str]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": "log",
        "type": "io.vitals.login.v1",
        "subject": account,
        "time": f"{row['date']}T00:00:00Z",
        "data": {"user": row["user"]},
    }


@needs_logins
@pytest.mark.slow
def test_oracle_agrees_on_real_logins() -> None:
    """Every day's signals, and every alert, are those of a naive recount of the log: of all accounts in `make soak`."""
    histories = dict(logins_of_accounts())
    assert len(histories) > 100
    end_ms = max(instant(events[-1]["time"]) for events in histories.values())
    if PROFILE_NAME != "soak":
        histories = dict(list(histories.items())[::ACCOUNTS_STEP])
    alerts = 0
    for account, events in histories.items():
        pair = Pair(default_document(), account)
        agree(pair, events, end_ms)
        alerts += pair.compared
    assert alerts > len(histories)


@pytest.mark.slow
def test_oracle_agrees_on_simulated_companies() -> None:
    """Twenty companies with every kind of event: every day's signals, scores and bands, and every alert."""
    simulation = Simulation(COMPANIES, DAYS, seed=20)
    histories: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in simulation.lines():
        histories[line.account].append(json.loads(line.value))
    assert len(histories) == COMPANIES
    by_machines = {
        short for short, message in INPUTS.items() if message.kind != "action"
    }  # nobody acts in a simulation
    assert {kind_of(event) for events in histories.values() for event in events} == by_machines
    kinds = set()
    for account, events in histories.items():
        pair = Pair(default_document(), account)
        agree(pair, events, instant(events[-1]["time"]) + SILENT_DAYS * DAY)
        kinds |= {alert.kind for alert in pair.state.unsent}
    assert len(kinds & {"at_risk", "endangered"}) == 2
    assert len(kinds) > 3
