"""One simulated account, day by day: draws its events from its profile, its mood and its own random numbers.

The random numbers of one day come from (seed, account, day) alone; what carries over is what was
scheduled (a ticket's solution, a second try of a payment) and a noisy account's wave of luck.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from schemas.times import time_text
from service.simulation.behaviour import decline, mood, ticket_chance, usage_level
from service.simulation.profile import Profile, User

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
FEATURES = ("reports", "dashboards", "export", "automation", "api", "sharing", "search", "alerts")
CURRENCY = "EUR"
ONBOARDING_DAYS = 45


class Draft(NamedTuple):
    """An event before it is put into its envelope; ordered by time, then account, then number of the day."""

    time_ms: int
    account_index: int
    number: int
    short_type: str
    data: dict[str, Any]


class SimulatedAccount:
    """Makes the events of one account; days must be asked for once each, in order."""

    def __init__(self, profile: Profile, seed: int, start_day: int) -> None:
        self.profile = profile
        self._seed = seed
        self._start_day = start_day
        self._noise = 1.0
        self._scheduled: list[tuple[int, str, dict[str, Any]]] = []
        self._day_ms = 0
        self._drafts: list[Draft] = []

    def events_of(self, day: int, rng: Random) -> list[Draft]:
        """Return the events of simulation day `day`, in no particular order; `rng` is reseeded here."""
        profile = self.profile
        if day < max(0, profile.join_day) or (profile.death_day is not None and day > profile.death_day):
            return []
        rng.seed(f"{self._seed}/{profile.index}/{day}")
        self._drafts = []
        self._day_ms = (self._start_day + day) * DAY_MS
        self._describe_account(day, rng)
        self._use_product(day, rng)
        self._pay(day, rng)
        self._ask_for_help(day, rng)
        self._answer_surveys(day, rng)
        self._happen_as_scheduled(day, rng)
        if day == profile.death_day and profile.archetype == "slowly_dying":
            self._churn()
        return self._drafts

    def _add(self, time_in_day_ms: float, short_type: str, data: dict[str, Any]) -> None:
        time_ms = self._day_ms + max(0, min(DAY_MS - 1, int(time_in_day_ms)))
        self._drafts.append(Draft(time_ms, self.profile.index, len(self._drafts), short_type, data))

    def _describe_account(self, day: int, rng: Random) -> None:
        """Send the customer record: in full at first, its stage after onboarding, a sentiment monthly."""
        profile = self.profile
        age_days = day - profile.join_day
        if day == max(0, profile.join_day):
            record = {
                "name": profile.name,
                "tier": profile.tier,
                "mrr_minor": profile.mrr_minor,
                "currency": CURRENCY,
                "owner": profile.owner,
                "stage": "onboarding" if age_days < ONBOARDING_DAYS else "active",
                "renewal": time_text((self._start_day + profile.renewal_day) * DAY_MS),
                "key_users": profile.key_users,
            }
            self._add(rng.random() * MINUTE_MS, "account_updated", record)
        elif age_days == ONBOARDING_DAYS:
            self._add(8 * HOUR_MS, "account_updated", {"stage": "active"})
        if (day + profile.index) % 30 == 15:
            view = max(-1.0, min(1.0, rng.gauss(mood(profile, day), 0.25)))
            self._add(_office_hour(rng), "account_updated", {"csm_sentiment": round(view, 2)})

    def _use_product(self, day: int, rng: Random) -> None:
        profile = self.profile
        level = usage_level(profile, day, self._start_day + day)
        if profile.archetype == "noisy":
            # One wave of luck that remembers yesterday: quiet weeks and busy weeks without any cause.
            self._noise = min(2.0, self._noise**0.8 * rng.lognormvariate(0.0, 0.35))
            level *= self._noise
        # The people who decide lose interest first.
        key_level = level * (1.0 - decline(profile, day)) if profile.archetype == "slowly_dying" else level
        for user in profile.users:
            if rng.random() < user.weekday_chance * (key_level if user.is_key else level):
                self._work(user, rng)

    def _work(self, user: User, rng: Random) -> None:
        """Make one user's visit: a login, some features, the session at its end."""
        at_ms = rng.gauss(user.hour, 1.2) * HOUR_MS
        duration_ms = rng.uniform(4, 90) * MINUTE_MS
        self._add(at_ms, "login", {"user": user.name, "role": user.role})
        for _ in range(int(rng.random() * 4)):
            feature = FEATURES[int(rng.random() ** 1.7 * len(FEATURES))]
            used_ms = at_ms + rng.random() * duration_ms
            self._add(used_ms, "feature_used", {"user": user.name, "role": user.role, "feature": feature})
        seconds = int(duration_ms) // 1000
        self._add(
            at_ms + duration_ms,
            "session",
            {"user": user.name, "role": user.role, "duration_seconds": seconds},
        )

    def _pay(self, day: int, rng: Random) -> None:
        """Settle the monthly invoice: paid, failed and tried again, or, near a slow death, never paid."""
        profile = self.profile
        if rng.random() < 0.002 * (1.0 - decline(profile, day)):
            self._add(
                _office_hour(rng),
                "purchase",
                {"amount_minor": rng.randrange(1, 40) * 2_500, "currency": CURRENCY},
            )
        if day % 30 != profile.billing_day:
            return
        invoice = {
            "amount_minor": profile.mrr_minor,
            "currency": CURRENCY,
            "invoice": f"{profile.account}-inv-{day:05d}",
        }
        at_ms = rng.uniform(1, 5) * HOUR_MS
        dying = profile.archetype == "slowly_dying" and decline(profile, day) > 0.5
        if rng.random() < (0.85 if dying else 0.03):
            self._add(at_ms, "payment_failed", invoice)
            if dying:
                due = time_text(self._day_ms + 7 * DAY_MS)
                self._schedule(day + 8, "invoice_overdue", {**invoice, "due": due})
            else:
                self._schedule(day + rng.randint(1, 4), "invoice_paid", invoice)
        else:
            self._add(at_ms, "invoice_paid", invoice)

    def _ask_for_help(self, day: int, rng: Random) -> None:
        profile = self.profile
        if rng.random() >= ticket_chance(profile, day):
            return
        down = decline(profile, day)
        is_bug = rng.random() < 0.3 + 0.4 * down
        ticket = f"{profile.account}-t{day}"
        severity = rng.choices(("low", "normal", "high", "urgent"), (3, 5, 1 + 6 * down, 0.3 + 3 * down))[0]
        opened = {
            "ticket": ticket,
            "severity": severity,
            "tags": ["bug"] if is_bug else [rng.choice(("question", "billing", "setup"))],
            "sentiment": round(max(-1.0, min(1.0, rng.gauss(mood(profile, day) - 0.4, 0.3))), 2),
        }
        self._add(_office_hour(rng), "ticket_opened", opened)
        solved_day = day + 1 + int(rng.expovariate(1 / (2 + 8 * down)))
        if solved_day - day > 3:
            self._schedule(day + 2, "ticket_updated", {"ticket": ticket, "severity": severity})
        self._schedule(solved_day, "ticket_solved", {"ticket": ticket})

    def _answer_surveys(self, day: int, rng: Random) -> None:
        profile = self.profile
        if rng.random() >= 0.012:
            return
        feeling = max(-1.0, min(1.0, rng.gauss(mood(profile, day), 0.35)))
        kind, low, high = rng.choice((("nps", 0, 10), ("csat", 1, 5), ("ces", 1, 7)))
        answer = {
            "kind": kind,
            "response": f"{profile.account}-r{day}",
            "score": round(low + (feeling + 1) / 2 * (high - low)),
            "scale_min": low,
            "scale_max": high,
        }
        self._add(_office_hour(rng), "survey_answered", answer)

    def _schedule(self, day: int, short_type: str, data: dict[str, Any]) -> None:
        self._scheduled.append((day, short_type, data))

    def _happen_as_scheduled(self, day: int, rng: Random) -> None:
        if not self._scheduled:
            return
        due = [item for item in self._scheduled if item[0] <= day]
        self._scheduled = [item for item in self._scheduled if item[0] > day]
        for _, short_type, data in due:
            self._add(_office_hour(rng), short_type, data)

    def _churn(self) -> None:
        """Announce a slow death at the end of its last day; a sudden one is plain silence."""
        self._add(DAY_MS - 2_000, "subscription_changed", {"mrr_minor": 0, "currency": CURRENCY})
        self._add(DAY_MS - 1_000, "account_updated", {"stage": "churned"})


def _office_hour(rng: Random) -> float:
    return rng.uniform(8, 18) * HOUR_MS
