"""What an account is told, when, and in how many points."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID, uuid5

from tests.oracle.bands import milliseconds
from tests.oracle.model import Document, Scored

NAMESPACE = UUID("6a4c5f2e-55a7-5d3c-9a53-0e9a7c1f7b64")
UNIT_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Alert:
    """One alert; `points` by factor, None when there was nothing to compare with."""

    id: str
    seq: int
    kind: str
    time_ms: int
    band: str
    previous_band: str
    score: float
    previous_score: float | None
    coverage: float
    rule: str | None
    suppressed: int
    points: dict[str, float] | None


def points_of(now: Scored, before: Scored) -> dict[str, float]:
    """Say by how many points each factor moved the score between two evaluations of one profile."""
    assert before.score is not None
    both = [name for name in now.factors if name in before.factors]
    middle = before.score
    if both:
        weighed = sum(now.factors[name].weight * before.factors[name].output for name in both)
        middle = weighed / sum(now.factors[name].weight for name in both)
    points = {}
    for name, part in now.factors.items():
        reference = before.factors[name].output if name in both else middle
        points[name] = now.share(name) * (part.output - reference)
    for name, part in before.factors.items():
        if name not in both:
            points[name] = before.share(name) * (middle - part.output)
    return points


@dataclass
class Telling:
    """What was told so far, what is held back."""

    account: str
    seq: int = 0
    alerts: list[Alert] = field(default_factory=list)
    told: str = "healthy"
    sent_ms: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    suppressed: int = 0
    told_rules: set[str] = field(default_factory=set)
    is_snoozed: bool = False
    baseline: Scored | None = None

    def start_afresh(self) -> None:
        """Forget everything but the numbers of the alerts."""
        self.told, self.sent_ms, self.held, self.suppressed = "healthy", {}, set(), 0
        self.told_rules, self.baseline = set(), None

    def due_band_alert(self, band: str) -> str | None:
        """Name the band alert that is due in a published band."""
        if band == "at_risk" and self.told == "healthy":
            return "at_risk"
        if band == "endangered" and self.told in {"healthy", "at_risk"}:
            return "endangered"
        if band == "healthy" and self.told in {"at_risk", "endangered"}:
            return "recovered"
        return None

    def tell(  # noqa: PLR0917  # what an evaluation knows
        self, model: Document, now: Scored, band: str, before: str, rules: set[str], cap: str | None, t: int
    ) -> None:
        """Send or hold back what is due at an evaluation: the band's alert first, then the rules'."""
        baseline = self.baseline
        self.told_rules &= rules
        if band == "unknown" or now.score is None:
            self.held &= rules
            return
        kind = self.due_band_alert(band)
        self.held &= {kind} | rules
        if kind is not None:
            previous = self.told if before == band else before
            if self._goes_out(kind, milliseconds(model["bands"]["cool_down_days"]), t):
                self._send(kind, t, band, previous, now, baseline, cap)
                self.told = band
                self.baseline = now
        for name, rule in model.get("rules", {}).items():
            if rule.get("alert") and name in rules - self.told_rules:
                days = rule.get("cool_down_days", model["bands"]["cool_down_days"])
                if self._goes_out(name, milliseconds(days), t):
                    self._send(name, t, band, before, now, baseline, name)
                    self.told_rules.add(name)
        if self.baseline is None:
            self.baseline = now

    def _goes_out(self, kind: str, cool_down_ms: int, t: int) -> bool:
        is_cooling = kind in self.sent_ms and t - self.sent_ms[kind] < cool_down_ms
        if is_cooling or self.is_snoozed:
            if kind not in self.held:
                self.suppressed += 1
                self.held.add(kind)
            return False
        self.held.discard(kind)
        return True

    def _send(  # noqa: PLR0917  # the facts of one alert
        self, kind: str, t: int, band: str, previous: str, now: Scored, baseline: Scored | None, rule: str | None
    ) -> None:
        assert now.score is not None
        self.seq += 1
        name = UNIT_SEPARATOR.join([self.account, str(self.seq), kind, str(t)])
        comparable = baseline is not None and baseline.profile == now.profile
        points = points_of(now, baseline) if baseline is not None and comparable else None
        previous_score = None if baseline is None else baseline.score
        self.alerts.append(
            Alert(
                str(uuid5(NAMESPACE, name)),
                self.seq,
                kind,
                t,
                band,
                previous,
                now.score,
                previous_score,
                now.coverage,
                rule,
                self.suppressed,
                points,
            )
        )
        self.suppressed = 0
        self.sent_ms[kind] = t
