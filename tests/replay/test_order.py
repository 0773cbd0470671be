"""Events out of order: with a lateness they are put in order, without one they are applied as they come."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from schemas.times import parse_time_ms
from service.cli.main import build_cli
from service.errors import InputError
from service.model.loader import load_model
from service.replay import Replay
from service.scoring.events import AccountUpdate, Event, Usage
from service.scoring.state_codec import encode
from service.simulation import Simulation
from tests.replay.test_replay import DAY_MS, FILES, START_MS, busy_days, outcome, replay, write

MODEL = load_model()
HOUR_MS = 3_600_000


def shuffled_within(lines: list[bytes], lateness_ms: int, seed: int) -> list[bytes]:
    """Delay each event by a part of the lateness, so that none comes later than that."""
    rng = random.Random(seed)
    delayed = [(parse_time_ms(orjson.loads(line)["time"]) + rng.randrange(lateness_ms), line) for line in lines]
    return [line for _, line in sorted(delayed, key=lambda pair: pair[0])]


def test_a_shuffled_log_gives_what_the_ordered_one_gives(tmp_path: Path) -> None:
    """With a lateness of two days, a log whose events come up to two days late gives the same files, byte for byte."""
    lines = [line.value for line in Simulation(accounts=20, days=90, seed=3).lines()]
    shuffled = shuffled_within(lines, 2 * DAY_MS, 1)
    assert shuffled != lines
    replay(tmp_path / "ordered", write(tmp_path / "a.ndjson", lines))
    log = write(tmp_path / "b.ndjson", shuffled)
    summary = replay(tmp_path / "shuffled", log, lateness_ms=2 * DAY_MS)
    assert summary.out_of_order == 0
    assert outcome(tmp_path / "shuffled") == outcome(tmp_path / "ordered")
    assert replay(None, log).out_of_order > len(lines) / 2


def test_later_events_are_applied_as_they_come_and_counted(tmp_path: Path) -> None:
    """An event beyond the lateness still counts in its own day, and in the summary; what is in time is put in order."""
    lines = busy_days("acme", range(40))
    late = lines.pop(3 * 20)
    log = write(tmp_path / "log.ndjson", [*lines, late])
    ordered = write(tmp_path / "ordered.ndjson", busy_days("acme", range(40)))
    assert replay(tmp_path / "late", log, lateness_ms=6 * HOUR_MS).out_of_order == 1
    assert replay(tmp_path / "held", log, lateness_ms=30 * DAY_MS).out_of_order == 0
    assert replay(tmp_path / "ordered", ordered, lateness_ms=30 * DAY_MS).out_of_order == 0
    assert outcome(tmp_path / "held") == outcome(tmp_path / "ordered")
    scores = [orjson.loads((tmp_path / name / FILES[0]).read_bytes())["data"]["score"] for name in ("late", "held")]
    assert scores[0] == scores[1]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.booleans()), max_size=60), st.integers(0, 20))
def test_events_in_time_are_applied_in_order(drawn: list[tuple[int, int, bool]], lateness: int) -> None:
    """Of events of one account, those at most the lateness behind give the state of the ordered log, ties by kind."""
    events: list[Event] = []
    newest = 0
    for number, (hour, account, is_fact) in enumerate(drawn):
        name = f"a{account}"
        time_ms = START_MS + hour * HOUR_MS
        newest = max(newest, hour)
        if newest - hour > lateness:
            continue
        if is_fact:
            events.append(AccountUpdate(name, f"e{number}", time_ms, owner=f"o{number % 7}"))
        else:
            events.append(Usage(name, f"e{number}", time_ms, "login", "u"))
    ordered = sorted(events, key=lambda event: (event.time_ms, isinstance(event, AccountUpdate)))
    assert states_of(events, lateness * HOUR_MS) == states_of(ordered, 0)


def states_of(events: list[Event], lateness_ms: int) -> dict[str, bytes]:
    """Replay events and store what they made of each account."""
    made = Replay(MODEL, lateness_ms=lateness_ms)
    for event in events:
        made.apply(event)
    made.drain()
    return {state.account: encode(state) for state in made.finish(made.latest_ms)}


@pytest.mark.parametrize("text", ["2", "d", "2w", "-1d", "1.5h", "²d"])
def test_a_lateness_is_a_number_and_a_unit(tmp_path: Path, text: str) -> None:
    """Anything else is refused with the forms that are allowed."""
    log = write(tmp_path / "log.ndjson", [])
    result = CliRunner().invoke(build_cli(), ["replay", str(log), f"--lateness={text}"])
    assert isinstance(result.exception, InputError)
    assert "like 2d, 6h, 30m or 45s" in str(result.exception)
