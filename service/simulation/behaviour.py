"""How much an account uses the product and how it feels on a given day, by archetype.

Everything here is a plain function of profile and day, with no chance in it: chance belongs to `account`.
"""

from __future__ import annotations

from datetime import date, timedelta
from math import sin

from service.simulation.profile import Profile

EPOCH = date(1970, 1, 1)


def decline(profile: Profile, day: int) -> float:
    """Return how far the account has gone towards its death on simulation day `day`: 0 well, 1 dead."""
    if profile.decline_day is None or profile.death_day is None or day <= profile.decline_day:
        return 0.0
    return min(1.0, (day - profile.decline_day) / (profile.death_day - profile.decline_day))


def usage_level(profile: Profile, day: int, epoch_day: int) -> float:
    """Return the factor on every user's chance to use the product that day; 1 = as usual."""
    today = EPOCH + timedelta(days=epoch_day)
    weekend = today.weekday() >= 5
    level = {"seasonal": 0.03, "noisy": 0.3}.get(profile.archetype, 0.12) if weekend else 1.0
    if (today.month, today.day) >= (12, 24) or (today.month, today.day) == (1, 1):
        level *= 0.35
    if profile.archetype == "seasonal":
        level *= _season(profile, epoch_day)
    elif profile.archetype == "slowly_dying":
        level *= max(0.04, (1.0 - decline(profile, day)) ** 1.4)
    elif profile.archetype == "suddenly_dying":
        level *= 1.0 - 0.7 * decline(profile, day)
    return level


def _season(profile: Profile, epoch_day: int) -> float:
    """Return a yearly wave with its low in the account's own season: three weeks of near closure."""
    low_day = 180 + profile.index * 7 % 90
    distance = abs((epoch_day - low_day + 182) % 365 - 182)
    return 0.12 if distance <= 10 else 0.75 + 0.25 * sin(min(distance, 90) / 90 * 1.5708)


def ticket_chance(profile: Profile, day: int) -> float:
    """Return the chance that the account opens a ticket that day."""
    size = min(2.0, 0.5 + len(profile.users) / 8)
    return size * (0.02 + 0.12 * decline(profile, day))


def mood(profile: Profile, day: int) -> float:
    """Return how content the account is, -1 to 1; surveys, tickets and its manager's view follow it."""
    base = 0.3 if profile.archetype == "noisy" else 0.6
    return base - 1.3 * decline(profile, day)
