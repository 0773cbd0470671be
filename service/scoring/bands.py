"""From a score to a band: thresholds, caps, the dwell before a better band, and the override by hand.

Which band an account is in is decided in this module and nowhere else; what is told about it, in `telling`.
"""

from __future__ import annotations

from typing import Final

from service.scoring.model import Bands
from service.scoring.records import NEVER, OVERRIDE_BANDS, Override
from service.scoring.state import AccountState
from service.scoring.views import Band

BAND_RANKS: Final[dict[Band, int]] = {"unknown": -1, "healthy": 0, "at_risk": 1, "endangered": 2}


def target_band(band: Band, score: float | None, coverage: float, bands: Bands) -> Band:
    """Say where the score belongs for an account in `band`: entered below `enter`, left at or above `leave`."""
    if score is None or coverage < bands.min_coverage:
        return "unknown"
    if score < (bands.endangered.leave if band == "endangered" else bands.endangered.enter):
        return "endangered"
    in_danger = band in {"at_risk", "endangered"}
    return "at_risk" if score < (bands.at_risk.leave if in_danger else bands.at_risk.enter) else "healthy"


def capped(target: Band, cap: Band | None) -> Band:
    """Make the target at least as bad as the cap; an unknown band is not capped."""
    return cap if cap is not None and target != "unknown" and BAND_RANKS[cap] > BAND_RANKS[target] else target


def move_band(state: AccountState, target: Band, dwell_ms: int) -> None:
    """Move the computed band to a target that is not better at once, to a better one after the dwell."""
    band = state.computed_band
    if target == "unknown" or BAND_RANKS[target] >= BAND_RANKS[band] or band == "unknown":
        state.computed_band = target
        state.better_since_ms = NEVER
        return
    if state.better_since_ms == NEVER:
        state.better_since_ms = state.clock_ms
        state.better_band = target
    elif BAND_RANKS[target] > BAND_RANKS[state.better_band]:
        state.better_band = target
    if state.clock_ms - state.better_since_ms < dwell_ms:
        return
    state.computed_band = state.better_band
    if target == state.better_band:
        state.better_since_ms = NEVER
    else:
        state.better_since_ms = state.clock_ms
        state.better_band = target


def override_in_force(state: AccountState) -> Override | None:
    """Give the override by hand unless it has ended."""
    override = state.attributes.override if state.attributes is not None else None
    return override if override is not None and state.clock_ms < override.until_ms else None


def published_band(state: AccountState) -> Band:
    """Give the computed band, or the one set by hand."""
    override = override_in_force(state)
    return state.computed_band if override is None else OVERRIDE_BANDS[override.rank]
