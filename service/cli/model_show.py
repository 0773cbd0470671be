"""How `vitals model show` prints a model for people: bands, factors, rules and profiles, each as a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from service.cli.terminal import print_table, printable
from service.rule_review import comparison_text
from service.scoring.model import Curve, Model, Profile, Rule
from service.scoring.state import DAY_MS

WIDTH = 160  # where nobody says how wide lines may be
RIGHT = frozenset(("enter below", "leave at", "weight", "share"))


def print_model(model: Model, source: str) -> None:
    """Print the whole model; every text of the file is made harmless."""
    bands = model.bands
    print_table(
        f"model {model.version} ({source})",
        [
            ("least coverage", f"{bands.min_coverage:g}"),
            ("dwell", f"{bands.dwell_ms / DAY_MS:g} days"),
            ("cool-down", f"{bands.cool_down_ms / DAY_MS:g} days"),
            ("key features", ", ".join(model.key_features) or "none"),
        ],
    )
    levels = (("at_risk", bands.at_risk), ("endangered", bands.endangered))
    _print(("band", "enter below", "leave at"), ((name, f"{at.enter:g}", f"{at.leave:g}") for name, at in levels))
    _print(
        ("factor", "signal", "weight", "share", "curve: value > output"),
        (
            (
                factor.name,
                factor.signal.name,
                f"{factor.weight:g}",
                f"{factor.weight / model.plain.total_weight:.0%}",
                _curve(factor.curve),
            )
            for factor in model.factors
        ),
    )
    _print(("rule", "holds while", "effect"), ((rule.name, _conditions(rule), _effect(rule)) for rule in model.rules))
    _print(
        ("profile", "for", "changes"),
        ((profile.name, _whom(profile), "; ".join(_changes(profile, model))) for profile, _ in model.plans),
    )


def _print(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, justify="right" if title in RIGHT else "left")
    for row in rows:
        table.add_row(*map(printable, row))
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print()
    console.print(table if table.row_count else f"no {titles[0]}s")


def _curve(curve: Curve) -> str:
    return ", ".join(f"{x:g} > {y:g}" for x, y in zip(curve.xs, curve.ys, strict=True))


def _conditions(rule: Rule) -> str:
    groups = [[f"{c.signal} is {comparison_text(c)}" for c in group] for group in rule.groups]
    one_group = len(groups) == 1
    return " and ".join(" or ".join(g) if one_group or len(g) == 1 else f"({' or '.join(g)})" for g in groups)


def _effect(rule: Rule) -> str:
    effects = [f"band {rule.cap} or worse"] if rule.cap else []
    if rule.alerts:
        effects.append(f"alert, cool-down {rule.cool_down_ms / DAY_MS:g} days")
    return ", ".join(effects)


def _whom(profile: Profile) -> str:
    told = (("tier", profile.tier), ("stage", profile.stage))
    return ", ".join(f"{name} {value}" for name, value in told if value is not None)


def _changes(profile: Profile, model: Model) -> Iterable[str]:
    for plain, own in zip(model.factors, profile.factors, strict=True):
        if own.weight == 0:
            yield f"{own.name} left out"
        elif own.weight != plain.weight:
            yield f"{own.name} weight {own.weight:g}"
        if _curve(own.curve) != _curve(plain.curve):
            yield f"{own.name} curve {_curve(own.curve)}"
