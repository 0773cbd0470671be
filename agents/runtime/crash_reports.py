"""An error that ends the worker is told once: by `run_app`, in its last line.

mode and Faust log an error at every service that it passes, each time with its stack. What the project or the brokers'
client raises on purpose needs no stack, and nobody needs it five times. An error that nobody expected keeps its stack,
once.
"""

from __future__ import annotations

import logging

from aiokafka.errors import KafkaError

from service.errors import VitalsError

# What `mode.services` says of an error that passes; its last argument is the error.
REPORTS = ("Crashed reason=", "Error while stopping child")
LIBRARIES = frozenset({"faust", "mode", "asyncio"})


class CrashReports(logging.Filter):
    """Lets the first report of each unexpected error pass, and none of an expected one."""

    def __init__(self) -> None:
        super().__init__()
        self._told: list[BaseException] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
        error = _reported(record)
        if error is None:
            return True
        if isinstance(error, VitalsError | KafkaError) or self.has_told(error):
            return False
        self._told.append(error)
        return True

    def has_told(self, error: BaseException) -> bool:
        """Return whether the error was logged, with its stack."""
        return any(error is told for told in self._told)


def filter_reports() -> CrashReports:
    """Have every handler of the root logger leave out what `run_app` tells."""
    reports = CrashReports()
    for handler in logging.getLogger().handlers:
        handler.addFilter(reports)
    return reports


def _reported(record: logging.LogRecord) -> BaseException | None:
    """Return the error that a record of a library reports."""
    found: object = None
    if any(report in str(record.msg) for report in REPORTS) and isinstance(record.args, tuple):
        found = record.args[-1]
    elif record.exc_info and record.name.partition(".")[0] in LIBRARIES:
        found = record.exc_info[1]
    return found if isinstance(found, BaseException) else None
