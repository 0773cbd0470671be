"""State per partition: what recovery keeps, what a flush writes, and which outputs may be missing after a crash."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.runtime.producer import OutRecord
from agents.runtime.table import HEADER, MARKER_KEY, Partition, ViewBudget
from service.errors import StateError


@dataclass
class Count:
    """The simplest state: how often a key was seen."""

    revision: int = 0
    total: int = 0


class CountHooks:
    """Hooks of a table of counts; the view of a key is its count."""

    views_topic = "counts"

    def encode(self, value: Any) -> bytes:
        return json.dumps([value.revision, value.total]).encode()

    def decode(self, key: bytes, payload: bytes) -> Count:
        return Count(*json.loads(payload))

    def progress(self, partition: Partition) -> int:
        return sum(value.total for value in partition.data.values() if isinstance(value, Count))

    def ends(self, key: bytes, payload: bytes) -> bytes | None:
        return None

    def outputs(self, partition: Partition, key: bytes, value: Any) -> list[OutRecord]:
        return []

    def view(self, partition: Partition, key: bytes, value: Any) -> OutRecord:
        return OutRecord("counts", partition.number, key, str(value.total).encode())

    def published(self, partition: Partition, key: bytes, value: Any, outputs: list[OutRecord]) -> bool:
        return False

    def recovered(self, partition: Partition, unpublished: list[bytes]) -> None:
        pass

    def revoked(self, partition: Partition) -> None:
        pass


class Stored(NamedTuple):
    """A changelog record as recovery sees it."""

    key: bytes
    value: bytes | None
    offset: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def flush(
    partition: Partition, changelog: list[Stored], *, acknowledged: bool = True, budget: ViewBudget | None = None
) -> None:
    """Flush all dirty keys into a list that stands for the changelog."""
    keys, progress = partition.begin_commit()
    records, _ = partition.encode_dirty("changelog", keys, budget or ViewBudget(), progress)
    changelog.extend(
        Stored(record.key or b"", record.value, len(changelog), tuple(record.headers)) for record in records
    )
    if acknowledged:
        partition.note_published()


def count(partition: Partition, key: bytes) -> None:
    """Count a key once."""
    value = partition.get(key) or Count()
    value.revision += 1
    value.total += 1
    partition.put(key, value)
    partition.outdated.add(key)


def recover(changelog: list[Stored]) -> tuple[Partition, list[bytes]]:
    """Recover a partition from a changelog."""
    partition = Partition(0, CountHooks())
    partition.apply_changelog(changelog)
    return partition, partition.finish_recovery()


def totals(partition: Partition) -> dict[bytes, int]:
    """Return every key's total."""
    return {key: partition.get(key).total for key in list(partition.data)}  # type: ignore[union-attr]


@given(st.lists(st.one_of(st.sampled_from([b"a", b"b", b"c"]), st.just(None), st.just(b"idle")), max_size=40))
def test_recovery_equals_the_last_flush(steps: list[bytes | None]) -> None:
    """Whatever was counted and flushed, and encoded while idle, recovery gives exactly the flushed totals."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    flushed: dict[bytes, int] = {}
    for step in steps:
        if step is None:
            flush(partition, changelog)
            flushed = totals(partition)
        elif step == b"idle":
            partition.encode_idle(partition.idle_keys())
        else:
            count(partition, step)
    recovered, _ = recover(changelog)
    assert totals(recovered) == flushed


def test_a_value_stays_encoded_until_it_is_touched() -> None:
    """Recovery decodes nothing; the first `get` does."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    count(partition, b"a")
    flush(partition, changelog)
    recovered, _ = recover(changelog)
    assert isinstance(recovered.data[b"a"], bytes)
    value = recovered.get(b"a")
    assert value == Count(1, 1)
    assert recovered.get(b"a") is value


def test_only_idle_values_are_encoded_again() -> None:
    """A value flushed since the last look, or dirty, stays decoded; after a quiet interval it is bytes."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    count(partition, b"flushed")
    flush(partition, changelog)
    count(partition, b"dirty")
    assert partition.idle_keys() == []
    idle = partition.idle_keys()
    partition.encode_idle([*idle, b"dirty"])
    assert {key: type(value) for key, value in partition.data.items()} == {b"flushed": bytes, b"dirty": Count}
    assert partition.get(b"flushed") == Count(1, 1)


def test_an_older_revision_never_replaces_a_newer_one() -> None:
    """A paused worker that writes its old state after its successor loses on recovery."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    count(partition, b"a")
    flush(partition, changelog)
    old = changelog[0]
    count(partition, b"a")
    flush(partition, changelog)
    recovered, _ = recover([*changelog, old])
    assert totals(recovered) == {b"a": 2}


def test_a_deleted_key_is_gone_after_recovery() -> None:
    """A tombstone removes the key."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    count(partition, b"a")
    flush(partition, changelog)
    partition.delete(b"a")
    flush(partition, changelog)
    assert (changelog[-2].key, changelog[-2].value) == (b"a", None)
    assert totals(recover(changelog)[0]) == {}


def test_outputs_not_acknowledged_before_a_crash_are_named_by_recovery() -> None:
    """Keys of flushes whose outputs were not acknowledged are published again, others are not."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    count(partition, b"a")
    flush(partition, changelog)
    count(partition, b"b")
    flush(partition, changelog, acknowledged=False)
    _, unpublished = recover(changelog)
    assert unpublished == [b"b"]


def test_outputs_missing_since_a_crash_are_named_until_they_are_made() -> None:
    """A flush of other keys after a recovery, and a second crash, do not make the missing outputs forgotten."""
    changelog: list[Stored] = []
    partition, _ = recover(changelog)
    count(partition, b"a")
    flush(partition, changelog, acknowledged=False)

    partition, unpublished = recover(changelog)
    assert unpublished == [b"a"]
    count(partition, b"b")
    for _ in range(2):  # the first notes that b is published, the second writes that down
        records, _ = partition.encode_dirty("changelog", [b"b"], ViewBudget())
        changelog.extend(
            Stored(record.key or b"", record.value, len(changelog), tuple(record.headers)) for record in records
        )
        partition.note_published()

    partition, unpublished = recover(changelog)
    assert b"a" in unpublished
    partition.outdated.update(unpublished)
    partition.dirty.update(unpublished)
    flush(partition, changelog)
    flush(partition, changelog)
    assert recover(changelog)[1] == []


def test_generations_go_on_after_recovery() -> None:
    """A recovered partition never reuses a generation, so that the marker stays meaningful."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    for key in (b"a", b"b"):
        count(partition, key)
        flush(partition, changelog)
    recovered, _ = recover(changelog)
    assert recovered.generation == partition.generation
    count(recovered, b"c")
    flush(recovered, changelog)
    assert HEADER.unpack_from(changelog[-2].value or b"")[1] == partition.generation + 1


def test_progress_is_that_of_the_last_commit() -> None:
    """An urgent flush does not move the recovered progress: the other keys would be older than it."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    count(partition, b"a")
    flush(partition, changelog)
    count(partition, b"a")
    count(partition, b"b")
    records, _ = partition.encode_dirty("changelog", [b"a"], ViewBudget())
    changelog.extend(Stored(record.key or b"", record.value) for record in records)
    assert recover(changelog)[0].progress == 1
    flush(partition, changelog)
    assert recover(changelog)[0].progress == 3


def test_an_unknown_format_stops_recovery() -> None:
    """State of a newer format is refused by name, not skipped."""
    newer = bytes([99]) + bytes(HEADER.size - 1)
    with pytest.raises(StateError, match="partition 0 offset 7: stored state has format 99"):
        Partition(0, CountHooks()).apply_changelog([Stored(b"a", newer, 7)])


def test_the_marker_is_the_last_record_of_a_flush() -> None:
    """The marker follows the states, so a torn flush never claims more than it wrote."""
    partition, changelog = Partition(0, CountHooks()), list[Stored]()
    count(partition, b"a")
    flush(partition, changelog)
    assert [record.key for record in changelog] == [b"a", MARKER_KEY]


def test_a_change_during_a_flush_stays_dirty() -> None:
    """What changes after the encoding belongs to the next flush."""
    partition = Partition(0, CountHooks())
    count(partition, b"a")
    partition.encode_dirty("changelog", list(partition.dirty), ViewBudget())
    count(partition, b"a")
    assert partition.dirty == {b"a"}


@given(
    st.lists(
        st.one_of(
            st.sampled_from([b"a", b"b", b"c"]),
            st.sampled_from([b"urgent a", b"urgent b"]),
            st.sampled_from([b"commit", b"commit, no time", b"commit, time for one"]),
        ),
        max_size=30,
    ),
    st.booleans(),
)
def test_no_view_is_lost_when_there_was_no_time_to_make_it(steps: list[bytes], torn: bool) -> None:
    """After a crash, each stored key's published view is up to date, or recovery names the key."""
    partition, changelog, views = Partition(0, CountHooks()), list[Stored](), dict[bytes, int]()

    def store(keys: list[bytes], seconds: float, progress: int | None, *, lost: bool = False) -> None:
        budget = OneView() if seconds == 1 else ViewBudget(seconds)
        records, outputs = partition.encode_dirty("changelog", keys, budget, progress)
        changelog.extend(
            Stored(record.key or b"", record.value, len(changelog), tuple(record.headers)) for record in records
        )
        if not lost:
            views.update((key, int(made.value or b"")) for key, [made] in outputs.items())
            partition.note_published()

    for step in steps:
        if step in TIMES:
            store(*begun(partition, TIMES[step]))
        elif step.startswith(b"urgent"):
            store([key for key in (step[-1:],) if key in partition.dirty], inf, None)
        else:
            count(partition, step)
    if torn:
        store(*begun(partition, inf), lost=True)
    recovered, unpublished = recover(changelog)
    outdated = {key for key, total in totals(recovered).items() if views.get(key) != total}
    assert outdated <= set(unpublished)
    if not torn:
        store(*begun(partition, inf))
        assert views == totals(partition)


TIMES = {b"commit": inf, b"commit, no time": 0.0, b"commit, time for one": 1.0}


class OneView(ViewBudget):
    """A budget that one view uses up, however fast the machine is."""

    def __init__(self) -> None:
        super().__init__(1e-12)


def begun(partition: Partition, seconds: float) -> tuple[list[bytes], float, int]:
    """Begin a commit that has so long for views."""
    keys, progress = partition.begin_commit()
    return keys, seconds, progress


def test_the_marker_tells_of_inputs_that_changed_nothing() -> None:
    """Offsets and notes that no dirty key brings along need a marker of their own, once."""
    partition: Partition = Partition(0, CountHooks())
    assert not partition.needs_marker()
    partition.input_ends["usage"] = 3
    assert partition.needs_marker()
    changelog = list[Stored]()
    flush(partition, changelog)
    assert not partition.needs_marker()
    partition.notes["usage"] = [4]
    assert partition.needs_marker()
    flush(partition, changelog)
    again, _ = recover(changelog)
    assert (again.input_ends, again.notes, again.needs_marker()) == ({"usage": 3}, {"usage": [4]}, False)
