"""A replay split over processes gives the files of one process, and leaves nothing behind when it ends early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
import psutil
import pytest

from service.csv_events import CsvMapping
from service.errors import ConfigError, InputError
from service.ingest import Decoder
from service.input_files import InputFile, RefusedLine
from service.replay import ReplayOptions, ReplaySummary, replay_files, replay_in_processes
from service.simulation import Simulation
from tests.replay.test_replay import DAY_MS, MODEL, event, lines_of, outcome, write

BAD = [b"{", b"[]", b'{"subject":"acct-000003"}', b'{"subject": "acct-000003"}', b'{"type":"io.vitals.none.v1"}']


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return [line.value for line in Simulation(accounts=25, days=75, seed=11).lines()]


def both(tmp_path: Path, options: ReplayOptions, *files: InputFile, processes: int = 3) -> ReplaySummary:
    """Replay in this process and in several; the files and the refusals must be the same."""
    alone: list[RefusedLine] = []
    shared: list[RefusedLine] = []
    one, many = (ReplayOptions(options.until_ms, options.lateness_ms, tmp_path / name) for name in ("one", "many"))
    decoder = Decoder(lambda: time.time_ns() // 1_000_000)
    summary = replay_files(files, decoder, MODEL, one, refuse=alone.append)
    assert replay_in_processes(files, None, many, processes, refuse=shared.append) == summary
    assert outcome(tmp_path / "many") == outcome(tmp_path / "one")
    assert sorted(shared) == sorted(alone)
    return summary


@pytest.mark.parametrize("processes", [1, 3])
def test_the_files_are_the_same(tmp_path: Path, lines: list[bytes], processes: int) -> None:
    """One file with bad lines, in one process, in one of its own, and in three: byte for byte the same."""
    log = write(tmp_path / "log.ndjson", [*BAD, *lines])
    options = ReplayOptions()
    summary = both(tmp_path, options, InputFile(str(log)), processes=processes)
    assert summary.refused.total() == len(BAD)
    assert summary.alerts.total() > 3


def test_files_out_of_order_are_shared_as_they_merge(tmp_path: Path, lines: list[bytes]) -> None:
    """Several files that are not in order, with a lateness, an end and events after it: the same again."""
    middle = len(lines) // 2
    first = write(tmp_path / "a.ndjson", [*lines[middle:], *lines[:500], *BAD])
    second = write(tmp_path / "b.ndjson", lines[500:middle])
    options = ReplayOptions(until_ms=Simulation(1, 1, 1).start_day * DAY_MS + 60 * DAY_MS, lateness_ms=3 * DAY_MS)
    summary = both(tmp_path, options, InputFile(str(first)), InputFile(str(second)))
    assert min(summary.after_until, summary.out_of_order) > 0
    assert summary.refused.total() == len(BAD)


def test_rows_are_shared(tmp_path: Path) -> None:
    """CSV rows, equal ones and bad ones too, are shared without losing or doubling any."""
    rows = [f"acct-{number % 7},u{number % 3},2025-01-{number % 28 + 1:02d}" for number in range(500)]
    log = write(tmp_path / "log.csv", [row.encode() for row in ["org,who,day", *rows, ",ann,2025-01-01", "a,b", *rows]])
    mapping = CsvMapping({"account": "org", "user": "who", "time": "day"}, {"type": "login"})
    summary = both(tmp_path, ReplayOptions(), InputFile(str(log), mapping=mapping))
    assert (summary.events, summary.accounts, summary.refused) == (1_000, 7, Counter(invalid_event=2))


def test_actions_are_replayed_and_shared(tmp_path: Path) -> None:
    """What became of actions is written in order of time, counted, and the same for any number of processes."""
    names = [f"acct-{number}" for number in range(6)]
    lines = [event("login", name, 0, {"user": "ann"}) for name in names]
    for day, name in enumerate(names, 1):
        lines.append(event("add_note", name, day, {"actor": "dana", "note": "on it"}))
        lines.append(event("resolve_alert", name, day + 0.1, {"actor": "eve", "alert_seq": 1}))
    log = write(tmp_path / "log.ndjson", [*lines, lines[6]])
    summary = both(tmp_path, ReplayOptions(), InputFile(str(log)))
    assert summary.actions == {"applied": 6, "unknown_alert": 6}
    assert summary.duplicates == 1
    told = [line["data"] for line in lines_of(tmp_path / "one" / "actions.ndjson")]
    assert [(each["account"], each["seq"]) for each in told] == [(name, seq) for name in names for seq in (1, 2)]


def test_an_erasure_is_replayed_and_shared(tmp_path: Path) -> None:
    """What is late for an erased account is counted, what is new begins it anew, and one without is not counted."""
    names = [f"acct-{number}" for number in range(6)]
    lines = [event("login", name, 0, {"user": "ann"}) for name in names]
    lines += [event("erase_account", name, 2, {"actor": "dana", "reason": "request 17"}) for name in names]
    lines += [event("login", name, 3, {"user": "bob"}) for name in names[:2]]
    lines += [event("login", name, 1, {"user": "ann", "role": "late"}) for name in names]
    summary = both(tmp_path, ReplayOptions(), InputFile(str(write(tmp_path / "log.ndjson", lines))))
    assert (summary.accounts, summary.erased, summary.actions) == (2, 6, {"erased": 6})
    scores = [line["data"] for line in lines_of(tmp_path / "one" / "scores.ndjson")]
    assert [each["account"] for each in scores] == names[:2]


def test_an_error_of_a_process_is_told_once(tmp_path: Path, lines: list[bytes]) -> None:
    """What ends one process ends the replay with its message, and nothing is written."""
    log = write(tmp_path / "log.ndjson", [*lines[:50], b"{"])
    with pytest.raises(InputError, match=r"log\.ndjson:51: not_json"):
        replay_in_processes([InputFile(str(log), strict=True)], None, ReplayOptions(out=tmp_path / "out"), 2)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        replay_in_processes([InputFile(str(log))], tmp_path / "none.yaml", ReplayOptions(), 2)


def test_standard_input_is_not_shared() -> None:
    """What can be read only once cannot be read by several."""
    with pytest.raises(InputError, match="--processes cannot split standard input"):
        replay_in_processes([InputFile("-")], None, ReplayOptions(), 2)


def test_an_interrupt_ends_all_of_it(tmp_path: Path, lines: list[bytes]) -> None:
    """Ctrl-C: exit code 130, no process and no file is left, nothing is printed but progress."""
    log = write(tmp_path / "log.ndjson", lines)
    pipe = tmp_path / "never.ndjson"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", INTERRUPTED, str(log), str(pipe), str(tmp_path / "out")]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, start_new_session=True) as process:
        parts = children(process.pid, 2)
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert errors.decode() == ""
    assert not [part for part in parts if part.is_running()]
    assert not list((tmp_path / "tmp").iterdir())
    assert not (tmp_path / "out").exists()


# The second file never gives a line, so the replay waits in the middle of its work.
# A shell's background jobs ignore Ctrl-C, and so would this one if the tests run in one.
INTERRUPTED = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from service.cli.main import main
from service.input_files import InputFile
from service.replay import ReplayOptions, replay_in_processes
from service.cli import main as command
def run():
    files = [InputFile(sys.argv[1]), InputFile(sys.argv[1])]
    files[1].path = sys.argv[2]
    replay_in_processes(files, None, ReplayOptions(out=Path(sys.argv[3])), 2)
command.build_cli = lambda: run
if __name__ == "__main__":
    main()
"""


def children(pid: int, count: int) -> list[psutil.Process]:
    """Wait until so many processes of the replay are at work."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]
        if len(found) == count:
            return found
        time.sleep(0.1)
    raise AssertionError("the processes did not start")


def test_the_command_takes_processes(tmp_path: Path, lines: list[bytes]) -> None:
    """`vitals replay --processes 2 --json` prints the summary of one process."""
    log = write(tmp_path / "log.ndjson", lines)
    printed = []
    for extra in ([], ["--processes", "2"]):
        command = [sys.executable, "-m", "service.cli.main", "replay", str(log), "--json", *extra]
        summary = orjson.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
        printed.append({name: value for name, value in summary.items() if "second" not in name})
    assert printed[0] == printed[1]
