"""The comparison with other engines: whoever computes something else gives no figure, and nothing is left running."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.peers import environment
from benchmarks.peers.apps.work import Account, apply, apply_to_dict, as_dict, check, decode, new_dict
from benchmarks.peers.check import differences, dumped_states
from benchmarks.peers.engines import ENGINES, OURS
from benchmarks.peers.events import EVENT_BYTES, Expected, make_events
from benchmarks.peers.measurement import run_engine
from benchmarks.peers.report import page, plot, summarise, table, write_page
from benchmarks.peers.run import Comparison
from benchmarks.worker_process import BenchmarkError
from service.adapters.embedded_kafka import EmbeddedKafka
from service.errors import DependencyError

STATE = {"offset": 3, "events": 2, "total": 9, "last": "t", "score": 53.25, "features": {"search": 2}}


def expected() -> Expected:
    """Make what one account must have come to."""
    return Expected({"a": dict(STATE)}, Counter({("a", 53.25): 1}))


def test_equal_states_and_alerts_differ_in_nothing() -> None:
    """The last bit of a score is not looked at."""
    states = {"a": {**STATE, "score": 53.25 + 1e-13}}
    assert differences(expected(), states, Counter({("a", 53.25): 1})) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("offset", 2), ("events", 3), ("total", 8), ("last", "u"), ("score", 53.2501), ("features", {"search": 1})],
)
def test_each_field_is_compared(field: str, value: Any) -> None:
    """A state that differs in one field is told, unless the field is left out."""
    states, alerts = {"a": {**STATE, field: value}}, Counter({("a", 53.25): 1})
    assert "1 of 1 states differ" in differences(expected(), states, alerts)[0]
    assert differences(expected(), states, alerts, frozenset({field})) == []


@pytest.mark.parametrize("alerts", [Counter(), Counter({("a", 53.25): 2}), Counter({("b", 53.25): 1})])
def test_each_alert_is_compared(alerts: Counter[tuple[str, float]]) -> None:
    """An alert that is missing, doubled or of another account is told."""
    assert "alerts" in differences(expected(), {"a": STATE}, alerts)[0]


def test_missing_and_spare_accounts_are_told() -> None:
    """An account that is not there, and one that must not be."""
    assert "1 of 1 states differ, 1 are spare" in differences(expected(), {"b": STATE}, Counter({("a", 53.25): 1}))[0]


def test_both_ways_of_the_work_agree() -> None:
    """Objects and dictionaries come to the same, event by event, and a record that was seen is left out."""
    account, mapping = Account(), new_dict()
    for offset, (_, value) in enumerate(make_events(500)):
        event = decode(value)
        assert event is not None
        for _ in range(2):
            assert apply(account, event, offset) == apply_to_dict(mapping, json.loads(value), offset)
    assert as_dict(account) == mapping
    assert account.events == 500


@pytest.mark.parametrize(
    "change",
    [{"n": "1"}, {"n": 1.5}, {"type": "other"}, {"account_id": 7}, {"feature": None}, {"ts": 0}, {"event_id": 1}],
)
def test_both_ways_refuse_the_same(change: dict[str, Any]) -> None:
    """A field of another type is refused by the decoder and by the check."""
    _, value = next(make_events(1))
    event = json.loads(value)
    assert decode(value) is not None
    assert check(event)
    assert decode(json.dumps({**event, **change}).encode()) is None
    assert not check({**event, **change})


def test_events_are_of_one_size_and_the_same_each_time() -> None:
    """A run can be compared with another one."""
    events = list(make_events(300))
    assert {len(value) for _, value in events} == {EVENT_BYTES}
    assert events == list(make_events(300))


@pytest.mark.kafka
def test_our_runtime_comes_to_the_expected_states(broker: EmbeddedKafka, topic_prefix: str, tmp_path: Path) -> None:
    """The application on our runtime gives figures, and states and alerts as a plain recount has them."""
    comparison = Comparison(broker.bootstrap, tmp_path, 20_000, topic_prefix)
    comparison.fill(OURS)
    comparison.run(OURS[0], 1)
    result = comparison.results[0]
    assert "failed" not in result, result
    assert result["events_per_second"] > 0
    assert result["cpu_us_per_event"] > 0
    assert result["peak_rss_mib"] > 10
    shorter = replace(OURS[0], variables=lambda: {**OURS[0].variables(), "PEER_EVENTS": "10000"})
    comparison.run(shorter, 1)
    assert "failed" in comparison.results[1]


def engine(tmp_path: Path, code: str) -> list[str]:
    """Write an engine that marks with these lines."""
    script = tmp_path / "engine.py"
    apps = Path(environment.__file__).with_name("apps")
    script.write_text(f"import sys, time, subprocess\nsys.path.insert(0, {str(apps)!r})\nimport marks\n{code}")
    return [sys.executable, str(script)]


def variables(tmp_path: Path, events: int) -> dict[str, str]:
    """Make the environment of an engine."""
    return {**os.environ, "PEER_EVENTS": str(events), "PEER_FOLDER": str(tmp_path)}


BUSY_CHILD = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"


def test_figures_are_those_of_the_whole_tree(tmp_path: Path) -> None:
    """The rate comes from the engine's marks, the processor time from its children too."""
    code = (
        "marks.mark(0)\n"
        f"subprocess.run([sys.executable, '-c', {BUSY_CHILD!r}])\n"
        "marks.mark(500)\ntime.sleep(0.2)\nmarks.mark(1000)\ntime.sleep(0.2)\n"
        "marks.mark_done()\nmarks.dump([('a', {'events': 1})])"
    )
    watch = run_engine(engine(tmp_path, code), variables(tmp_path, 1000), tmp_path, 60)
    measured = watch.measured(1000)
    assert measured.warm_events_per_second is not None
    assert 100 < measured.warm_events_per_second < 2_500
    assert 450 <= measured.cpu_us_per_event < 1_500
    assert measured.events_per_second < 2_000
    assert measured.stopped_events_per_second < measured.events_per_second
    assert measured.peak_rss_mib > 5
    assert dumped_states(tmp_path) == {"a": {"events": 1}}


def test_an_engine_that_does_not_do_all_gives_no_figure(tmp_path: Path) -> None:
    """Fewer events, or an end without the last mark, are failures."""
    watch = run_engine(
        engine(tmp_path, "marks.mark(0)\nmarks.mark(9)\nmarks.mark_done()"), variables(tmp_path, 10), tmp_path, 60
    )
    with pytest.raises(BenchmarkError, match="9 of 10"):
        watch.measured(10)
    with pytest.raises(BenchmarkError, match="nobody listens"):
        run_engine(engine(tmp_path, "raise OSError('nobody listens')"), variables(tmp_path, 10), tmp_path, 60)


@pytest.mark.slow
def test_an_engine_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    """Nothing that it started is left, not even what ignores the first signal."""
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    code = (
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "open('child', 'w').write(str(child.pid))\nmarks.mark(0)\ntime.sleep(600)"
    )
    with pytest.raises(BenchmarkError, match="not done after 6 s"):
        run_engine(engine(tmp_path, code), variables(tmp_path, 10), tmp_path, 6)
    pid = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the installer's."""
    (tmp_path / "odd.txt").write_text("this is no requirement\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DependencyError, match="uv failed"):
        environment.python_of("odd")


def stored() -> dict[str, Any]:
    """Make the stored results of three rounds of three engines, one of which is left out."""
    runs: list[dict[str, Any]] = [
        {
            "engine": name,
            "round": number,
            "events": 1000,
            "version": "x 1",
            "events_per_second": rate * number,
            "warm_events_per_second": None,
            "cpu_us_per_event": 2.0 * number,
            "warm_cpu_us_per_event": None,
            "stopped_events_per_second": rate * number / 2,
            "stopped_cpu_us_per_event": 3.0 * number,
            "peak_rss_mib": 10.0 * number,
        }
        for name, rate in (("ours", 100_000), ("faust", 1_000))
        for number in (3, 1, 2)
    ]
    runs.append({"engine": "quix", "round": 1, "events": 1000, "version": "q 1", "skipped": "no <room> left"})
    where = {"cpus": 2, "architecture": "any", "python": "3.11", "load_average": [0.1, 0.1, 0.1]}
    return {"machine": where, "events": 1000, "rounds": 3, "seconds": 600, "runs": runs}


def test_the_page_tells_medians_and_reasons() -> None:
    """The fastest comes first, with median, least and most; who is left out is told why."""
    lines = summarise(stored())
    assert [line.name for line in lines] == ["ours", "faust", "quix"]
    rows = table(lines).splitlines()[2:]
    assert "200.0k (100.0 - 300.0)" in rows[0]
    assert "4.0 (2.0 - 6.0)" in rows[0]
    assert "100.0k (50.0 - 150.0)" in rows[0]
    assert "| 30 | 3 | x 1 |" in rows[0]
    assert "| - | - | - | - | - | - | - | 0 |" in rows[2]
    assert "- Quix Streams: no <room> left" in page(stored())


def test_page_and_plot_are_written_side_by_side(tmp_path: Path) -> None:
    """The page shows the plot by its name, and no place for a figure is left empty."""
    write_page(stored(), tmp_path / "benchmarks-peers.md")
    text = (tmp_path / "benchmarks-peers.md").read_text()
    assert "](benchmarks-peers.svg)" in text
    assert (tmp_path / "benchmarks-peers.svg").is_file()
    assert not re.findall(r"\{\w*\}", text)


def test_the_plot_is_well_formed() -> None:
    """One bar for each engine with a figure, as long as its median."""
    root = ET.fromstring(plot(summarise(stored())))  # noqa: S314 - our own
    bars = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == 2
    assert bars[0] == pytest.approx(100 * bars[1], rel=0.1)


def test_every_engine_has_a_name_of_its_own() -> None:
    """Names are keys, and every version can be told without starting the engine."""
    assert len({engine.name for engine in ENGINES}) == len(ENGINES)
    assert all(any(sign.isdigit() for sign in engine.version()) for engine in ENGINES)
