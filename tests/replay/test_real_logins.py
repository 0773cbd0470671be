"""Two years of real logins through the core: its sums equal a recount, and accounts that fell silent were told."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import NamedTuple

import pytest

from service.csv_events import CsvMapping, parse_fields
from service.ingest import Decoder
from service.input_files import InputFile
from service.model.loader import load_model
from service.replay import Replay, ReplaySummary
from service.replay.files import feed
from service.scoring.state import RING_DAYS, AccountState
from service.scoring.views import Alert
from tests.real_data import LOGIN_OPTIONS, LOGINS, logins_per_day, needs_logins, window_sum

WINDOW_DAYS = 30

pytestmark = needs_logins

EPOCH = date(1970, 1, 1)
Counts = dict[str, Counter[date]]


@pytest.fixture(scope="module")
def counts() -> Counts:
    return logins_per_day()


class Replayed(NamedTuple):
    """What the log gave."""

    summary: ReplaySummary
    states: dict[str, AccountState]
    alerts: list[Alert]


@pytest.fixture(scope="module")
def replayed() -> Replayed:
    mapping = CsvMapping(
        parse_fields(LOGIN_OPTIONS[1], LOGIN_OPTIONS[0]), parse_fields(LOGIN_OPTIONS[3], LOGIN_OPTIONS[2])
    )
    alerts: list[Alert] = []
    replay = Replay(load_model(), take_alert=alerts.append)
    file = InputFile(str(LOGINS), mapping=mapping)
    feed(replay, [file], Decoder(lambda: 4_000_000_000_000), refuse=lambda line: pytest.fail(str(line)))
    states = {state.account: state for state in replay.finish(replay.latest_ms)}
    return Replayed(replay.summary, states, alerts)


def test_every_login_is_counted_once(replayed: Replayed, counts: Counts) -> None:
    """All rows are events; none is refused, late or taken for a duplicate of another."""
    summary = replayed.summary
    assert summary.events == sum(sum(days.values()) for days in counts.values())
    assert (summary.refused, summary.late, summary.duplicates) == ({}, 0, 0)
    assert summary.accounts == len(counts)


def test_login_sums_equal_a_recount(replayed: Replayed, counts: Counts) -> None:
    """For every account the sums per day, of the last 30 and of the previous 30 days equal a naive recount."""
    last = max(day for days in counts.values() for day in days)
    ring_days = [last - timedelta(days=age) for age in range(RING_DAYS)]
    for account, days in counts.items():
        state = replayed.states[account]
        assert EPOCH + timedelta(days=state.day) == last
        ring = [state.logins[(day - EPOCH).days % RING_DAYS] for day in ring_days]
        assert ring == [days[day] for day in ring_days], account
        sums = (window_sum(days, last, 0, WINDOW_DAYS), window_sum(days, last, WINDOW_DAYS, WINDOW_DAYS))
        assert (state.recent_logins, state.previous_logins) == sums, account


def test_accounts_that_fell_silent_were_told(replayed: Replayed, counts: Counts) -> None:
    """An account without a login in the last 30 days ends in a risk band, with an alert after its last login."""
    last_alert = {alert.account: alert for alert in replayed.alerts}
    last = max(day for days in counts.values() for day in days)
    silent = [account for account, days in counts.items() if not window_sum(days, last, 0, WINDOW_DAYS)]
    assert len(silent) >= 5
    for account in silent:
        assert replayed.states[account].band in {"at_risk", "endangered"}
        assert last_alert[account].kind in {"at_risk", "endangered"}
