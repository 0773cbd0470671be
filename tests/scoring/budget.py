"""How many cases the laws are tried on: 2,000 in all, shared out by weight; `make soak` repeats them with other seeds.

The environment variable VITALS_LAWS chooses the profile of hypothesis: `ci` (the default) tries the same cases at every
run of the same code, `soak` tries new ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

CASES: Final = 2_000
PROFILE_VARIABLE: Final = "VITALS_LAWS"

_slow_is_fine = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("ci", deadline=None, derandomize=True, database=None, suppress_health_check=_slow_is_fine)
settings.register_profile("soak", deadline=None, derandomize=False, database=None, suppress_health_check=_slow_is_fine)
PROFILE_NAME: Final = os.environ.get(PROFILE_VARIABLE, "ci")
PROFILE: Final = settings.get_profile(PROFILE_NAME)

Test = Callable[..., None]
SHARES: Final[dict[str, float]] = {}  # percent by the name of the test


def cases(percent: float, *strategies: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
    """Try a law on its share of all cases, drawn from these strategies."""

    def decorate(test: Test) -> Test:
        SHARES[test.__qualname__] = percent
        count = round(CASES * percent / 100)
        return settings(PROFILE, max_examples=count)(given(*strategies)(test))

    return decorate


SEARCHED: Final = settings(
    max_examples=600,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def search(law: Test, *strategies: st.SearchStrategy[Any]) -> None:
    """Search a fixed 600 cases for one that breaks the law, which then raises."""

    def case(drawn: tuple[Any, ...]) -> None:
        law(*drawn)

    SEARCHED(given(st.tuples(*strategies))(case))()
