"""What a flood of new account ids takes in memory: so much for each id, the last as much as the first."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from faust.types import TP

from agents.runtime.batch import RecordBatch
from tests.agents.test_scorer import USAGE, Bench, login

ACCOUNTS = 1_500
# Stated in docs/bad-input.md. One login each; a richer account takes more, see docs/benchmarks.md.
LIVE_BYTES_MAX = 3_000
IDLE_BYTES_MAX = 1_500


def test_a_new_account_id_takes_a_bounded_memory() -> None:
    """With one login, an id takes less than the stated bytes while it is live, and once it is idle; it never grows."""
    bench = Bench()
    score_new(bench, 10 * ACCOUNTS)  # fills what is kept once for all accounts
    tracemalloc.start()
    try:
        live: list[float] = []
        for part in range(2):
            before = traced_bytes()
            score_new(bench, part * ACCOUNTS)
            live.append((traced_bytes() - before) / ACCOUNTS)
        before = traced_bytes()
        bench.partition.idle_keys()
        bench.partition.encode_idle(bench.partition.idle_keys())
        idle = (traced_bytes() - before) / (3 * ACCOUNTS) + sum(live) / 2
    finally:
        tracemalloc.stop()
    assert max(live) < LIVE_BYTES_MAX, live
    assert live[1] < 1.5 * live[0], live
    assert idle < IDLE_BYTES_MAX, idle


def score_new(bench: Bench, first: int) -> None:
    """Score a login of each of so many new accounts, and flush them."""
    accounts = [f"acct-{number:08d}" for number in range(first, first + ACCOUNTS)]
    records = [bench.batch(login(400, 0, account), account=account).records[0] for account in accounts]
    asyncio.run(bench.ingest.handler(0)(RecordBatch(TP(USAGE, 0), records, bench.partition)))
    bench.flush()
    bench.partition.note_published()


def traced_bytes() -> int:
    """Return what Python's objects take now."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
