"""What the demo knows: the last score of every account, the alerts, and how far the stream and the worker are.

It is fed with the records of the output topics, as any consumer gets them; nothing here talks to Kafka or draws.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, get_args

from schemas.codec import read_alert, read_score
from schemas.outputs import AlertData, Band, ScoreData
from service.adapters.clients import Partition
from service.adapters.topic_reader import ConsumedRecord
from service.topic_catalogue import TOPIC_KINDS, TopicNames

ALERT_KINDS = ("at_risk", "endangered", "recovered")
ALERTS_KEPT = 50
RATE_SECONDS = 2.0


class Board:
    """The figures of one demo; `time_ms` is the simulated time, `seconds` count from the start of the stream."""

    def __init__(self, names: TopicNames) -> None:
        self.time_ms = 0
        self.seconds = 0.0
        self.events = 0
        self.lag_records = 0
        self.page_url = ""
        self.dead_letters = 0
        self.scores: dict[str, ScoreData] = {}
        self.alerts: deque[AlertData] = deque(maxlen=ALERTS_KEPT)
        self.alerts_by_kind: Counter[str] = Counter(dict.fromkeys(ALERT_KINDS, 0))
        self.outputs = [names.scores, names.alerts, *(names.dead_letters(kind) for kind in TOPIC_KINDS)]
        self._names = names
        self._next_offsets: dict[Partition, int] = {}
        self._seen_alerts: set[str] = set()
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, record: ConsumedRecord) -> None:
        """Take a record of an output topic."""
        self._next_offsets[record.topic, record.partition] = record.offset + 1
        value = record.value or b""
        if not value and record.topic in {self._names.scores, self._names.alerts}:
            self.scores.pop((record.key or b"").decode(), None)  # its account is erased
        elif record.topic == self._names.scores:
            score = read_score(value).data
            self.scores[score.account] = score
        elif record.topic == self._names.alerts:
            self._take_alert(read_alert(value).data)
        else:
            self.dead_letters += 1

    def _take_alert(self, alert: AlertData) -> None:
        if alert.id not in self._seen_alerts:  # a worker that was interrupted sends some again, with the same id
            self._seen_alerts.add(alert.id)
            self.alerts_by_kind[alert.kind] += 1
            self.alerts.append(alert)

    def note_time(self, seconds: float, time_ms: int) -> None:
        """Note how long the stream has run and which simulated time it has reached."""
        self.seconds, self.time_ms = seconds, time_ms
        self._samples.append((seconds, self.events))
        while seconds - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()

    @property
    def events_per_second(self) -> float:
        """The rate of the last two seconds."""
        if not self._samples or self._samples[-1][0] <= self._samples[0][0]:
            return 0.0
        (first_seconds, first), (last_seconds, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_seconds - first_seconds)

    @property
    def alert_count(self) -> int:
        """How many alerts came."""
        return self.alerts_by_kind.total()

    def has_read_to(self, ends: dict[Partition, int]) -> bool:
        """Return whether every output record before these offsets was taken."""
        return all(self._next_offsets.get(place, 0) >= end for place, end in ends.items() if place[0] in self.outputs)

    def accounts_by_band(self) -> dict[Band, int]:
        """Count the accounts in every band."""
        counts = Counter(score.band for score in self.scores.values())
        return {band: counts[band] for band in get_args(Band)}

    def latest_alerts(self, count: int) -> list[AlertData]:
        """Return the latest alerts by simulated time, the last first; partitions run a little apart."""
        return sorted(self.alerts, key=lambda alert: (alert.as_of_ms, alert.id), reverse=True)[:count]

    def mrr_in_danger_minor(self) -> int:
        """Sum the monthly recurring revenue of the accounts in danger; the demo has one currency."""
        return sum(score.mrr_minor or 0 for score in self.scores.values() if score.band in {"at_risk", "endangered"})

    def worst(self, count: int) -> list[ScoreData]:
        """Return the accounts with the lowest scores that can still be saved: without those that have churned."""
        scored = [score for score in self.scores.values() if score.score is not None and score.stage != "churned"]
        return sorted(scored, key=lambda score: (score.score, score.account))[:count]

    def summary(self) -> dict[str, Any]:
        """Return the figures that a program wants."""
        return {
            "events": self.events,
            "accounts": self.accounts_by_band(),
            "alerts": self.alert_count,
            "alerts_by_kind": dict(self.alerts_by_kind),
            "lag_records": self.lag_records,
            "seconds": round(self.seconds, 1),
            "dead_letters": self.dead_letters,
        }
