"""The demo's picture: alerts of bands and of rules, whatever the model names them."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from rich.console import Console

from service.adapters.topic_reader import ConsumedRecord
from service.cli.demo_view import RULES, DemoView
from service.demo.board import ALERT_KINDS, Board
from service.ingest import Decoder
from service.input_files import InputFile
from service.model.loader import load_model
from service.replay import ReplayOptions, replay_files
from service.simulation import Simulation
from service.topic_catalogue import TopicNames
from tests.replay.test_replay import lines_of, write


def test_rule_alerts_are_counted_and_shown(tmp_path: Path) -> None:
    """All alerts of a simulated company are on the board: bands by kind, rules together, the latest by name."""
    log = write(tmp_path / "log.ndjson", [line.value for line in Simulation(accounts=30, days=120, seed=3).lines()])
    replay_files(
        [InputFile(str(log))], Decoder(lambda: 4_000_000_000_000), load_model(), ReplayOptions(out=tmp_path / "out")
    )
    names = TopicNames()
    board = Board(names)
    for file, topic in (("scores.ndjson", names.scores), ("alerts.ndjson", names.alerts)):
        for offset, line in enumerate((tmp_path / "out" / file).read_bytes().splitlines()):
            record = SimpleNamespace(topic=topic, partition=0, offset=offset, value=line)
            board.take(cast("ConsumedRecord", record))
    kinds = [alert["data"]["kind"] for alert in lines_of(tmp_path / "out" / "alerts.ndjson")]
    of_rules = [kind for kind in kinds if kind not in ALERT_KINDS]
    assert of_rules
    assert board.alert_count == len(kinds)
    board.page_url = "http://127.0.0.1:20000/"
    output = io.StringIO()
    Console(file=output, width=140, height=40).print(DemoView(board))
    shown = output.getvalue()
    assert "http://127.0.0.1:20000/" in shown.splitlines()[0]
    (row,) = [row for row in shown.splitlines() if RULES in row]
    assert row.split(RULES)[1].split()[0] == str(len(of_rules))
    for alert in board.latest_alerts(3):
        assert f" {alert.kind.replace('_', ' ')} " in shown
