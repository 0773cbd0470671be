"""Why a worker ends, in the one line that is its last: what went wrong, or what is not committed and why.

With the brokers away, or topics gone, a stop may not be able to end, so the watchdog ends it; that is no fault of the
process, so there is nothing to look for in its threads.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, cast

from aiokafka.errors import KafkaError
from faust.types import TP

from agents.runtime.crash_reports import CrashReports
from agents.runtime.sight import BrokerView
from service.adapters.clients import NOT_ALLOWED, not_allowed
from service.errors import DependencyError, VitalsError

if TYPE_CHECKING:
    from agents.runtime.app import RuntimeApp
    from agents.runtime.transport import BatchConsumer

TOLD_PARTITIONS = 3

log = logging.getLogger(__name__)


class Ending:
    """The end of a worker, from the moment on that it stops."""

    def __init__(self, app: RuntimeApp, brokers: BrokerView, reports: CrashReports) -> None:
        self._app = app
        self._brokers = brokers
        self._reports = reports
        self._uncommitted: str | None = None
        self.failure: BaseException | None = None
        """Why it stops; None when it was asked to."""

    def begin(self, failure: BaseException | None) -> None:
        """Note why it stops, and what is not committed at that moment."""
        self.failure = failure
        self._uncommitted = _spans(cast("BatchConsumer", self._app.consumer).uncommitted())

    def known_delay(self) -> str | None:
        """Return why the stop cannot end, when that is known; for the watchdog's thread."""
        if self._uncommitted is None:
            return None
        known = self.failure if isinstance(self.failure, VitalsError) else self._brokers.fault
        if known is None and not self._brokers.answers(time.monotonic()):
            known = self._brokers_away()
        return None if known is None else f"worker stops: {known}"

    def tell(self, failure: BaseException) -> int:
        """Log why the worker ended; return its exit code."""
        if isinstance(failure, NOT_ALLOWED):
            failure = not_allowed(self._app.options.bootstrap, failure)
        if isinstance(failure, KafkaError | TimeoutError) and not self._brokers.answers(time.monotonic()):
            failure = self._brokers_away()
        if isinstance(failure, VitalsError):
            log.error("worker stops: %s", failure)
            return failure.exit_code
        log.error("worker stops: %r", failure, exc_info=None if self._reports.has_told(failure) else failure)
        return 1

    def _brokers_away(self) -> DependencyError:
        return DependencyError(
            f"the brokers do not answer, so {self._uncommitted or 'what was done last'} is not committed; nothing is "
            "lost, the next start reads it again"
        )


def _spans(uncommitted: dict[TP, tuple[int, int]]) -> str:
    told = [
        f"{topic}/{number} from offset {begin} to {end - 1}"
        for (topic, number), (begin, end) in sorted(uncommitted.items())
    ]
    more = len(told) - TOLD_PARTITIONS
    return ", ".join(told[:TOLD_PARTITIONS]) + (f" and of {more} more partitions" if more > 0 else "")
