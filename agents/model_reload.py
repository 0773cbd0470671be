"""Another model while the worker runs: the file is read anew at SIGHUP and when it changed, and every account follows.

A model that is refused changes nothing but the log. A valid one is in force at once: an account that has an event or
comes due is scored with it first, all others in slices between which input and commits get their turn. Until then an
account stands, and is published, as the model before made it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from agents.partition_task import PartitionTask
from agents.runtime.table import Partition
from agents.scorer import Scorer
from service.errors import ConfigError
from service.model.loader import load_model

log = logging.getLogger(__name__)

WATCH_INTERVAL_SECONDS = 1.0
# Accounts scored anew and flushed before input and alerts get their turn: a few milliseconds of work.
RESCORE_SLICE_ACCOUNTS = 25
PAUSE_SECONDS = 0.01

Stamp = tuple[int, int, int]
Flush = Callable[[Partition, Iterable[bytes]], Awaitable[None]]


class ModelReload:
    """Watches one model file (None: the packaged model) for a scorer; `asked` is set to have it read anew.

    `flush` makes states durable and publishes their scores: slice by slice, so that no commit has many of them to write
    while alerts wait for it.
    """

    def __init__(self, scorer: Scorer, path: Path | None, asked: asyncio.Event, flush: Flush) -> None:
        self._flush = flush
        self._scorer = scorer
        self._path = path
        self._asked = asked

    async def watch_forever(self) -> None:
        """Read the file when asked and when it changed, for ever.

        A changed file is read once it stood still for an interval, so that one being written is not read half.
        """
        read: Stamp | None = None  # it may have changed since the worker read it at its start
        seen = self._stamp()
        while True:
            await self._wait_asked()
            stamp, before = self._stamp(), seen
            seen = stamp
            asked = self._asked.is_set()
            if asked or (stamp == before and stamp != read):
                self._asked.clear()
                read = stamp
                await self.reload(asked=asked)

    async def _wait_asked(self) -> None:
        try:
            async with asyncio.timeout(WATCH_INTERVAL_SECONDS):
                await self._asked.wait()
        except TimeoutError:
            pass

    def _stamp(self) -> Stamp | None:
        """Tell one state of the file from another; None while there is no file."""
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)

    async def reload(self, *, asked: bool) -> None:
        """Read the model and put it in force when it is valid and another one; else log why not, to who asked."""
        before = self._scorer.model
        try:
            model = await asyncio.to_thread(load_model, self._path)  # reading YAML takes as long as many events
        except ConfigError as refused:
            _log_refusal(refused, before.version)
            return
        if model.fingerprint == before.fingerprint:
            if asked:
                log.info("model %s is in force already", model.version)
            return
        self._scorer.use_model(model)
        stale = sum(len(task.stale) for task in self._scorer.tasks.values())
        log.info("model %s is in force, before it %s; accounts to score anew: %d", model.version, before.version, stale)

    async def rescore_forever(self) -> None:
        """Score the stale accounts anew and bring out each slice, for ever."""
        scored = 0
        while True:
            tasks = list(self._scorer.tasks.values())
            for task in tasks:
                scored += await self._rescore(task)
            if scored and not any(task.stale for task in tasks):
                log.info("accounts scored anew with model %s: %d", self._scorer.model.version, scored)
                scored = 0
            if not scored:
                await asyncio.sleep(WATCH_INTERVAL_SECONDS)

    async def _rescore(self, task: PartitionTask) -> int:
        keys = task.rescore(RESCORE_SLICE_ACCOUNTS)
        if keys:
            await self._flush(task.partition, keys)
            await asyncio.sleep(PAUSE_SECONDS)
        return len(keys)


def _log_refusal(refused: ConfigError, version: str) -> None:
    for fault in str(refused).splitlines():
        log.error("model refused: %s", fault)
    log.error("model %s stays in force", version)
