"""From a score to a band, and from a change of band to the kind of alert.

Whatever may hold back, force or silence a band or an alert is decided in this module and nowhere else.
"""

from __future__ import annotations

from service.scoring.model import Model
from service.scoring.views import AlertKind, Band


def next_band(band: Band, score: float | None, coverage: float, model: Model) -> Band:
    """Decide the band after `band` for this score: entered below `enter`, left at or above `leave`."""
    if score is None or coverage < model.min_coverage:
        return "unknown"
    endangered_below = model.endangered.leave if band == "endangered" else model.endangered.enter
    if score < endangered_below:
        return "endangered"
    in_danger = band in {"at_risk", "endangered"}
    at_risk_below = model.at_risk.leave if in_danger else model.at_risk.enter
    return "at_risk" if score < at_risk_below else "healthy"


def alert_kind(previous: Band, band: Band, alarm: Band) -> AlertKind | None:
    """Decide what to tell when `previous` became `band`; `alarm` is what was told last (healthy when nothing was).

    An account that improves from endangered to at_risk is no news and has not recovered: nothing is told. One that
    comes back to healthy is told as recovered once, also when its band was unknown in between.
    """
    if band == "endangered" and previous != "endangered":
        return "endangered"
    if band == "at_risk" and previous in {"healthy", "unknown"}:
        return "at_risk"
    if band == "healthy" and alarm != "healthy":
        return "recovered"
    return None
