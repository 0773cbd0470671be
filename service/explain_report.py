"""Everything there is to say about one account: its score with its reasons, how it moved, and what was told.

The score and the alerts are the `data` of the messages that a worker publishes, wherever they come from: replayed from
files here, or read from the topics by `service.account_topics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from service.errors import InputError
from service.ingest import Decoder
from service.input_files import InputFile, OneAccount
from service.outputs import alert_message, score_message
from service.replay import Refuse, Replay, ReplayOptions
from service.replay.files import read_events
from service.scoring.events import Event
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.state import DAY_MS
from service.scoring.views import Alert

TREND_DAYS: Final = (7, 30)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One account: `score` and `alerts` (oldest first) are `data` of messages.

    `trends` tells by how many points the score changed since the end of the day so many days before, None when there
    was no score then.
    """

    score: dict[str, Any]
    alerts: list[dict[str, Any]]
    trends: dict[int, float | None]

    def as_json(self) -> dict[str, Any]:
        """Return everything ready for JSON."""
        trends = {f"trend_{days}": change for days, change in self.trends.items()}
        return {"score": self.score, **trends, "alerts": self.alerts}


def explain_from_messages(score: bytes, alerts: Sequence[bytes]) -> Explanation:
    """Explain an account by its messages; trends are those that the score states."""
    data = message_data(score)
    return Explanation(
        score=data,
        alerts=[message_data(alert) for alert in alerts],
        trends={days: data.get(f"trend_{days}") for days in TREND_DAYS},
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
    events = list(read_events(files, decoder, refuse, OneAccount(account)))
    alerts: list[Alert] = []
    now = _replayed(events, model, options, alerts)
    if now is None:
        raise InputError(f"no event of account {account!r} up to the end; is the id written as in the events?")
    score, until_ms = now
    before: dict[int, float | None] = {}
    for days in TREND_DAYS:
        end_ms = (until_ms // DAY_MS - days + 1) * DAY_MS - 1
        then = _replayed(events, model, ReplayOptions(end_ms, options.lateness_ms), [])
        before[days] = None if then is None or then[0]["band"] == "unknown" else then[0]["score"]
    return Explanation(
        score=score,
        alerts=[message_data(alert_message(alert)) for alert in alerts],
        trends={days: _change(score["score"], earlier) for days, earlier in before.items()},
    )


def _replayed(
    events: Sequence[Event], model: Model, options: ReplayOptions, alerts: list[Alert]
) -> tuple[dict[str, Any], int] | None:
    """Replay one account's events to an end; returns its score and the end, None without an event."""
    replay = Replay(model, until_ms=options.until_ms, lateness_ms=options.lateness_ms, take_alert=alerts.append)
    for event in events:
        replay.apply(event)
    replay.drain()
    latest_ms = replay.latest_ms
    if latest_ms is None:
        return None
    until_ms = latest_ms if options.until_ms is None else options.until_ms
    (state,) = replay.finish(until_ms)
    return message_data(score_message(score_view(state, model))), until_ms


def _change(score: float | None, before: float | None) -> float | None:
    return None if score is None or before is None else round(round(score, 2) - round(before, 2), 2)


def message_data(message: bytes) -> dict[str, Any]:
    """Return the `data` of a message of ours."""
    data: dict[str, Any] = orjson.loads(message)["data"]
    return data
