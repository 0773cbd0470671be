"""Two models for the laws: the default one, and one that reads every signal and changes its mind easily."""

from __future__ import annotations

from typing import Any, Final

import yaml

from service.model.loader import load_model, parse_model
from service.scoring.signals import SIGNALS

DEFAULT: Final = load_model()

_RISING: Final = frozenset(
    [
        "login_trend",
        "active_days",
        "active_days_trend",
        "active_users",
        "active_user_share",
        "key_user_trend",
        "key_features_used",
        "mrr_change",
        "ticket_sentiment",
        "latest_survey",
        "survey_mean",
        "csm_sentiment",
        "purchases",
        "purchase_value_trend",
        "renewal_days",
        "onboarding",
        "recovered_payments",
    ]
)


def _factor(name: str) -> dict[str, Any]:
    low, high = (0.0, 100.0) if name in _RISING else (100.0, 0.0)
    return {
        "label": name,
        "signal": name,
        "weight": 1,
        "curve": [[0, low], [2.5, 50], [40, high]],
        "sentence": "{value}",
    }


def _document() -> dict[str, Any]:
    alerting = {"alert": True, "cool_down_days": 1.3, "label": "x", "sentence": "x"}
    return {
        "version": "restless",
        "min_coverage": 0.1,
        "bands": {
            "at_risk": {"enter": 62, "leave": 64},
            "endangered": {"enter": 50, "leave": 51},
            "dwell_days": 2.4,
            "cool_down_days": 3.7,
        },
        "key_features": ["reports", "export"],
        "factors": {name: _factor(name) for name in SIGNALS},
        "rules": {
            "fell": {**alerting, "all": [{"signal": "score_change_7", "at_most": -3}]},
            "fell_long": {**alerting, "all": [{"signal": "score_change_30", "below": -5}]},
            "near": {
                **alerting,
                "all": [{"signal": "renewal_days", "at_most": 60}, {"signal": "band_level", "above": 0}],
            },
            "quiet": {
                "label": "x",
                "sentence": "x",
                "cap": "at_risk",
                "all": [{"signal": "no_login_days", "at_least": 9}],
            },
            "either": {
                "label": "x",
                "sentence": "x",
                "cap": "endangered",
                "any": [{"signal": "bug_tickets", "above": 1}, {"signal": "overdue_days", "at_least": 11}],
            },
        },
        "profiles": {
            "high": {
                "when": {"tier": "high_touch"},
                "factors": {"login_trend": {"weight": 9}, "ticket_load": {"weight": 0}},
            }
        },
    }


RESTLESS: Final = parse_model(yaml.safe_dump(_document(), sort_keys=False), "restless.yaml")
