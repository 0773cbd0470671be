"""What older releases stored in the changelog is read, what newer ones stored is refused, and who goes back is refused.

`stored_formats.json` has the records of one log (a, b, a again; each time a flush) as each layout wrote them. They are
bytes of those releases and never made anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.runtime.table import FORMAT, HEADER, MARKER_KEY, MARKER_KEYS, Partition, ViewBudget
from service.errors import StateError
from tests.agents.test_table import Count, CountHooks, Stored, count

GOLDEN: dict[str, list[tuple[str, str]]] = json.loads(
    (Path(__file__).parent / "stored_formats.json").read_text(encoding="ascii")
)
OLDER = [name for name in GOLDEN if name != "now"]
EPOCH = 5


def stored(layout: str) -> list[Stored]:
    """Read the records of a layout."""
    return [
        Stored(bytes.fromhex(key), bytes.fromhex(value), offset) for offset, (key, value) in enumerate(GOLDEN[layout])
    ]


def recover(records: list[Stored]) -> tuple[Partition, list[bytes]]:
    """Recover a partition; return it and the keys whose outputs may be missing."""
    partition = Partition(3, CountHooks())
    partition.apply_changelog(records)
    return partition, partition.finish_recovery()


def flushed(partition: Partition, key: bytes) -> list[Stored]:
    """Count a key once more and return what its flush writes."""
    count(partition, key)
    records, _ = partition.encode_dirty("changelog", [key], ViewBudget(), 7)
    return [Stored(record.key or b"", record.value) for record in records]


@pytest.mark.parametrize("layout", GOLDEN)
def test_every_layout_is_read(layout: str) -> None:
    """States, what the marker tells, and which outputs may be missing are those that were written."""
    partition, unpublished = recover(stored(layout))
    assert {key: partition.get(key) for key in (b"a", b"b")} == {b"a": Count(2, 2), b"b": Count(1, 1)}
    has_ends = layout != "marker without payload"
    assert partition.input_ends == ({"product-usage": 42} if has_ends else {})
    assert unpublished == ([b"a"] if has_ends else [b"b", b"a"])  # the oldest was kept without acknowledgements
    assert partition.progress == (7 if has_ends else 3)
    assert partition.epoch > (EPOCH if layout in ("epoch before revision", "now") else 0)


@pytest.mark.parametrize("layout", OLDER)
def test_what_this_release_writes_wins_over_what_an_older_one_wrote(layout: str) -> None:
    """After an upgrade the next recovery finds the new state, also when a zombie of the old release writes again."""
    older = stored(layout)
    upgraded, _ = recover(older)
    newer = flushed(upgraded, b"b")
    partition, _ = recover([*older, *newer, *older])
    assert partition.get(b"b") == Count(2, 2)
    assert partition.input_ends == upgraded.input_ends
    assert partition.epoch > upgraded.epoch


def test_this_release_writes_what_is_kept_as_its_own() -> None:
    """Another layout needs another FORMAT: the bytes of this one are pinned, the marker's as far as they are read."""
    partition = Partition(3, CountHooks(), EPOCH)
    found = []
    for seen, key in ((41, b"a"), (41, b"b"), (42, b"a")):
        partition.input_ends["product-usage"] = seen
        found += flushed(partition, key)
        partition.note_published()
    for mine, kept in zip(found, stored("now"), strict=True):
        assert mine.key == kept.key
        assert mine.value is not None
        assert kept.value is not None
        if mine.key != MARKER_KEY:
            assert mine.value == kept.value
        else:
            assert mine.value[: HEADER.size] == kept.value[: HEADER.size]
            told, pinned = (json.loads(value[HEADER.size :]) for value in (mine.value, kept.value))
            assert {name: told[name] for name in pinned} == pinned


@pytest.mark.parametrize("key", [b"a", *sorted(MARKER_KEYS)])
def test_a_newer_format_is_refused_in_states_and_markers(key: bytes) -> None:
    """Neither is guessed at, and the message names both formats and the way out."""
    newer = Stored(key, bytes([FORMAT + 1]) + bytes(HEADER.size - 1) + b"{}", 9)
    told = rf"offset 9: stored state has format {FORMAT + 1}, this version reads formats 1 to {FORMAT}; run the version"
    with pytest.raises(StateError, match=told):
        recover([*stored("now"), newer])


def test_the_release_before_refuses_every_record_of_this_one() -> None:
    """It took its own marker's key as it came, and of everything else only format 1: that must never fit."""
    for record in stored("now"):
        assert record.key != b"\x00marker"
        assert record.value is not None
        assert record.value[0] != 1
