"""What stays fixed about a simulated account: its archetype, size, people and, for some, the day it dies.

A profile depends on the seed, the account's own index and the length of the simulation, never on how many
accounts there are. How an account behaves on a given day is in `behaviour`.

The truth about a death is what a vendor would know afterwards. One that dies slowly (60 to 90 days) says that it leaves
on its day of death, which is its end. One that dies suddenly says nothing: within three days its use falls to 30 %,
then it is silent, and it is lost when its contract is up for renewal, its end. Renewals fall on any day, so a few of
these end less than two weeks after their first sign; nobody could have warned of them two weeks ahead, and still they
count as deaths like all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

Archetype = Literal["healthy", "slowly_dying", "suddenly_dying", "seasonal", "noisy"]

ARCHETYPE_SHARES: tuple[tuple[Archetype, float], ...] = (
    ("healthy", 0.54),
    ("slowly_dying", 0.14),
    ("suddenly_dying", 0.08),
    ("seasonal", 0.12),
    ("noisy", 0.12),
)
DECAY_DAYS = (60, 90)
SUDDEN_DAYS = 3
YEAR_DAYS = 365
MEDIAN_MRR_MINOR = 60_000
HIGH_TOUCH_MRR_MINOR = 150_000
MAX_USERS = 60

_FIRST_WORDS = (
    "Amber",
    "Birch",
    "Cobalt",
    "Delta",
    "Ember",
    "Fjord",
    "Granite",
    "Harbor",
    "Indigo",
    "Juniper",
    "Kestrel",
    "Lumen",
)
_SECOND_WORDS = (
    "Analytics",
    "Bank",
    "Clinics",
    "Energy",
    "Foods",
    "Freight",
    "Labs",
    "Media",
    "Retail",
    "Robotics",
    "Studios",
    "Works",
)
_OWNERS = ("ana", "bo", "chen", "dara", "eli", "fatima")


@dataclass(frozen=True, slots=True)
class User:
    """One person of an account; `weekday_chance` is that of use on a working day while all is well."""

    name: str
    role: str
    is_key: bool
    weekday_chance: float
    hour: float


@dataclass(frozen=True, slots=True)
class Profile:
    """One simulated account; every `..._day` counts from the first day of the simulation and may be negative.

    A dying account declines from `decline_day` and has its last events on `death_day`; None = it lives.
    """

    index: int
    account: str
    name: str
    archetype: Archetype
    tier: Literal["high_touch", "low_touch"]
    mrr_minor: int
    owner: str
    renewal_day: int
    join_day: int
    billing_day: int
    users: tuple[User, ...]
    decline_day: int | None
    death_day: int | None

    @property
    def end_day(self) -> int | None:
        """The day on which the account is lost: that of a slow death, or the first renewal after a sudden one."""
        if self.death_day is None or self.archetype == "slowly_dying":
            return self.death_day
        years = max(0, -(-(self.death_day - self.renewal_day) // YEAR_DAYS))
        return self.renewal_day + years * YEAR_DAYS

    @property
    def key_users(self) -> list[str]:
        """The names of the users that the account stands on."""
        return [user.name for user in self.users if user.is_key]


def draw_profile(seed: int, index: int, days: int) -> Profile:
    """Draw account number `index` of a simulation that lasts `days` days."""
    rng = Random(f"vitals/{seed}/{index}")  # noqa: S311 - must be reproducible, guards no secret
    archetype = _draw_archetype(rng)
    mrr_minor = max(4_900, int(MEDIAN_MRR_MINOR * rng.lognormvariate(0.0, 0.9) / 100) * 100)
    user_count = max(
        1, min(MAX_USERS, round(4 * (mrr_minor / MEDIAN_MRR_MINOR) ** 0.5 * rng.lognormvariate(0.0, 0.35)))
    )
    decline_day, death_day = _draw_death(rng, archetype, days)
    joins_late = death_day is None and rng.random() < 0.15
    account = f"acct-{index:06d}"
    return Profile(
        index=index,
        account=account,
        name=f"{rng.choice(_FIRST_WORDS)} {rng.choice(_SECOND_WORDS)} {index}",
        archetype=archetype,
        tier="high_touch" if mrr_minor >= HIGH_TOUCH_MRR_MINOR else "low_touch",
        mrr_minor=mrr_minor,
        owner=f"{rng.choice(_OWNERS)}@vendor.example",
        renewal_day=rng.randrange(30, YEAR_DAYS),
        join_day=int(days * rng.uniform(0.05, 0.5)) if joins_late else -rng.randrange(60, 900),
        billing_day=rng.randrange(30),
        users=tuple(_draw_user(rng, account, number, user_count) for number in range(user_count)),
        decline_day=decline_day,
        death_day=death_day,
    )


def _draw_archetype(rng: Random) -> Archetype:
    chance = rng.random()
    for archetype, share in ARCHETYPE_SHARES:
        if chance < share:
            return archetype
        chance -= share
    return "healthy"


def _draw_death(rng: Random, archetype: Archetype, days: int) -> tuple[int | None, int | None]:
    """Death falls into the second half of the simulation, so that short ones show deaths as well."""
    if archetype not in {"slowly_dying", "suddenly_dying"}:
        return None, None
    death_day = int(days * rng.uniform(0.5, 0.95))
    decline_days = rng.randint(*DECAY_DAYS) if archetype == "slowly_dying" else SUDDEN_DAYS
    return death_day - decline_days, death_day


def _draw_user(rng: Random, account: str, number: int, user_count: int) -> User:
    is_key = number < max(1, user_count // 5)
    return User(
        name=f"{account}-u{number + 1}",
        role="admin" if is_key else "member",
        is_key=is_key,
        weekday_chance=min(0.95, rng.betavariate(4, 3) + (0.2 if is_key else 0.0)),
        hour=rng.gauss(11.5, 1.8),
    )
