"""`make bench-peers`: every engine on the same topic, in turns, several rounds; then the page and the plot.

Each round runs every engine once, so that a machine whose speed drifts does so for all alike. A run whose states or
alerts are not what a plain recount says is no figure: it is stored as failed, with what was wrong. Progress goes to
stderr. A run of all engines writes `results.json`, the page and the plot; one of some of them prints a table only.
Ctrl-C ends the engine that runs, then the broker.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.command import say
from benchmarks.figures import machine
from benchmarks.peers.check import differences, dumped_states, published_alerts, stored_states
from benchmarks.peers.engines import ENGINES, Engine
from benchmarks.peers.events import Expected, make_topic, publish, recount
from benchmarks.peers.measurement import run_engine
from benchmarks.peers.product import PRODUCT, measure_product
from benchmarks.peers.report import RESULTS, summarise, table, write_page
from benchmarks.worker_process import BenchmarkError
from service.adapters.embedded_kafka import EmbeddedKafka
from service.errors import DependencyError, VitalsError

RUN_SECONDS_MAX: Final = 900.0
INTERRUPTED: Final = 130


@dataclass(slots=True)
class Topic:
    """A filled topic with what every engine must make of it."""

    name: str
    events: int
    expected: Expected = field(default_factory=Expected)


class Comparison:
    """Runs engines against one broker and keeps what came of it."""

    def __init__(self, bootstrap: str, home: Path, events: int, prefix: str = "") -> None:
        """Name what it needs on the broker; `prefix` keeps it apart from what others have there."""
        self._bootstrap = bootstrap
        self._home = home
        self._topics = {
            "all": Topic(f"{prefix}events", events),
            "tenth": Topic(f"{prefix}events-tenth", max(events // 10, 1)),
        }
        self._prefix = prefix
        self._runs = 0
        self.results: list[dict[str, Any]] = []

    def fill(self, engines: Sequence[Engine]) -> None:
        """Publish what the engines are to read, and count what they must come to."""
        for amount in sorted({engine.amount for engine in engines}):
            topic = self._topics[amount]
            say(f"publishing {topic.events:,} events ...")
            asyncio.run(make_topic(self._bootstrap, topic.name))
            asyncio.run(publish(self._bootstrap, topic.name, topic.events))
            topic.expected = asyncio.run(recount(self._bootstrap, topic.name))

    def run(self, engine: Engine, round_number: int) -> None:
        """Run one engine once and note its figures, or why there are none."""
        self._runs += 1
        run, topic = f"{self._prefix}{engine.name}-{self._runs}", self._topics[engine.amount]
        told: dict[str, Any] = {"engine": engine.name, "round": round_number, "events": topic.events}
        say(f"round {round_number}: {engine.label} ...")
        try:
            told["version"] = engine.version()
            told |= self._measure(engine, run, topic)
        except DependencyError as error:
            told["skipped"] = str(error)
        except BenchmarkError as error:
            told["failed"] = str(error)
        self.note(told)

    def _measure(self, engine: Engine, run: str, topic: Topic) -> dict[str, Any]:
        command, variables = engine.command(), engine.variables()
        folder = self._home / run
        folder.mkdir()
        asyncio.run(make_topic(self._bootstrap, f"{run}-alerts"))
        if engine.changelog is not None and engine.changelog.is_made_before:
            asyncio.run(make_topic(self._bootstrap, engine.changelog.topic.format(run=run), is_compact=True))
        environment = {**self._environment(run, topic, folder), **variables}
        watch = run_engine(command, environment, folder, RUN_SECONDS_MAX)
        wrong = [] if engine.is_limit else asyncio.run(self._differences(engine, run, topic, folder))
        return {"failed": "; ".join(wrong)} if wrong else asdict(watch.measured(topic.events))

    def note(self, told: dict[str, Any]) -> None:
        """Keep a result and tell it."""
        self.results.append(told)
        reason = told.get("skipped") or told.get("failed")
        if reason:
            say(f"  {'left out' if 'skipped' in told else 'FAILED'}: {reason}")
        else:
            say(f"  {told['events_per_second']:,.0f} events/s, {told['cpu_us_per_event']:.2f} us of CPU per event")

    def _environment(self, run: str, topic: Topic, folder: Path) -> dict[str, str]:
        return {
            **os.environ,
            "PEER_BOOTSTRAP": self._bootstrap,
            "PEER_TOPIC": topic.name,
            "PEER_EVENTS": str(topic.events),
            "PEER_RUN": run,
            "PEER_ALERTS": f"{run}-alerts",
            "PEER_FOLDER": str(folder),
        }

    async def _differences(self, engine: Engine, run: str, topic: Topic, folder: Path) -> list[str]:
        if engine.changelog is None:
            states = dumped_states(folder)
        else:
            changelog = engine.changelog.topic.format(run=run, topic=topic.name)
            states = await stored_states(self._bootstrap, changelog, engine.changelog.decode)
        alerts = await published_alerts(self._bootstrap, f"{run}-alerts")
        return differences(topic.expected, states, alerts, engine.ignored_fields)


def compare(arguments: argparse.Namespace, home: Path) -> list[dict[str, Any]]:
    """Run all rounds on a broker of their own."""
    kafka = EmbeddedKafka(home, brokers=1, port=0)
    say("starting a broker ...")
    try:
        kafka.start()
        comparison = Comparison(kafka.bootstrap, home, arguments.events)
        engines = [engine for engine in ENGINES if not arguments.only or engine.name in arguments.only]
        comparison.fill(engines)
        for number in range(1, arguments.rounds + 1):
            for engine in engines:
                comparison.run(engine, number)
            if not arguments.only or PRODUCT in arguments.only:
                comparison.note(asyncio.run(measure_product(kafka.bootstrap, home, number, arguments.events)))
        return comparison.results
    finally:
        kafka.stop()


def _arguments() -> argparse.Namespace:
    names = [engine.name for engine in ENGINES] + [PRODUCT]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.run", description="Vitals beside other engines.")
    parser.add_argument("--events", type=int, default=1_000_000, help="events in the topic (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each engine runs (default: 3)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="ENGINE", help=f"of {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="print the results as JSON and write no page")
    return parser.parse_args()


def main() -> int:
    """Run, then write the page; 1 when an engine failed."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves nothing behind, either
    begin_seconds, where = time.monotonic(), machine()
    try:
        with tempfile.TemporaryDirectory(prefix="vitals-peers-") as home, contextlib.chdir(home):
            results = compare(arguments, Path(home))
    except VitalsError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("stopped: nothing is written")
        return INTERRUPTED
    stored = {
        "machine": where,
        "events": arguments.events,
        "rounds": arguments.rounds,
        "seconds": round(time.monotonic() - begin_seconds),
        "runs": results,
    }
    if arguments.json:
        print(json.dumps(stored, indent=2))
    else:
        print(table(summarise(stored)))
    if not arguments.only:
        RESULTS.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        write_page(stored)
    return int(any("failed" in result for result in results))


if __name__ == "__main__":
    sys.exit(main())
