"""The signals of usage: logins, active days, silence, users, key users, key features.

Pure functions of the state at its own day. `..._next` give the next day on which time alone can change the signal's
value between `low` and `high`, outside of which a change does not count; they may be early, never late.
"""

from __future__ import annotations

from typing import Final

from service.scoring.people import ENTRY_BYTES, MAX_USERS, KeyUser, user_day, users_before
from service.scoring.recording import (
    PART_FEATURES,
    PART_KEY_USERS,
    PART_LOGINS,
    PART_USAGE,
    PART_USERS,
)
from service.scoring.records import NEVER
from service.scoring.signal import NO_DAY, Words, count_of, earlier, growing_next, ratio, signal
from service.scoring.state import DAY_MS, RING_DAYS, WINDOW_DAYS, AccountState

SMOOTHING_LOGINS: Final = 5  # keeps one login more or less from being a trend
SMOOTHING_DAYS: Final = 3
SMOOTHING_KEY_LOGINS: Final = 3
MIN_GAP_DAYS: Final = 8  # active days from which a usual gap is told
MIN_KEY_LOGINS: Final = 4  # logins in 30 days from which a drop is told
_WINDOW_MASK: Final = (1 << WINDOW_DAYS) - 1
_MARGIN: Final = 1e-6  # a day computed from a rounded product may be early, never late


# -- logins ----------------------------------------------------------------------------------------------


def login_trend(state: AccountState) -> float | None:
    """Compare the logins of the last 30 days with those of the 30 before; None until both windows are full."""
    if state.first_login_day == NEVER or state.day - state.first_login_day < 2 * WINDOW_DAYS - 1:
        return None
    return ratio(state.recent_logins, state.previous_logins, SMOOTHING_LOGINS)


def _login_trend_next(state: AccountState, _low: float, high: float) -> int:
    if state.first_login_day == NEVER:
        return NO_DAY
    known_day = state.first_login_day + 2 * WINDOW_DAYS - 1
    if state.day < known_day:
        return known_day
    day, recent, previous, logins = state.day, state.recent_logins, state.previous_logins, state.logins
    if not recent or ratio(recent, previous, SMOOTHING_LOGINS) <= high:
        return _active_windows_next(state)
    for coming in range(day + 1, day + WINDOW_DAYS):
        ageing = logins[(coming - WINDOW_DAYS) % RING_DAYS]
        recent -= ageing
        previous += ageing - logins[(coming - 2 * WINDOW_DAYS) % RING_DAYS]
        if ratio(recent, previous, SMOOTHING_LOGINS) <= high:
            return coming
    return day + WINDOW_DAYS


def _login_words(state: AccountState) -> Words:
    recent, previous = state.recent_logins, state.previous_logins
    verb = "fell" if recent < previous else "rose" if recent > previous else "stayed"
    change = f"{verb} from {previous} to {recent}" if recent != previous else f"stayed at {recent}"
    return {"verb": verb, "previous": str(previous), "recent": str(recent), "login_change": change}


def no_login_days(state: AccountState) -> float | None:
    """Count whole UTC days since the last login."""
    return None if state.last_login_day == NEVER else float(state.day - state.last_login_day)


def _no_login_next(state: AccountState, low: float, high: float) -> int:
    return NO_DAY if state.last_login_day == NEVER else growing_next(state.last_login_day, state.day, low, high)


def _no_login_words(state: AccountState) -> Words:
    days = 0 if state.last_login_day == NEVER else state.day - state.last_login_day
    return {"silence": count_of(days, "day")}


# -- active days and silence -----------------------------------------------------------------------------


def _mask_today(state: AccountState) -> int:
    """Shift the mask of active days so that bit n is n days ago."""
    return state.active_mask << (state.day - state.last_usage_ms // DAY_MS)


def _active_windows_next(state: AccountState) -> int:
    """Give the next day on which an active day leaves the last 30 days or the 30 before."""
    mask = _mask_today(state)
    recent, previous = mask & _WINDOW_MASK, mask >> WINDOW_DAYS & _WINDOW_MASK
    after = min(
        WINDOW_DAYS + 1 - recent.bit_length() if recent else NO_DAY,
        WINDOW_DAYS + 1 - previous.bit_length() if previous else NO_DAY,
    )
    return NO_DAY if after == NO_DAY else state.day + after


def active_days(state: AccountState) -> float | None:
    """Count the days with usage among the last 30; None before the account has been known for 30 days."""
    if state.first_usage_day == NEVER or state.day - state.first_usage_day < WINDOW_DAYS - 1:
        return None
    return float((_mask_today(state) & _WINDOW_MASK).bit_count())


def _active_days_next(state: AccountState, _low: float, _high: float) -> int:
    waiting = _until_known(state, WINDOW_DAYS)
    return _active_windows_next(state) if waiting is None else waiting


def active_days_trend(state: AccountState) -> float | None:
    """Compare the active days of the last 30 days with those of the 30 before; None until both windows are full."""
    if state.first_usage_day == NEVER or state.day - state.first_usage_day < 2 * WINDOW_DAYS - 1:
        return None
    mask = _mask_today(state)
    recent, previous = (mask & _WINDOW_MASK).bit_count(), (mask >> WINDOW_DAYS & _WINDOW_MASK).bit_count()
    return ratio(recent, previous, SMOOTHING_DAYS)


def _active_days_trend_next(state: AccountState, _low: float, high: float) -> int:
    waiting = _until_known(state, 2 * WINDOW_DAYS)
    if waiting is not None:
        return waiting
    mask = _mask_today(state)
    recent_days, previous_days = mask & _WINDOW_MASK, mask >> WINDOW_DAYS & _WINDOW_MASK
    recent, previous = recent_days.bit_count(), previous_days.bit_count()
    if not recent or ratio(recent, previous, SMOOTHING_DAYS) <= high:
        return _active_windows_next(state)
    for after in range(1, WINDOW_DAYS):
        ageing = recent_days >> (WINDOW_DAYS - after) & 1
        recent -= ageing
        previous += ageing - (previous_days >> (WINDOW_DAYS - after) & 1)
        if ratio(recent, previous, SMOOTHING_DAYS) <= high:
            return state.day + after
    return state.day + WINDOW_DAYS


def _active_days_words(state: AccountState) -> Words:
    mask = _mask_today(state) if state.last_usage_ms != NEVER else 0
    recent, previous = (mask & _WINDOW_MASK).bit_count(), (mask >> WINDOW_DAYS & _WINDOW_MASK).bit_count()
    verb = "fell" if recent < previous else "rose"
    change = f"{verb} from {previous} to {recent}" if recent != previous else f"stayed at {recent}"
    return {"active_change": change}


def recency_days(state: AccountState) -> float | None:
    """Count whole UTC days since the last usage of any kind."""
    if state.last_usage_ms == NEVER:
        return None
    return float(state.day - state.last_usage_ms // DAY_MS)


def _recency_next(state: AccountState, low: float, high: float) -> int:
    if state.last_usage_ms == NEVER:
        return NO_DAY
    return growing_next(state.last_usage_ms // DAY_MS, state.day, low, high)


def _recency_words(state: AccountState) -> Words:
    days = 0 if state.last_usage_ms == NEVER else state.day - state.last_usage_ms // DAY_MS
    return {"when": "today" if days == 0 else f"{count_of(days, 'day')} ago"}


def _usual_gap(state: AccountState) -> float | None:
    """Give the mean gap between active days in the 90 days that end with the latest one, at least 1 day."""
    mask = state.active_mask
    days = mask.bit_count()
    return max(1.0, (mask.bit_length() - 1) / (days - 1)) if days >= MIN_GAP_DAYS else None


def recency_gaps(state: AccountState) -> float | None:
    """Measure the silence in usual gaps; None with fewer than 8 active days."""
    gap = _usual_gap(state)
    return None if gap is None else (state.day - state.last_usage_ms // DAY_MS) / gap


def _recency_gaps_next(state: AccountState, low: float, high: float) -> int:
    gap = _usual_gap(state)
    if gap is None:
        return NO_DAY
    return growing_next(state.last_usage_ms // DAY_MS, state.day, low, high, gap)


def _recency_gaps_words(state: AccountState) -> Words:
    gap = _usual_gap(state)
    return {**_recency_words(state), "usual_gap": "unknown" if gap is None else f"{gap:.1f} days"}


# -- users -----------------------------------------------------------------------------------------------


def active_users(state: AccountState) -> float | None:
    """Count the distinct users of the last 30 days, at most 64; None before the account was known for 30 days."""
    if state.first_usage_day == NEVER or state.day - state.first_usage_day < WINDOW_DAYS - 1:
        return None
    return float(_users_since(state, WINDOW_DAYS))


def active_user_share(state: AccountState) -> float | None:
    """Divide the users of the last 30 days by those of the last 90; None until 60 days are known."""
    if state.first_usage_day == NEVER or state.day - state.first_usage_day < 2 * WINDOW_DAYS - 1:
        return None
    users, day = state.users, state.day
    count = len(users) // ENTRY_BYTES
    known = count - users_before(users, day - RING_DAYS + 1)
    return (count - users_before(users, day - WINDOW_DAYS + 1)) / known if known else 0.0


def _users_since(state: AccountState, days: int) -> int:
    return len(state.users) // ENTRY_BYTES - users_before(state.users, state.day - days + 1)


def _active_users_next(state: AccountState, _low: float, high: float) -> int:
    waiting = _until_known(state, WINDOW_DAYS)
    if waiting is not None:
        return waiting
    users, gone = state.users, users_before(state.users, state.day - WINDOW_DAYS + 1)
    count = len(users) // ENTRY_BYTES
    over = min(count - gone - high, float(MAX_USERS))
    index = gone + (int(over) if over > 0 else 0)
    return user_day(users, index) + WINDOW_DAYS if index < count else NO_DAY


def _active_user_share_next(state: AccountState, _low: float, high: float) -> int:
    waiting = _until_known(state, 2 * WINDOW_DAYS)
    if waiting is not None:
        return waiting
    users, day = state.users, state.day
    count = len(users) // ENTRY_BYTES
    gone = users_before(users, day - WINDOW_DAYS + 1)
    old = users_before(users, day - RING_DAYS + 1)
    over = count - gone - high * (count - old) - _MARGIN
    # So many may leave the 30 days before the share is no longer above its end; leaving the 90 days only raises it.
    after = int(over) if over > 0 else 0
    leaves = user_day(users, gone + after) + WINDOW_DAYS if gone + after < count else NO_DAY
    return leaves if over > 0 or old >= count else min(leaves, user_day(users, old) + RING_DAYS)


def _until_known(state: AccountState, days: int) -> int | None:
    """Give the day on which so many days are known, None when that is past."""
    if state.first_usage_day == NEVER:
        return NO_DAY
    known_day = state.first_usage_day + days - 1
    return known_day if state.day < known_day else None


def _user_words(state: AccountState) -> Words:
    active, known = _users_since(state, WINDOW_DAYS), _users_since(state, RING_DAYS)
    return {"users": f"{active} of {count_of(known, 'user')}"}


# -- key users and key features --------------------------------------------------------------------------


def _key_users(state: AccountState) -> list[tuple[str, KeyUser]]:
    if state.more is None or not state.more.key_users:
        return []
    return [(name, known) for name, known in state.more.key_users.items() if known is not None]


def key_user_trend(state: AccountState) -> float | None:
    """Give the worst trend of logins among the key users known for 60 days."""
    trends = [
        ratio(*known.windows(state.day), SMOOTHING_KEY_LOGINS)
        for _, known in _key_users(state)
        if state.day - known.first_day >= 2 * WINDOW_DAYS - 1
    ]
    return min(trends, default=None)


def _drops(state: AccountState) -> list[tuple[float, str, int, int]]:
    """List drop, name, logins of the last 30 days and of the 30 before, of each key user who can drop."""
    drops = []
    for name, known in _key_users(state):
        recent, previous = known.windows(state.day)
        if previous >= MIN_KEY_LOGINS:
            drops.append((1.0 - recent / previous, name, recent, previous))
    return drops


def key_user_drop(state: AccountState) -> float | None:
    """Give the greatest share of logins that a key user lost; None without one who logged in 4 times before."""
    return max((drop[0] for drop in _drops(state)), default=None)


def _key_users_next(state: AccountState, _low: float, _high: float) -> int:
    day = None
    for _, known in _key_users(state):
        known_day = known.first_day + 2 * WINDOW_DAYS - 1
        day = earlier(day, known.next_change_day(state.day))
        day = earlier(day, known_day if state.day < known_day else None)
    return NO_DAY if day is None else day


def _key_user_words(state: AccountState) -> Words:
    """Name the key user who lost most, of equal ones the alphabetically last."""
    _, name, recent, previous = max(_drops(state), default=(0.0, "a key user", 0, 0))
    verb = "fell" if recent < previous else "rose"
    change = f"{verb} from {previous} to {recent}" if recent != previous else f"stayed at {recent}"
    return {"key_user": name, "key_change": change}


def key_features_used(state: AccountState) -> float | None:
    """Count the key features used in the last 30 days; None without feature events or before 30 days are known."""
    if state.more is None or not state.more.has_features or state.day - state.first_usage_day < WINDOW_DAYS - 1:
        return None
    features = state.more.features
    named = state.key_features
    return float(sum(state.day - features[name] < WINDOW_DAYS for name in named if name in features))


def key_features_unused(state: AccountState) -> float | None:
    """Count the key features never used; None without feature events."""
    if state.more is None or not state.more.has_features:
        return None
    named = state.key_features
    return float(sum(name not in state.more.features for name in named))


def _key_features_next(state: AccountState, _low: float, _high: float) -> int:
    if state.more is None or not state.more.has_features:
        return NO_DAY
    known_day = state.first_usage_day + WINDOW_DAYS - 1
    if state.day < known_day:
        return known_day
    leaving = [day + WINDOW_DAYS for day in state.more.features.values() if day + WINDOW_DAYS > state.day]
    return min(leaving, default=NO_DAY)


def _feature_words(state: AccountState) -> Words:
    named = state.key_features
    known = state.more.features if state.more is not None else {}
    used = sum(state.day - known[name] < WINDOW_DAYS for name in named if name in known)
    unused = ", ".join(name for name in named if name not in known)
    return {"features": f"{used} of {len(named)} key features", "unused_features": unused or "none"}


USAGE_SIGNALS: Final = (
    signal(login_trend, PART_LOGINS, _login_trend_next, _login_words, step=0.0),
    signal(no_login_days, PART_USAGE, _no_login_next, _no_login_words),
    signal(recency_days, PART_USAGE, _recency_next, _recency_words),
    signal(recency_gaps, PART_USAGE, _recency_gaps_next, _recency_gaps_words),
    signal(active_days, PART_USAGE, _active_days_next, _active_days_words),
    signal(active_days_trend, PART_USAGE, _active_days_trend_next, _active_days_words, step=0.0),
    signal(active_users, PART_USERS, _active_users_next, _user_words),
    signal(active_user_share, PART_USERS, _active_user_share_next, _user_words, step=0.0),
    signal(key_user_trend, PART_KEY_USERS, _key_users_next, _key_user_words),
    signal(key_user_drop, PART_KEY_USERS, _key_users_next, _key_user_words),
    signal(key_features_used, PART_FEATURES, _key_features_next, _feature_words),
    signal(key_features_unused, PART_FEATURES, _key_features_next, _feature_words),
)
