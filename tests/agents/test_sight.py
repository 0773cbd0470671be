"""What a worker says of its brokers: once that they are away, once that they are back, however often it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agents.runtime import sight
from agents.runtime.app import RuntimeApp, RuntimeOptions
from agents.runtime.crash_reports import CrashReports
from agents.runtime.ending import Ending
from agents.runtime.sight import BrokerView
from service.errors import DependencyError, TopicError
from tests.agents.test_table import CountHooks

AWAY, BACK = "the brokers do not answer: waiting", "the brokers answer again"


class Brokers:
    """Brokers that answer a look or do not, as told."""

    def __init__(self, *answers: bool) -> None:
        self._answers: Iterator[bool] = iter(answers)
        self.app = RuntimeApp(
            RuntimeOptions("test", "127.0.0.1:1", "changelog", 1.0, 10, 6.0, check_topics=self._check), CountHooks()
        )
        self.view = BrokerView(self.app)

    async def _check(self) -> None:
        answers = next(self._answers, None)
        if answers is None:
            raise asyncio.CancelledError
        if not answers:
            raise DependencyError("no Kafka answers")

    def look(self) -> None:
        """Look as often as answers are told, and say each time what is to be said."""

        async def look() -> None:
            looking = asyncio.ensure_future(self.view.look_at_topics_forever())
            while not looking.done():
                self.view.tell_whether_away(0.0)
                await asyncio.sleep(0)

        asyncio.run(look())


@pytest.fixture(autouse=True)
def _looks_without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "LOOK_SECONDS", 0.0)


def test_away_and_back_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A single look that failed is nothing; of a hundred the second is told, and the first answer after them."""
    Brokers(True, False, True, *[False] * 100, True, True, False, False, True).look()
    assert [message[: len(AWAY)] for message in caplog.messages] == [AWAY, BACK, AWAY, BACK]


def test_a_look_without_an_answer_is_away_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """Brokers that keep a question for ten seconds are away, though no look has failed."""
    view = Brokers().view
    begin_seconds = view._beat_seconds
    beats = round(sight.ANSWER_SECONDS / sight.BEAT_SECONDS)
    for beat in range(1, beats):
        view.tell_whether_away(begin_seconds + beat * sight.BEAT_SECONDS)
    assert not caplog.messages
    for beat in range(beats, 5 * beats):
        view.tell_whether_away(begin_seconds + beat * sight.BEAT_SECONDS)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(AWAY)


def test_a_worker_that_did_not_run_heard_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """A minute in which the worker got no time of the machine says nothing of the brokers."""
    view = Brokers().view
    view.tell_whether_away(view._beat_seconds + 60.0)
    assert not caplog.messages


def test_a_stop_without_brokers_or_for_a_known_reason_is_a_known_delay() -> None:
    """The watchdog is told what it may say instead of stacks, once the stop has begun."""
    brokers = Brokers(True)
    ending = Ending(brokers.app, brokers.view, CrashReports())
    assert ending.known_delay() is None
    ending.begin(None)
    assert "the brokers do not answer, so what was done last is not committed" in (ending.known_delay() or "")
    brokers.look()
    assert ending.known_delay() is None
    ending.begin(TopicError("too many"))
    assert ending.known_delay() == "worker stops: too many"
    brokers.app.consumer._thread.thread_loop.close()  # type: ignore[attr-defined]  # a BatchConsumer
