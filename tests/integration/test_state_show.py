"""`vitals state show` on a real broker: what recovery would take is what is shown."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from agents.runtime.table import EPOCH_SHIFT, FORMAT, HEADER, MARKER_KEY
from service.model.loader import load_model
from service.scoring.engine import apply_record
from service.scoring.events import Payment, Usage
from service.scoring.state import AccountState
from service.scoring.state_codec import encode
from service.settings import Settings
from tests.conftest import Vitals
from tests.integration.kafka_tools import produce
from tests.integration.test_publish_watch import create_topics, environment
from tests.integration.test_worker import home_of

pytestmark = pytest.mark.kafka

START_MS = 1_735_689_600_000  # 2025-01-01
DAY_MS = 86_400_000


def state_of(account: str, days: int) -> AccountState:
    """Make a state as a worker would: a login a day, then a failed payment."""
    model = load_model(None)
    state = AccountState(account)
    for day in range(days):
        usage = Usage(account, f"login-{day}", START_MS + day * DAY_MS, "login", "u1")
        apply_record(state, 0, 100 + day, usage, usage.time_ms, model)
    payment = Payment(account, "failed", START_MS + days * DAY_MS, "payment_failed", 100, "EUR", "i1")
    apply_record(state, 1, 7, payment, payment.time_ms, model)
    return state


def stored(state: AccountState, generation: int, epoch: int = 2) -> bytes:
    """Store a state as the runtime does."""
    return HEADER.pack(FORMAT, generation, epoch << EPOCH_SHIFT | state.revision) + encode(state)


def test_the_state_that_recovery_takes_is_shown(settings: Settings, vitals: Vitals) -> None:
    """Of several records of the account the highest epoch counts, then the highest revision, wherever it stands."""
    names = create_topics(settings)
    account, key = "ac\u00e4me", "ac\u00e4me".encode()
    older, newer, other = state_of(account, 10), state_of(account, 50), state_of("other", 3)
    marker = HEADER.pack(FORMAT, 4, START_MS) + b"{}"
    number = home_of(key)
    written = [
        (key, stored(older, 3)),
        (b"other", stored(other, 3)),
        (key, stored(newer, 5)),
        (key, stored(older, 6)),
        (key, stored(state_of(account, 60), 7, epoch=1)),  # a zombie's
        (MARKER_KEY, marker),
        (b"\x00doctor", None),
    ]
    produce(settings.broker or "", names.changelog, [(*record, (), number) for record in map(tuple, written)])
    done = vitals("state", "show", account, "--json", **environment(settings))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["epoch"], told["revision"]) == (2, newer.revision)
    assert (told["generation"], told["published_generation"]) == (5, 4)
    assert told["outputs_repeat_at_recovery"]
    assert told["band"] == newer.band
    assert told["score"] == pytest.approx(newer.score)
    assert told["applied_offsets"] == {
        names.input("usage"): 149,
        names.input("payment"): 7,
        **{names.input(kind): None for kind in ("ticket", "survey", "account")},
        names.rekeyed: None,
        names.input("action"): None,
    }
    assert told["signals"]["failed_payments"] == 1
    assert told["next_due"].endswith("T00:00:00.000Z")
    assert told["unsent_alerts"] == [
        {"id": alert.id, "seq": alert.seq, "kind": alert.kind, "as_of": told["unsent_alerts"][index]["as_of"]}
        for index, alert in enumerate(newer.unsent)
    ]
    assert told["scored_by_this_model"]
    shown = vitals("state", "show", account, **environment(settings))
    assert account in shown.stdout
    assert all(title in shown.stdout for title in ("applied offsets", "unsent alerts", "signals", "failed_payments"))
    raw = subprocess.run(
        [sys.executable, "-m", "service.cli.main", "state", "show", account, "--raw"],
        env={**environment(settings), "PATH": ""},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert raw.stdout == stored(newer, 5)


def test_an_account_without_state_is_named(settings: Settings, vitals: Vitals) -> None:
    """Without a changelog, without the account and after its tombstone, one line says what to look at."""
    missing = vitals("state", "show", "acme", **environment(settings))
    assert (missing.returncode, "vitals topics apply" in missing.stderr) == (1, True)
    names = create_topics(settings)
    state = stored(state_of("acme", 3), 1)
    number = home_of(b"acme")
    produce(settings.broker or "", names.changelog, [(b"acme", state, (), number), (b"acme", None, (), number)])
    for account in ("acme", "nobody"):
        done = vitals("state", "show", account, **environment(settings))
        assert done.returncode == 1
        assert repr(account) in done.stderr
