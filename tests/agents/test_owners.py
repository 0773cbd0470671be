"""Partitions with more than one owner at a time: whose states, markers and views count."""

from __future__ import annotations

import pytest

from agents.runtime.producer import Ack
from agents.runtime.table import MARKER_KEY, Partition
from service.errors import StateError
from tests.agents.test_table import CountHooks, Stored, count, flush, recover, totals


def test_a_zombie_with_more_changes_never_replaces_the_next_owner() -> None:
    """The epoch counts before the revision; what the zombie wrote over the next owner's state is written anew."""
    changelog: list[Stored] = []
    zombie, _ = recover(changelog)
    count(zombie, b"a")
    flush(zombie, changelog)
    owner, _ = recover(changelog)
    count(owner, b"a")
    flush(owner, changelog)
    flush(owner, changelog)
    for _ in range(5):
        count(zombie, b"a")
    flush(zombie, changelog)

    recovered, unpublished = recover(changelog)
    assert totals(recovered) == {b"a": 2}
    assert unpublished == [b"a"]
    assert recovered.epoch > owner.epoch > zombie.epoch
    recovered.dirty.update(unpublished)
    flush(recovered, changelog)
    flush(recovered, changelog)
    compacted = {record.key: record for record in changelog}
    assert totals(recover(list(compacted.values()))[0]) == {b"a": 2}
    assert recover(changelog)[1] == []


@pytest.mark.parametrize("zombie_is_first", [True, False])
def test_the_marker_of_an_owner_before_says_nothing_of_a_later_state(zombie_is_first: bool) -> None:
    """When a flush is torn before the owner's first marker, its outputs are missing, whatever a zombie's tells."""
    changelog: list[Stored] = []
    zombie, _ = recover(changelog)
    count(zombie, b"a")
    flush(zombie, changelog)
    flush(zombie, changelog)
    owner, _ = recover(changelog)
    count(owner, b"a")
    torn: list[Stored] = []
    flush(owner, torn)
    late: list[Stored] = []
    for _ in range(5):
        count(zombie, b"b")
        flush(zombie, late)
    state, marker = torn
    assert marker.key == MARKER_KEY
    changelog += [*late, state] if zombie_is_first else [state, *late]

    recovered, unpublished = recover(changelog)
    assert totals(recovered)[b"a"] == 2
    assert b"a" in unpublished


def test_views_that_somebody_else_may_have_published_are_made_again() -> None:
    """Keys whose last view is doubtful are outputs to repeat, though every output was acknowledged."""
    changelog: list[Stored] = []
    owner, _ = recover(changelog)
    for key in (b"a", b"b"):
        count(owner, key)
    flush(owner, changelog)
    flush(owner, changelog)
    recovered = Partition(0, CountHooks())
    recovered.apply_changelog(changelog)
    assert recovered.finish_recovery({b"b", b"unknown"}) == [b"b"]
    assert list(recovered.late) == [b"b"]


def test_the_marker_tells_where_the_views_ended() -> None:
    """What stands behind that may be anybody's; a zombie's marker does not count, and a true one must be written."""
    changelog: list[Stored] = []
    zombie, _ = recover(changelog)
    zombie.own_ends["counts"] = 3
    count(zombie, b"a")
    flush(zombie, changelog)
    owner, _ = recover(changelog)
    assert owner.views_end == 3
    owner.own_ends["counts"] = 5
    owner.input_ends["usage"] = 7
    flush(owner, changelog)
    flush(zombie, changelog)
    again, _ = recover(changelog)
    assert again.views_end == 5
    assert again.needs_marker()


@pytest.mark.parametrize("offset", [9, 11])
def test_a_record_of_somebody_else_is_noticed(offset: int) -> None:
    """Own records stand next to each other; a gap is another writer, a step back is a broker that lost records."""
    partition = Partition(0, CountHooks())
    partition.own_ends["counts"] = 4
    partition.note_written([Ack("counts", 4, 5), Ack("alerts", 100, 1), Ack("counts", 9, 1)])
    with pytest.raises(StateError, match=rf"counts/0 goes on at offset {offset}, but .* ends at 10"):
        partition.note_written([Ack("counts", offset, 1)])
