"""`make quality`: how good the alerts are, on simulated companies whose truth is known: who dies, and when.

Each company's events go through the core in this process, and what the alerts said is compared with the truth that
`service.simulation.profile` defines. Warned is an account with an `at_risk` or `endangered` alert that was not taken
back before its end. The days ahead run from that alert to the end, but never from before the decline began. Deaths
that no one could have warned of, because less than 14 days lie between first sign and end, count as not warned.

Precision is the share of `at_risk` and `endangered` alerts that came on an account in decline. `at risk` is the share
of its days that an account spent in one of those bands. Alerts per account-month count every alert: recoveries and
rules too.

The default model was tuned on the companies of `TUNING_SEEDS`; the figures that count are of others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, repeat
from multiprocessing import get_context
from statistics import median, quantiles
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.progress import track
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
from service.simulation import DEFAULT_START_DAY, Profile, Simulation

TUNING_SEEDS: Final = (1, 2, 3, 4)
HELD_OUT_SEEDS: Final = "101-104"
ACCOUNTS: Final = 300
DAYS: Final = 365
SLICE_ACCOUNTS: Final = 25
WARNED_DAYS: Final = 14
MONTH_DAYS: Final = 30
WARNED_GOAL: Final = 0.90
ALERTS_PER_MONTH_GOAL: Final = 0.5
FLAP_RATE_GOAL: Final = 0.02
PRECISION_GOAL: Final = 0.7  # without it, a model that calls everybody at risk for ever would meet all the others
RISK_KINDS: Final = frozenset({"at_risk", "endangered"})
DYING_KINDS: Final = frozenset({"slowly_dying", "suddenly_dying"})


class Warning(NamedTuple):  # noqa: A001  # the word of the field; Python's warnings have no place here
    """How many days before the account's end it was warned, and how many days after its decline began."""

    lead_days: float
    after_days: float


class Judged:
    """One account on its way through the core: its truth, its state and what it was told."""

    def __init__(self, profile: Profile, days: int) -> None:
        self.profile = profile
        self.state = AccountState(profile.account)
        self.bands = BandHistory()
        self.alerts: list[tuple[int, str]] = []
        self.risk_ms = 0
        self._noted: tuple[bool, int] = (False, 0)
        self.begin_ms = _ms_of(max(0, profile.join_day))
        self.end_ms = _ms_of(days if profile.end_day is None else profile.end_day)
        self.decline_ms = None if profile.decline_day is None else _ms_of(profile.decline_day)

    def take(self, event: Event, model: Model) -> None:
        """Apply one event after the ticks that are due before it."""
        self._pass_time(event.time_ms, model)
        step(self.state, event, event.time_ms, model)
        self._note(self.state.clock_ms)

    def finish(self, model: Model) -> None:
        """Let time pass to the account's end, or to that of the simulation."""
        self._pass_time(self.end_ms - 1, model)
        self._note(max(self.end_ms, self._noted[1]))

    def _pass_time(self, until_ms: int, model: Model) -> None:
        state = self.state
        while (due_ms := state.next_due_ms) is not None and due_ms <= until_ms:
            tick(state, due_ms, model)
            self._note(state.clock_ms)

    def _note(self, time_ms: int) -> None:
        state = self.state
        self.bands.note(state.band, time_ms)
        at_risk, since_ms = self._noted
        if at_risk:
            self.risk_ms += time_ms - since_ms
        self._noted = (state.band in RISK_KINDS, time_ms)
        if state.unsent:
            self.alerts += [(alert.time_ms, alert.kind) for alert in state.unsent]
            mark_sent(state, state.seq)

    def warning(self) -> Warning | None:
        """Return when a dying account was warned; None when it never was, or the warning was taken back."""
        assert self.decline_ms is not None, "only accounts that die are warned"
        warned_ms: int | None = None
        for time_ms, kind in self.alerts:
            if time_ms >= self.end_ms:
                break
            if kind == "recovered":
                warned_ms = None
            elif kind in RISK_KINDS and warned_ms is None:
                warned_ms = time_ms
        if warned_ms is None:
            return None
        warned_ms = max(warned_ms, self.decline_ms)
        return Warning((self.end_ms - warned_ms) / DAY_MS, (warned_ms - self.decline_ms) / DAY_MS)


def _ms_of(day: int) -> int:
    return (DEFAULT_START_DAY + day) * DAY_MS


@dataclass(slots=True)
class Quality:
    """What the alerts of some accounts were worth."""

    accounts: int = 0
    days: float = 0.0
    risk_days: float = 0.0
    warnings: list[Warning | None] = field(default_factory=list)  # of the dead
    unforeseeable: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    risk_alerts: int = 0
    true_risk_alerts: int = 0
    entries: int = 0
    reentries: int = 0

    def count(self, account: Judged) -> None:
        """Add one account that is through."""
        self.accounts += 1
        self.days += (account.end_ms - account.begin_ms) / DAY_MS
        self.risk_days += account.risk_ms / DAY_MS
        self.alerts.update(kind for _, kind in account.alerts)
        decline_ms = account.decline_ms
        risky = [time_ms for time_ms, kind in account.alerts if kind in RISK_KINDS]
        self.risk_alerts += len(risky)
        if decline_ms is not None:
            self.true_risk_alerts += sum(time_ms >= decline_ms for time_ms in risky)
            self.warnings.append(account.warning())
            self.unforeseeable += account.end_ms - decline_ms < WARNED_DAYS * DAY_MS
        self.entries += account.bands.entries
        self.reentries += account.bands.reentries

    def add(self, other: Quality) -> None:
        """Add other accounts."""
        self.accounts += other.accounts
        self.days += other.days
        self.risk_days += other.risk_days
        self.warnings += other.warnings
        self.unforeseeable += other.unforeseeable
        self.alerts.update(other.alerts)
        self.risk_alerts += other.risk_alerts
        self.true_risk_alerts += other.true_risk_alerts
        self.entries += other.entries
        self.reentries += other.reentries

    def as_json(self) -> dict[str, Any]:
        """Return every figure; None for one of nothing."""
        known = [warning for warning in self.warnings if warning is not None]
        leads = [warning.lead_days for warning in known]
        in_time, dead = sum(lead >= WARNED_DAYS for lead in leads), len(self.warnings)
        return {
            "accounts": self.accounts,
            "dead": dead,
            "warned_share": in_time / dead if dead else None,
            "unforeseeable": self.unforeseeable,
            "never_warned": dead - len(known),
            "lead_days_median": median(leads) if leads else None,
            "lead_days_p10": quantiles(leads, n=10)[0] if len(leads) > 1 else None,
            "after_decline_days_median": median(warning.after_days for warning in known) if known else None,
            "alerts_per_account_month": self.alerts.total() / (self.days / MONTH_DAYS) if self.days else None,
            "at_risk_share": self.risk_days / self.days if self.days else None,
            "flap_rate": flap_rate(self.entries, self.reentries),
            "band_entries": self.entries,
            "precision": self.true_risk_alerts / self.risk_alerts if self.risk_alerts else None,
            "alerts": dict(sorted(self.alerts.items())),
        }


class Part(NamedTuple):
    """Some accounts of one company."""

    seed: int
    first: int
    accounts: int


def judge_part(part: Part, days: int, model_path: str | None) -> dict[str, Quality]:
    """Simulate some accounts of a company, score them and compare, by kind of behaviour."""
    return judge(part, days, load_model(model_path))


def judge(part: Part, days: int, model: Model) -> dict[str, Quality]:
    """Do the same with a model at hand."""
    simulation = Simulation(part.accounts, days, part.seed, first=part.first)
    judged = {profile.account: Judged(profile, days) for profile in simulation.profiles}
    for event in _in_order(simulation):
        judged[event.account].take(event, model)
    kinds: dict[str, Quality] = {}
    for account in judged.values():
        account.finish(model)
        kinds.setdefault(account.profile.archetype, Quality()).count(account)
    return kinds


def _in_order(simulation: Simulation) -> Iterator[Event]:
    """Decode the stream; events of one instant by kind, as the worker merges its inputs."""
    decoder = Decoder(lambda: time.time_ns() // 1_000_000)
    order = ("usage", "payment", "ticket", "survey", "account")
    for _, ties in groupby(simulation.lines(), key=lambda line: line.time_ms):
        for line in sorted(ties, key=lambda line: order.index(line.kind)):
            yield decoder.decode_value(None, line.value)


def summarise(parts: Iterable[dict[str, Quality]]) -> dict[str, Any]:
    """Put parts together: the figures by kind, of the living, of all, and the goals."""
    kinds: dict[str, Quality] = {}
    living, everyone = Quality(), Quality()
    for part in parts:
        for name, quality in part.items():
            kinds.setdefault(name, Quality()).add(quality)
            everyone.add(quality)
            if name not in DYING_KINDS:
                living.add(quality)
    figures: dict[str, Any] = {
        "kinds": {name: kinds[name].as_json() for name in sorted(kinds)},
        "living": living.as_json(),
        "all": everyone.as_json(),
    }
    return {**figures, "goals": _goals(figures["all"], figures["living"])}


def _goals(everyone: dict[str, Any], living: dict[str, Any]) -> dict[str, Any]:
    """Compare with what the default model must reach."""

    def at_least(value: float | None, goal: float) -> dict[str, Any]:
        return {"value": value or 0.0, "goal": f">= {goal}", "met": (value or 0.0) >= goal}

    def below(value: float | None, goal: float) -> dict[str, Any]:
        return {"value": value or 0.0, "goal": f"< {goal}", "met": (value or 0.0) < goal}

    return {
        "warned_share": at_least(everyone["warned_share"], WARNED_GOAL),
        "alerts_per_living_account_month": below(living["alerts_per_account_month"], ALERTS_PER_MONTH_GOAL),
        "flap_rate": below(everyone["flap_rate"], FLAP_RATE_GOAL),
        "precision": at_least(everyone["precision"], PRECISION_GOAL),
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people, beside their goals."""
    table = Table(title="Are the dying warned, and the living left alone?", title_justify="left")
    titles = ("number", "dead", "warned", "ahead", "after", "alerts/month", "at risk", "flaps")
    table.add_column("accounts")
    for title in (*titles, "precision"):
        table.add_column(title, justify="right")
    for name, row in {**figures["kinds"], "living": figures["living"], "all": figures["all"]}.items():
        table.add_row(
            name.replace("_", " "),
            str(row["accounts"]),
            str(row["dead"] or "-"),
            _percent(row["warned_share"]),
            _days(row["lead_days_median"]),
            _days(row["after_decline_days_median"]),
            f"{row['alerts_per_account_month']:.3f}",
            _percent(row["at_risk_share"]),
            _percent(row["flap_rate"]),
            _percent(row["precision"]),
        )
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, TABLE_WIDTH)  # a log or a pipe has no width of its own
    console.print(table)
    everyone = figures["all"]
    console.print(
        f"{everyone['unforeseeable']} of {everyone['dead']} deaths came less than {WARNED_DAYS} days after their first "
        f"sign and count as not warned. warned: at least {WARNED_DAYS} days before the end; ahead: median days from "
        "the warning to the end; after: from the first sign to the warning; at risk: share of the days."
    )
    console.print("alerts: " + (", ".join(f"{name} {count}" for name, count in everyone["alerts"].items()) or "none"))
    console.print(f"seeds {', '.join(map(str, figures['seeds']))}, {figures['seconds']:.0f} s")
    for name, goal in figures["goals"].items():
        met = "[green]met[/]" if goal["met"] else "[red]missed[/]"
        console.print(f"{met} {name.replace('_', ' ')}: {goal['value']:.4f} ({goal['goal']})")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _days(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} d"


def seeds_of(text: str) -> list[int]:
    """Read `3`, `1-10` or `1,4,7-9`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        seeds += range(int(first), int(last if dash else first) + 1)
    if not seeds:
        raise ValueError("no seed")
    return seeds


def parts_of(seeds: Sequence[int], accounts: int) -> list[Part]:
    """Cut companies into parts, so that processes are busy and progress is seen."""
    return [
        Part(seed, first, min(SLICE_ACCOUNTS, accounts - first))
        for seed in seeds
        for first in range(0, accounts, SLICE_ACCOUNTS)
    ]


def _judge_task(task: tuple[Part, int, str | None]) -> dict[str, Quality]:
    return judge_part(*task)


def main() -> int:
    """Judge and print; 0 when every goal is met, 1 when one is missed, 2 for a wrong model."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.alert_quality",
        description="Judge a health model on simulated companies. Exit code 1: a goal is missed.",
        epilog='examples: make quality; make -s quality ARGS=--json; make quality ARGS="--model mine.yaml --seeds 7"',
    )
    parser.add_argument("--seeds", type=seeds_of, default=HELD_OUT_SEEDS, help=f"default: {HELD_OUT_SEEDS}")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS, help=f"per company; default: {ACCOUNTS}")
    parser.add_argument("--days", type=int, default=DAYS, help=f"of simulation; default: {DAYS}")
    parser.add_argument("--model", help="health model file; default: the packaged model")
    parser.add_argument("--processes", type=int, default=2, help="companies are judged in so many at a time")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    begin = time.monotonic()
    try:
        load_model(args.model)  # a wrong model is named once, here
    except VitalsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    parts = parts_of(args.seeds, args.accounts)
    tasks = zip(parts, repeat(args.days), repeat(args.model), strict=False)
    console = Console(stderr=True)
    with get_context("spawn").Pool(min(args.processes, len(parts))) as pool:
        done = pool.imap(_judge_task, tasks)
        shown = track(done, "Judging ...", len(parts), console=console, transient=True, disable=not console.is_terminal)
        figures = {**summarise(shown), "seeds": args.seeds, "seconds": time.monotonic() - begin}
    if args.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    return 0 if all(goal["met"] for goal in figures["goals"].values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
