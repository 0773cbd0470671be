"""Everything there is to say about one account: its score with its reasons, what was told, and what changed since.

The score and the alerts are the `data` of the messages that a worker publishes, wherever they come from: replayed from
files here, which adds the signals to the score, or read from the topics by `service.account_topics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any, Final

import orjson

from schemas.times import time_text
from service.errors import InputError
from service.ingest import Decoder
from service.input_files import InputFile, OneAccount, RefusedLine
from service.outputs import action_message, alert_message
from service.replay import Refuse, Replay, ReplayOptions
from service.replay.files import read_events, score_line
from service.scoring.model import Model
from service.scoring.views import ActionTaken, Alert

LEAST_POINTS: Final = 0.05  # less is not seen in points of one decimal


@dataclass(frozen=True, slots=True)
class Explanation:
    """One account: `score`, `alerts` and `actions` (oldest first) are `data` of messages."""

    score: dict[str, Any]
    alerts: list[dict[str, Any]]
    actions: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return everything ready for JSON."""
        trends = {name: self.score.get(name) for name in ("trend_7", "trend_30")}
        told = {"since_last_alert": self.since_last_alert(), "alerts": self.alerts, "actions": self.actions}
        return {"score": self.score, **trends, **told}

    def alert_state(self, seq: int) -> str:
        """Name what became of an alert; `new` when nobody acted on it, or no longer than its snooze."""
        about = [action for action in self.actions if action["alert_seq"] == seq and action["alert_state"]]
        if not about or (about[-1]["until"] or self.score["as_of"]) < self.score["as_of"]:
            return "new"
        return str(about[-1]["alert_state"])

    def since_last_alert(self) -> dict[str, Any] | None:
        """Tell what changed since the last alert, in points that add up to the change of the score.

        None when there was no alert; `changes` is None when the two cannot be compared: another model or no score.
        """
        if not self.alerts:
            return None
        alert = self.alerts[-1]
        comparable = self.score["score"] is not None and self.score["model_version"] == alert["model_version"]
        points = self.score["score"] - alert["score"] if comparable else None
        told = {name: alert[name] for name in ("id", "seq", "kind", "as_of", "score")}
        return {**told, "points": points, "changes": _changes(self.score, alert) if comparable else None}


def _changes(score: dict[str, Any], alert: dict[str, Any]) -> list[dict[str, Any]]:
    """List the factors that moved the score since the alert, as docs/model.md shares points out, most lost first."""
    before = {factor["name"]: factor for factor in alert["factors"] if factor["output"] is not None}
    now = {factor["name"]: factor for factor in score["factors"]}
    both = now.keys() & before.keys()
    weight = fsum(now[name]["weight"] for name in both)
    common = fsum(now[name]["weight"] * before[name]["output"] for name in both) / weight if both else alert["score"]
    changes = []
    for name, factor in now.items():
        then = before.get(name)
        points = factor["weight"] * (factor["output"] - (common if then is None else then["output"]))
        value_before = None if then is None else then["value"]
        changes.append({**_words(factor), "value_before": value_before, "value": factor["value"], "points": points})
    # Of factors that have no data any more only the sum is known: an alert does not tell weights.
    gone = [before[name] for name in before.keys() - now.keys()]
    rest = score["score"] - alert["score"] - fsum(change["points"] for change in changes)
    for factor in sorted(gone, key=lambda factor: str(factor["name"])):
        told = {"name": factor["name"], "label": factor["label"], "sentence": "no data any more"}
        changes.append({**told, "value_before": factor["value"], "value": None, "points": rest / len(gone)})
    moved = [change for change in changes if abs(change["points"]) >= LEAST_POINTS]
    return sorted(moved, key=lambda change: (change["points"], change["name"]))


def _words(factor: dict[str, Any]) -> dict[str, Any]:
    return {name: factor[name] for name in ("name", "label", "sentence")}


def explain_from_messages(score: bytes, alerts: Sequence[bytes], actions: Sequence[bytes]) -> Explanation:
    """Explain an account by its messages; of an outcome that came again after a crash the first counts."""
    taken = {data["seq"]: data for data in reversed([message_data(action) for action in actions])}
    return Explanation(
        message_data(score), [message_data(alert) for alert in alerts], [taken[seq] for seq in sorted(taken)]
    )


def explain_from_log(
    account: str,
    files: Sequence[InputFile],
    decoder: Decoder,
    model: Model,
    options: ReplayOptions,
    *,
    refuse: Refuse = lambda _: None,
) -> Explanation:
    """Replay the account's events; raises InputError when the files hold none of it."""
    alerts: list[Alert] = []
    actions: list[ActionTaken] = []

    def forget(_: str) -> None:
        alerts.clear()
        actions.clear()

    replay = Replay(
        model,
        until_ms=options.until_ms,
        lateness_ms=options.lateness_ms,
        take_alert=alerts.append,
        take_action=actions.append,
        take_erasure=forget,
    )

    def note(line: RefusedLine) -> None:
        replay.summary.refused[line.reason] += 1
        refuse(line)

    for event in read_events(files, decoder, note, OneAccount(account)):
        replay.apply(event)
    replay.drain()
    if replay.latest_ms is None:
        if replay.summary.after_until and options.until_ms is not None:
            raise InputError(f"no event of account {account!r} up to {time_text(options.until_ms)}, only later ones")
        cause = (
            "all lines that may be its own are refused"
            if replay.summary.refused
            else "is the id written as in the events?"
        )
        raise InputError(f"no event of account {account!r}; {cause}")
    state = next(replay.finish(replay.latest_ms if options.until_ms is None else options.until_ms), None)
    if state is None:
        raise InputError(f"account {account!r} is erased, and nothing happened since")
    return Explanation(
        message_data(score_line(state, model)),
        [message_data(alert_message(alert)) for alert in alerts],
        [message_data(action_message(taken)) for taken in actions],
    )


def message_data(message: bytes) -> dict[str, Any]:
    """Return the `data` of a message of ours."""
    data: dict[str, Any] = orjson.loads(message)["data"]
    return data
