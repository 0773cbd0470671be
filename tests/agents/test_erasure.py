"""An account is erased whatever crashes in between, nothing old brings it back, and what is new is not lost with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.erasure import KEY_PREFIX, Erasure, encode_erasure
from agents.runtime import commit
from agents.runtime.commit import Committer
from agents.runtime.producer import Ack, OutRecord
from agents.runtime.table import MARKER_KEY, Partition, ViewBudget
from agents.scorer import Scorer
from schemas.codec import read_erasure_completed
from service.errors import StateError
from service.model.loader import load_model
from service.scoring.events import AccountUpdate, Action, Event, Ticket, Usage
from service.scoring.state import AccountState
from service.scoring.state_codec import peek_next_due
from service.topic_catalogue import TopicNames

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
ERASED_MS = START_MS + DAY_MS
NAMES = TopicNames()
MODEL = load_model(Path(__file__).parents[1] / "chaos" / "live.yaml")  # a ticket decides
ACTIONS = 6
KEY = b"acme"
DIGEST = sha256(KEY).hexdigest()
Input = tuple[int, int, Event]

OLD: list[Input] = [
    (4, 0, AccountUpdate("acme", "1", START_MS, name="Acme Holding")),
    (0, 0, Usage("acme", "2", START_MS, "login", "ann")),
    (2, 0, Ticket("acme", "3", START_MS + 1, "opened", "t1", "normal")),
]
ERASE: Input = (ACTIONS, 0, Action("acme", "api\x1fe1", ERASED_MS, "erase", "dana", reason="request 17"))
NEW: list[Input] = [
    (0, 1, Usage("acme", "4", ERASED_MS + 5, "login", "bob")),
    (2, 1, Ticket("acme", "5", ERASED_MS + 6, "opened", "t2", "normal")),
]


class Crash(Exception):  # noqa: N818 - what happens
    """The worker dies."""


class Worker:
    """A worker of one partition that writes to lists and may die after so many records."""

    def __init__(self, log: list[OutRecord], monkeypatch: pytest.MonkeyPatch, dies_after: int | None = None) -> None:
        self.log = log
        self.written = 0
        self._dies_after = dies_after
        self.scorer = Scorer(MODEL, NAMES, "wall", lambda: ERASED_MS)
        self.partition = Partition(0, self.scorer)
        changelog = [record for record in log if record.topic == NAMES.changelog]
        self.partition.apply_changelog(changelog)
        self.scorer.recovered(self.partition, self.partition.finish_recovery())
        self.task = self.scorer.tasks[0]
        table = SimpleNamespace(owned={0: self.partition}, partition=lambda _: self.partition)
        self.committer = Committer(cast("Any", table), NAMES.changelog, cast("Any", lambda: None))
        monkeypatch.setattr(commit, "send_records", self._send)

    async def _send(self, _: object, records: Iterable[OutRecord]) -> list[Ack]:
        for record in records:
            if self.written == self._dies_after:
                raise Crash
            self.log.append(record)
            self.written += 1
        return []

    def take(self, *inputs: Input) -> None:
        """Apply what was read."""
        for source, offset, event in inputs:
            self.task.apply(source, [(offset, event.account.encode(), event)])

    def bring_out(self) -> None:
        """Do an urgent flush, then a commit, as the worker does."""

        async def flush() -> None:
            await self.committer.flush_urgent(self.partition, self.task.take_urgent())
            await self.committer.commit(dict, cast("Any", None))

        asyncio.run(flush())


def compacted(log: list[OutRecord], topic: str) -> dict[bytes | None, bytes | None]:
    """Return what compaction leaves of a topic, tombstones included."""
    return {record.key: record.value for record in log if record.topic == topic}


def began(monkeypatch: pytest.MonkeyPatch) -> list[OutRecord]:
    """Return the topics after an account has everything that one can have."""
    log: list[OutRecord] = []
    worker = Worker(log, monkeypatch)
    note = Action("acme", "api\x1fn1", START_MS + 2, "note", "dana", note="met Ann of Acme")
    worker.take(*OLD, (0, 1, Usage("beta", "9", START_MS, "login", "bob")))
    worker.take((5, 0, note))
    worker.bring_out()
    assert {record.topic for record in log} >= {NAMES.alerts, NAMES.audit, NAMES.scores}
    return log


def expect_erased(log: list[OutRecord], *, reborn: bool) -> None:
    """Nothing of the erased account is left after compaction, those who asked are told, what is new is there."""
    states, scores = compacted(log, NAMES.changelog), compacted(log, NAMES.scores)
    assert b"beta" in states
    everything = b"|".join(part for pair in (*states.items(), *scores.items()) if pair[1] for part in pair if part)
    assert b"Holding" not in everything
    assert b"ann" not in everything.lower()
    assert (b"acme" in everything) == reborn
    assert b"acme" not in (states[KEY_PREFIX + DIGEST.encode()] or b"")
    told = [record for record in log if record.key == DIGEST.encode()]
    assert told
    done = read_erasure_completed(told[0].value or b"").data
    assert (done.account_sha256, done.actor, done.reason, done.found) == (DIGEST, "dana", "request 17", True)
    assert (done.action_id, done.as_of_ms) == ("e1", ERASED_MS)
    assert done.stores == ("state", "changelog", "scores")
    records = [record.topic for record in log]
    assert records.index(NAMES.alerts) < log.index(OutRecord(NAMES.alerts, 0, KEY, None)) < log.index(told[0])
    if not reborn:
        assert scores[KEY] is None
        return
    last_taken_back = max(at for at, each in enumerate(log) if (each.topic, each.key, each.value)[1:] == (KEY, None))
    scores_after = [each.value for each in log[last_taken_back:] if (each.topic, each.key) == (NAMES.scores, KEY)]
    assert scores_after, "readers of the scores would not know the new account"
    assert json.loads(scores_after[-1] or b"")["data"]["name"] is None
    alerts = [record.value for record in log if record.topic == NAMES.alerts and record.value]
    seqs = [json.loads(value)["data"]["seq"] for value in dict.fromkeys(alerts)]
    assert seqs == [1, 1]


def expect_state(worker: Worker, *, reborn: bool) -> None:
    """Know of the account what came after the erasure."""
    state = cast("AccountState | None", worker.partition.get(KEY))
    assert (state is not None) == reborn
    if state is not None:
        assert (state.applied[0], state.applied[2], state.seq) == (1, 1, 1)
        assert state.attributes is None


@pytest.mark.parametrize("reborn", [False, True])
def test_a_crash_anywhere_delays_an_erasure_and_loses_nothing(monkeypatch: pytest.MonkeyPatch, *, reborn: bool) -> None:
    """Killed after any record that is written, and again after any of those of the next start, the end is the same."""
    before = began(monkeypatch)
    inputs = [ERASE, *(NEW if reborn else [])]
    log = list(before)
    worker = Worker(log, monkeypatch)
    worker.take(*inputs)
    worker.bring_out()
    expect_erased(log, reborn=reborn)
    expect_state(worker, reborn=reborn)
    records = worker.written
    assert records > 5
    for first in range(records):
        for second in range(records + 2):
            log = list(before)
            for dies_after in (first, second):
                worker = Worker(log, monkeypatch, dies_after)
                worker.take(*inputs)
                try:
                    worker.bring_out()
                except Crash:
                    continue
            worker = Worker(log, monkeypatch)
            worker.take(*OLD, *inputs)  # nothing was committed: all is read again, what was applied before too
            worker.bring_out()
            expect_erased(log, reborn=reborn)
            expect_state(worker, reborn=reborn)


def test_what_is_older_than_the_erasure_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the account is unknown, after it began anew, and after a restart; it is counted."""
    log = began(monkeypatch)
    worker = Worker(log, monkeypatch)
    late = AccountUpdate("acme", "late", ERASED_MS, name="Acme Holding")
    worker.take(ERASE, (4, 5, late))
    assert worker.partition.get(KEY) is None
    worker.take(*NEW, (4, 6, late))
    expect_state(worker, reborn=True)
    assert worker.scorer.outcomes()["erased"] == 2
    worker.bring_out()
    again = Worker(log, monkeypatch)
    again.take((4, 7, late), (0, 2, Usage("acme", "6", ERASED_MS + 7, "login", "bob")))
    state = cast("AccountState", again.partition.get(KEY))
    assert (state.attributes, state.applied[0]) == (None, 2)
    assert again.scorer.outcomes() == {"erased": 1, "applied": 1, **again.scorer.counters.outcomes}


def test_events_before_the_accounts_clock_are_the_erased_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that was applied before the command, but happened after it, is not read again as a new account."""
    worker = Worker([], monkeypatch)
    ahead = Usage("acme", "7", ERASED_MS + 60_000, "login", "ann")
    worker.take((0, 0, ahead), ERASE, (0, 0, ahead))
    assert worker.partition.get(KEY) is None


def test_each_command_erases_what_is_there_then_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of an account that nobody knows; the same command read again does nothing."""
    log: list[OutRecord] = []
    worker = Worker(log, monkeypatch)
    second = (ACTIONS, 1, Action("acme", "api\x1fe2", ERASED_MS, "erase", "eve", reason="again"))
    worker.take(ERASE, *NEW)
    worker.bring_out()
    worker.take(ERASE)
    assert worker.partition.get(KEY) is not None
    worker.take(second)
    assert worker.partition.get(KEY) is None
    worker.bring_out()
    told = [read_erasure_completed(each.value or b"").data for each in log if each.key == DIGEST.encode()]
    assert [(each.seq, each.actor, each.found) for each in told] == [(1, "dana", False), (2, "eve", True)]
    assert worker.partition.dirty == set()


def test_a_new_account_survives_what_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored in one flush with the erasure before it, it is not taken for the erased one when that is gone on with."""
    log = began(monkeypatch)
    worker = Worker(log, monkeypatch, 4)  # the record, the tombstone, the new account, and the marker
    worker.take(ERASE, *NEW)
    with pytest.raises(Crash):
        worker.bring_out()
    assert log[-2].key == KEY
    again = Worker(log, monkeypatch)
    expect_state(again, reborn=True)
    again.bring_out()
    expect_state(Worker(log, monkeypatch), reborn=True)
    expect_erased(log, reborn=True)


def test_a_command_that_comes_while_another_is_told_is_not_taken_for_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What began anew and was published meanwhile is taken back for the second one."""
    log: list[OutRecord] = []
    worker = Worker(log, monkeypatch)
    second = [(ACTIONS, 1, Action("acme", "api\x1fe2", ERASED_MS + 9, "erase", "eve", reason="again"))]

    async def send(_: object, records: list[OutRecord]) -> list[Ack]:
        log.extend(records)
        if second and any(record.topic == NAMES.audit for record in records):
            worker.take(second.pop())
        return []

    monkeypatch.setattr(commit, "send_records", send)
    worker.take(ERASE, *NEW)
    worker.bring_out()
    assert compacted(log, NAMES.changelog)[KEY] is None
    assert compacted(log, NAMES.scores)[KEY] is None
    told = [read_erasure_completed(each.value or b"").data for each in log if each.key == DIGEST.encode()]
    assert {each.seq for each in told} == {1, 2}
    assert told[-1].as_of_ms == ERASED_MS + 9


def test_an_alert_on_its_way_is_not_taken_for_one_of_the_new_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its acknowledgement comes after the account was erased and began anew, whose first alert is still to be told."""
    worker = Worker([], monkeypatch)
    worker.take(*OLD)
    _, outputs = worker.partition.encode_dirty("changelog", list(worker.partition.dirty), ViewBudget())
    worker.take(ERASE, *NEW)
    state = cast("AccountState", worker.partition.get(KEY))
    worker.scorer.published(worker.partition, KEY, state, outputs[KEY])
    assert [alert.seq for alert in state.unsent] == [1]


def test_what_is_kept_does_not_name_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the end there is one record: the digest, the time and what tells a repeated command."""
    log = began(monkeypatch)
    worker = Worker(log, monkeypatch)
    worker.take(ERASE)
    worker.bring_out()
    states = compacted(log, NAMES.changelog)
    assert set(states) == {MARKER_KEY, b"beta", KEY, KEY_PREFIX + DIGEST.encode()}
    assert states[KEY] is None
    kept = states[KEY_PREFIX + DIGEST.encode()] or b""
    assert b"acme" not in kept
    assert b"dana" not in kept
    worker.take(ERASE)
    assert worker.partition.dirty == set(), "the same command read again writes nothing"


def test_a_release_before_this_one_refuses_the_partition() -> None:
    """It takes the record for an account's state, of a version that it does not know."""
    with pytest.raises(StateError, match="run the release that wrote it"):
        peek_next_due(encode_erasure(Erasure(until_ms=ERASED_MS)))


def test_a_zombies_records_of_an_erased_account_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused worker that wakes up writes the account once more; the next owner takes that back, in both topics."""
    log = began(monkeypatch)
    zombie = Worker(log, monkeypatch)
    zombie.take((4, 2, AccountUpdate("acme", "8", START_MS + 9, owner="ann")))
    owner = Worker(log, monkeypatch)
    owner.partition.epoch += 1
    owner.take(ERASE)
    owner.bring_out()
    monkeypatch.setattr(commit, "send_records", zombie._send)
    zombie.bring_out()
    assert None not in (compacted(log, NAMES.changelog)[KEY], compacted(log, NAMES.scores)[KEY])
    next_owner = Worker(log, monkeypatch)
    assert next_owner.partition.get(KEY) is None
    next_owner.bring_out()
    expect_erased(log, reborn=False)


def test_a_zombies_tombstone_does_not_end_a_new_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused worker that wakes up erases what its successor erased before; what came since is as it was."""
    log = began(monkeypatch)
    zombie = Worker(log, monkeypatch)
    zombie.take(ERASE)
    owner = Worker(log, monkeypatch)
    owner.partition.epoch += 1
    owner.take(ERASE, *NEW)
    owner.bring_out()
    monkeypatch.setattr(commit, "send_records", zombie._send)
    zombie.bring_out()
    next_owner = Worker(log, monkeypatch)
    expect_state(next_owner, reborn=True)
    next_owner.bring_out()
    expect_state(Worker(log, monkeypatch), reborn=True)
    expect_erased(log, reborn=True)


def test_a_zombies_record_does_not_stay_over_the_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused worker writes the record that still names the account, and dies; the next owner writes its own anew."""
    log = began(monkeypatch)
    zombie = Worker(log, monkeypatch, 1)
    zombie.take(ERASE)
    owner = Worker(log, monkeypatch)
    owner.partition.epoch += 1
    owner.take(ERASE)
    owner.bring_out()
    monkeypatch.setattr(commit, "send_records", zombie._send)
    with pytest.raises(Crash):
        zombie.bring_out()
    assert b"acme" in (compacted(log, NAMES.changelog)[KEY_PREFIX + DIGEST.encode()] or b"")
    Worker(log, monkeypatch).bring_out()
    expect_erased(log, reborn=False)
