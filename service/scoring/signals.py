"""The closed registry of signals: what a model can read from the state of an account, by name.

How each is computed stands in `usage_signals`, `money_signals` and `support_signals`; a model can name nothing else.
"""

from __future__ import annotations

from typing import Final

from service.scoring.money_signals import MONEY_SIGNALS
from service.scoring.support_signals import SUPPORT_SIGNALS
from service.scoring.usage_signals import USAGE_SIGNALS

SIGNALS: Final = {entry.name: entry for entry in (*USAGE_SIGNALS, *MONEY_SIGNALS, *SUPPORT_SIGNALS)}
# Signals of the score itself, which rules may read and factors may not.
SCORE_SIGNALS: Final = ("score", "score_change_7", "score_change_30", "band_level")
