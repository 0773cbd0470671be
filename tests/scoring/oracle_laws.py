"""The core stands as the oracle stands, after every step of a generated case."""

from __future__ import annotations

from random import Random

from tests.scoring.pair import Pair
from tests.scoring.wire_logs import Case, Step, Wire, snapped, wire_event


class Play:
    """Plays the steps of a case to core and oracle at once."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.pair = Pair(case.models[0])
        self.now_ms = case.start_ms
        self.number = 0
        self.model = 0
        self.told: list[Wire] = []

    def run(self) -> None:
        """Take every step, and compare after each."""
        for step in self.case.steps:
            self.now_ms = snapped(self.now_ms + step.gap_ms, step.snap)
            self._take(step)
            self.pair.compare()

    def _take(self, step: Step) -> None:
        if step.action == "event":
            self._tell(step, self.now_ms - step.lag_ms)
        elif step.action == "burst":
            self._burst(step)
        elif self.told:
            self._take_without_event(step)

    def _take_without_event(self, step: Step) -> None:
        if step.action == "repeat":
            self.pair.apply(self.told[-min(step.order, len(self.told))], self.now_ms)
        elif step.action == "redeliver":
            self.pair.redeliver(self.told[-1])
        elif step.action == "model":
            self.model = 1 - self.model
            self.pair.use_model(self.case.models[self.model])
        elif step.action == "stop":
            self.pair.stop_and_recover()
        elif step.action == "walk":
            self.pair.walk(self.now_ms)
        else:
            self.pair.pass_time(self.now_ms)

    def _burst(self, step: Step) -> None:
        times = [self.now_ms + n * step.spacing_ms for n in range(step.times)]
        self.now_ms = times[-1]
        if step.order:
            Random(step.order).shuffle(times)
        for number, time_ms in enumerate(times):
            self._tell(step, time_ms, number)

    def _tell(self, step: Step, time_ms: int, in_burst: int = 0) -> None:
        self.number += 1
        event = wire_event(step.drawn[in_burst % len(step.drawn)], self.number, time_ms, in_burst)
        self.told.append(event)
        self.pair.apply(event, 0 if step.action == "burst" else self.now_ms)


def core_agrees_with_the_oracle(case: Case) -> None:
    """Signals, outputs, score, coverage, trends, daily scores, rules, bands and alerts are those of the oracle."""
    Play(case).run()
