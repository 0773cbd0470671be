"""Views of the core as the messages that leave: the one place where scores and alerts get their bytes.

Worker and replay both write through here, so that the same view is the same message.
"""

from __future__ import annotations

from typing import Final

from schemas.codec import (
    encode_action_taken,
    encode_alert,
    encode_erasure_completed,
    encode_rule_alert,
    encode_score,
)
from schemas.envelope import STRUCTURED_HEADERS
from schemas.outputs import ErasureCompletedData
from service.scoring.views import BAND_ALERT_KINDS, ActionTaken, Alert, ScoreView

OUTPUT_SOURCE: Final = "vitals"
CLOUD_EVENT_HEADERS: Final = STRUCTURED_HEADERS


def score_message(view: ScoreView) -> bytes:
    """Write the score event of a view."""
    return encode_score(view, source=OUTPUT_SOURCE)


def alert_message(alert: Alert) -> bytes:
    """Write the alert event of a band's or a rule's alert; the event's id is the alert's."""
    if alert.kind in BAND_ALERT_KINDS:
        return encode_alert(alert, source=OUTPUT_SOURCE)
    return encode_rule_alert(alert, source=OUTPUT_SOURCE)


def action_message(taken: ActionTaken) -> bytes:
    """Write the event that tells what became of an action."""
    return encode_action_taken(taken, source=OUTPUT_SOURCE)


def erasure_message(done: ErasureCompletedData) -> bytes:
    """Write the event that tells that an account is erased."""
    return encode_erasure_completed(done, source=OUTPUT_SOURCE)
