"""`python -m benchmarks.alert_quality --seeds 1-10 [--model FILE] [--json]`: how good the alerts are, on simulations.

Each seed is a company whose truth is known: who dies and when. Its events go through the core in this process, and
what the alerts said is compared with that truth.

The end of an account that dies slowly is the day on which it announces that it leaves. One that dies suddenly announces
nothing: it stops using the product, three days after the first sign, and its contract runs until its next renewal,
which is its end. Time passes for the dead up to their end. Warned is an account with an `at_risk` or `endangered` alert
that was not taken back before the end; its lead time runs from that alert, but never from before the decline began.
`after` is the median of the days from the beginning of the decline to the warning.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing import get_context
from statistics import median, quantiles
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.figures import TABLE_WIDTH
from service.band_history import BandHistory, flap_rate
from service.errors import VitalsError
from service.ingest import Decoder
from service.model.loader import load_model
from service.scoring.engine import mark_sent, step, tick
from service.scoring.events import Event
from service.scoring.model import Model
from service.scoring.state import DAY_MS, AccountState
from service.simulation import DEFAULT_START_DAY, Profile, Simulation, draw_profile

WARNED_DAYS: Final = 14
MONTH_DAYS: Final = 30
YEAR_DAYS: Final = 365
WARNED_GOAL: Final = 0.90
ALERTS_PER_MONTH_GOAL: Final = 0.5
FLAP_RATE_GOAL: Final = 0.02
RISK_KINDS: Final = frozenset({"at_risk", "endangered"})


class Warning(NamedTuple):  # noqa: A001  # the word of the field; Python's warnings have no place here
    """How many days before the account's end it was warned, and how many days after its decline began."""

    lead_days: float
    after_days: float


@dataclass(slots=True)
class Account:
    """One account on its way through the core: its truth, its state and what it was told."""

    profile: Profile
    state: AccountState
    bands: BandHistory = field(default_factory=BandHistory)
    alerts: list[tuple[int, str]] = field(default_factory=list)

    def take(self, event: Event, model: Model) -> None:
        """Apply one event after the ticks that are due before it."""
        self.pass_time(event.time_ms, model)
        step(self.state, event, event.time_ms, model)
        self._note()

    def pass_time(self, until_ms: int, model: Model) -> None:
        """Run every due tick, and see the band after each."""
        state = self.state
        while (due_ms := state.next_due_ms) is not None and due_ms <= until_ms:
            tick(state, due_ms, model)
            self._note()

    def _note(self) -> None:
        state = self.state
        self.bands.note(state.band, state.clock_ms)
        if state.unsent:
            self.alerts += [(alert.time_ms, alert.kind) for alert in state.unsent]
            mark_sent(state, state.seq)

    def end_day(self) -> int | None:
        """Return the day of the simulation on which the account is lost; None for one that lives."""
        profile = self.profile
        if profile.death_day is None or profile.archetype == "slowly_dying":
            return profile.death_day
        years = max(0, -(-(profile.death_day - profile.renewal_day) // YEAR_DAYS))
        return profile.renewal_day + years * YEAR_DAYS

    def warning(self, start_day: int) -> Warning | None:
        """Return when the account was warned; None when it never was."""
        end_ms = self._ms_of(start_day, self.end_day())
        warned_ms: int | None = None
        for time_ms, kind in self.alerts:
            if time_ms >= end_ms:
                break
            if kind == "recovered":
                warned_ms = None
            elif kind in RISK_KINDS and warned_ms is None:
                warned_ms = time_ms
        if warned_ms is None:
            return None
        decline_ms = self._ms_of(start_day, self.profile.decline_day)
        warned_ms = max(warned_ms, decline_ms)
        return Warning((end_ms - warned_ms) / DAY_MS, (warned_ms - decline_ms) / DAY_MS)

    @staticmethod
    def _ms_of(start_day: int, day: int | None) -> int:
        assert day is not None, "only accounts that die have these days"
        return (start_day + day) * DAY_MS


@dataclass(slots=True)
class Quality:
    """What the alerts of some seeds were worth; `warnings` holds each dead account's, by archetype."""

    warnings: dict[str, list[Warning | None]] = field(default_factory=dict)
    living_alerts: Counter[str] = field(default_factory=Counter)
    living_days: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    reentries: int = 0
    events: int = 0

    def add(self, other: Quality) -> None:
        """Add the accounts of another seed."""
        for archetype, warnings in other.warnings.items():
            self.warnings.setdefault(archetype, []).extend(warnings)
        self.living_alerts.update(other.living_alerts)
        self.living_days.update(other.living_days)
        self.kinds.update(other.kinds)
        self.entries += other.entries
        self.reentries += other.reentries
        self.events += other.events

    def as_json(self) -> dict[str, Any]:
        """Return every figure."""
        everyone = [warning for warnings in self.warnings.values() for warning in warnings]
        groups = {"all": everyone, **dict(sorted(self.warnings.items()))}
        return {
            "dead": {name: _warned(warnings) for name, warnings in groups.items()},
            "alerts_per_living_account_month": {
                "all": _per_month(self.living_alerts.total(), self.living_days.total()),
                **{name: _per_month(self.living_alerts[name], days) for name, days in sorted(self.living_days.items())},
            },
            "flap_rate": flap_rate(self.entries, self.reentries),
            "band_entries": self.entries,
            "alerts": dict(sorted(self.kinds.items())),
            "events": self.events,
        }


def _warned(warnings: Sequence[Warning | None]) -> dict[str, Any]:
    known = [warning for warning in warnings if warning is not None]
    leads = [warning.lead_days for warning in known]
    in_time = sum(lead >= WARNED_DAYS for lead in leads)
    return {
        "accounts": len(warnings),
        "warned_share": in_time / len(warnings) if warnings else 0.0,
        "lead_days_median": median(leads) if leads else None,
        "lead_days_p10": quantiles(leads, n=10)[0] if len(leads) > 1 else None,
        "after_decline_days_median": median(warning.after_days for warning in known) if known else None,
        "never_warned": len(warnings) - len(known),
    }


def _per_month(alerts: int, days: int) -> float:
    return alerts / (days / MONTH_DAYS) if days else 0.0


def judge_seed(seed: int, accounts: int, days: int, model_path: str | None) -> Quality:
    """Simulate one company, replay it and compare."""
    model = load_model(model_path)
    simulation = Simulation(accounts, days, seed)
    quality = Quality()
    judged: dict[str, Account] = {}
    for index in range(accounts):
        profile = draw_profile(seed, index, days)
        judged[profile.account] = Account(profile, AccountState(profile.account))
    for event in _in_order(simulation):
        judged[event.account].take(event, model)
        quality.events += 1
    for account in judged.values():
        _count(account, model, days, quality)
    return quality


def _in_order(simulation: Simulation) -> Iterator[Event]:
    """Decode the stream; events of one instant by kind, as the worker merges its inputs."""
    decoder = Decoder(lambda: time.time_ns() // 1_000_000)
    order = ("usage", "payment", "ticket", "survey", "account")
    for _, ties in groupby(simulation.lines(), key=lambda line: line.time_ms):
        for line in sorted(ties, key=lambda line: order.index(line.kind)):
            yield decoder.decode_value(None, line.value)


def _count(account: Account, model: Model, days: int, quality: Quality) -> None:
    archetype = account.profile.archetype
    end_day = account.end_day()
    account.pass_time((DEFAULT_START_DAY + (days if end_day is None else end_day)) * DAY_MS - 1, model)
    quality.kinds.update(kind for _, kind in account.alerts)
    quality.entries += account.bands.entries
    quality.reentries += account.bands.reentries
    if end_day is not None:
        quality.warnings.setdefault(archetype, []).append(account.warning(DEFAULT_START_DAY))
    else:
        quality.living_alerts[archetype] += len(account.alerts)
        quality.living_days[archetype] += days - max(0, account.profile.join_day)


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people, beside their goals."""
    table = Table(title="Are the dying warned?", title_justify="left")
    titles = ("dead accounts", "number", f"warned >= {WARNED_DAYS} d", "lead median", "lead p10", "after", "never")
    for title in titles:
        table.add_column(title, justify="left" if title == "dead accounts" else "right")
    for group, row in figures["dead"].items():
        days = [_days(row[name]) for name in ("lead_days_median", "lead_days_p10", "after_decline_days_median")]
        table.add_row(group, str(row["accounts"]), f"{row['warned_share']:.1%}", *days, str(row["never_warned"]))
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, TABLE_WIDTH)  # a log or a pipe has no width of its own
    console.print(table)
    per_month = figures["alerts_per_living_account_month"]
    shown = ", ".join(f"{name} {value:.3f}" for name, value in per_month.items() if name != "all")
    kinds = ", ".join(f"{name} {count}" for name, count in figures["alerts"].items())
    console.print(f"alerts per living account-month: {per_month['all']:.3f} ({shown})")
    console.print(f"flap rate: {figures['flap_rate']:.2%} of {figures['band_entries']} changes of band")
    console.print(f"alerts: {kinds or 'none'}; {figures['events']:,} events in {figures['seconds']:.0f} s")
    for name, goal in figures["goals"].items():
        console.print(
            f"[{'green]met' if goal['met'] else 'red]missed'}[/] {name}: {goal['value']:.4g} ({goal['goal']})"
        )


def _days(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} d"


def goals(figures: dict[str, Any]) -> dict[str, Any]:
    """Compare with what the default model must reach."""
    warned = figures["dead"]["all"]["warned_share"]
    per_month = figures["alerts_per_living_account_month"]["all"]
    flaps = figures["flap_rate"]
    return {
        "warned share": {"value": warned, "goal": f">= {WARNED_GOAL}", "met": warned >= WARNED_GOAL},
        "alerts per living account-month": {
            "value": per_month,
            "goal": f"< {ALERTS_PER_MONTH_GOAL}",
            "met": per_month < ALERTS_PER_MONTH_GOAL,
        },
        "flap rate": {"value": flaps, "goal": f"< {FLAP_RATE_GOAL}", "met": flaps < FLAP_RATE_GOAL},
    }


def seeds_of(text: str) -> list[int]:
    """Read `3`, `1-10` or `1,4,7-9`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        seeds += range(int(first), int(last if dash else first) + 1)
    if not seeds:
        raise ValueError("no seed")
    return seeds


def main() -> int:
    """Judge the seeds and print; exit 0 when every goal is met, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alert_quality", description=__doc__)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("1-10"), help="such as 1-10 or 3,5")
    parser.add_argument("--accounts", type=int, default=200, help="per company")
    parser.add_argument("--days", type=int, default=365, help="of simulation")
    parser.add_argument("--model", help="health model file; default: the packaged model")
    parser.add_argument("--processes", type=int, default=2, help="seeds judged at a time")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    begin = time.monotonic()
    try:
        load_model(args.model)  # a wrong model is named once, here
    except VitalsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    total = Quality()
    with get_context("spawn").Pool(min(args.processes, len(args.seeds))) as pool:
        tasks = [(seed, args.accounts, args.days, args.model) for seed in args.seeds]
        for quality in pool.starmap(judge_seed, tasks, chunksize=1):
            total.add(quality)
    figures = {**total.as_json(), "seeds": args.seeds, "seconds": time.monotonic() - begin}
    figures["goals"] = goals(figures)
    if args.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    return 0 if all(goal["met"] for goal in figures["goals"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
