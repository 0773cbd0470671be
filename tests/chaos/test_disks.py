"""F16: the broker's disk is full, and the worker's is read-only: nothing is lost, and nothing is half committed.

The broker's data lie on a small file system of their own, which this test fills to its last byte. That takes the right
to mount one, so without it the test is skipped. A read-only folder is one too, or for other users one without the
right to write.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.adapters.embedded_kafka import EmbeddedKafka
from tests.chaos.logs import live_log
from tests.chaos.run import Place, Plan, running

SEED = 1
DISK_MIB = 640
CHUNK = bytes(1 << 20)
FULL_SECONDS = 60.0
AWAY_SECONDS = 20.0
PLAN = Plan(rate=150)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Have a file system in memory at a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left; return the file to delete."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for piece in (CHUNK, CHUNK[:4096], CHUNK[:1]):
            while _fits(file.fileno(), piece):
                pass
    return filler


def _fits(file: int, piece: bytes) -> bool:
    try:
        return os.write(file, piece) == len(piece)
    except OSError:
        return False


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a small file system")
def test_a_full_disk_under_the_broker_loses_nothing(tmp_path: Path) -> None:
    """The broker stops by itself; workers wait, or end with 1 and start again; with space all is as it must be."""
    with mounted(tmp_path / "disk", f"size={DISK_MIB}m") as disk:
        kafka = EmbeddedKafka(disk, brokers=1, port=0)
        kafka.start()
        try:
            place = Place(kafka.bootstrap, kafka.bootstrap)
            with running(PLAN, place, tmp_path / "run", SEED, {}) as run:
                run.prepare(live_log(SEED, 200, 5))
                run.fleet.scale(PLAN.workers)
                run.fleet.wait_ready()
                run.produce()
                run.fleet.pass_time(5)
                assert run.producing, "the log ended before the disk was full"
                filler = fill(disk)
                run.history.note("the disk is full")
                run.wait_for(lambda: kafka.status().state != "running", FULL_SECONDS)
                run.history.note("the broker stopped")
                run.fleet.pass_time(AWAY_SECONDS)
                filler.unlink()
                kafka.restart(0)
                run.history.note("there is space again, and the broker runs")
                verdict = run.finish().verdict
                assert verdict.passed, (run.history.lines, verdict.differences[:1])
        finally:
            kafka.stop()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Make a folder that nobody can write to."""
    folder = tmp_path / "read-only"
    if os.geteuid() == 0:
        with mounted(folder, "ro"):
            yield folder
    else:
        folder.mkdir(mode=0o555)
        yield folder


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.chaos
def test_a_worker_needs_no_disk_to_write_to(read_only: Path, broker: EmbeddedKafka, tmp_path: Path) -> None:
    """With a read-only home and temporary folder it runs, is killed, recovers, and leaves what it must."""
    with pytest.raises(OSError, match=r"Read-only|denied"):
        (read_only / "any").touch()
    folders = dict.fromkeys(("VITALS_HOME", "HOME", "TMPDIR", "XDG_CACHE_HOME"), str(read_only))
    place = Place(broker.bootstrap, broker.bootstrap)
    with running(PLAN, place, tmp_path / "run", SEED, folders) as run:
        run.begin(live_log(SEED, 60, 5))
        run.fleet.wait_ready()
        run.fleet.kill(run.fleet.slots[0])
        verdict = run.finish().verdict
        assert verdict.passed, (run.history.lines, verdict.differences[:1])
