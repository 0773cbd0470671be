"""The hints of a partition's due heap: as few as accounts, and none that matters is lost."""

from __future__ import annotations

from agents.partition_task import SPARE_HINTS, PartitionTask
from agents.runtime.table import Partition
from agents.scorer import Scorer
from service.model.loader import load_model
from service.scoring.events import Usage
from service.scoring.state import DAY_MS
from service.topic_catalogue import TopicNames

FIRST_DAY_MS = 20_000 * DAY_MS
ACCOUNTS = 40
DAYS = 150


def test_hints_follow_the_accounts_and_not_their_events() -> None:
    """However long accounts are used, there are at most two hints for each and the spare ones, and all are woken."""
    scorer = Scorer(load_model(), TopicNames(), "wall", lambda: 0)
    task = PartitionTask(Partition(0, scorer), scorer.model)
    for day in range(DAYS):
        time_ms = FIRST_DAY_MS + day * DAY_MS
        for number in range(ACCOUNTS):
            login = Usage(f"a{number}", f"{day}", time_ms + number, "login", f"u{day % 7}")
            task.apply(0, [(day, login.account.encode(), login)])
        if day == DAYS // 2:
            task.partition.dirty.clear()
            task.partition.encode_idle([f"a{number}".encode() for number in range(0, ACCOUNTS, 2)])
            task._sweep_due()
            assert len(task.due) == ACCOUNTS
    assert len(task.due) <= 2 * ACCOUNTS + SPARE_HINTS
    task._sweep_due()
    assert len(task.due) == ACCOUNTS
    for due_ms, key in task.due:
        state = task.partition.get(key)
        assert state is not None
        assert state.next_due_ms == due_ms
