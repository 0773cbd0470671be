"""What is logged of an error that ends the worker: nothing by libraries when it was expected, else its stack, once."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaError
from mode import Service

from agents.runtime.crash_reports import CrashReports
from service.errors import TopicError


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Log to memory, as the root logger of a worker logs to stderr."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(CrashReports())
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def crash_twice(error: Exception) -> None:
    """Let an error pass two of mode's services, as it does on its way from an agent to the app."""

    class Passed(Service):
        pass

    async def crash() -> None:
        for service in (Passed(), Passed()):
            try:
                raise error
            except type(error) as passing:
                await service.crash(passing)

    asyncio.run(crash())


@pytest.mark.parametrize("error", [TopicError("too many"), KafkaError("no broker")])
def test_an_expected_error_is_left_to_the_last_line(log: io.StringIO, error: Exception) -> None:
    """Neither the text nor the stack of an error that is raised on purpose comes from a library."""
    crash_twice(error)
    assert log.getvalue() == ""


def test_an_unexpected_error_keeps_its_stack_once(log: io.StringIO) -> None:
    """A bug is told with its stack, however many services it passes."""
    crash_twice(ZeroDivisionError("a bug"))
    assert log.getvalue().count("Crashed reason=ZeroDivisionError('a bug')") == 1
    assert log.getvalue().count("Traceback") == 1
    assert "in crash" in log.getvalue()


def test_what_is_said_about_an_error_that_does_not_end_the_worker_is_logged(log: io.StringIO) -> None:
    """Only reports of mode, Faust and the loop are left out: what is logged on purpose stays, each time."""
    error = TopicError("too many")
    for _ in range(2):
        logging.getLogger("agents.runtime.recovery").error("starts again: %r", error)
        logging.getLogger("agents.model_reload").error("refused", exc_info=error)
    assert log.getvalue().count("starts again") == 2
    assert log.getvalue().count("refused") == 2
