"""The dashboards of Grafana, written from a few lines each: `python -m tests.deploy.dashboards` makes the JSON anew.

They open without edits: the data source is a variable, the uid is fixed, and queries name metrics of the catalogue.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from tests.deploy.promtool import ROOT

FOLDER: Final = ROOT / "deploy" / "grafana"
WIDTH: Final = 12
HEIGHT: Final = 8
RATE: Final = "[$__rate_interval]"
AT_RISK_MRR: Final = 'vitals_mrr_minor_units{band=~"at_risk|endangered"}'


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: title, unit as Grafana names it, and queries with their legends."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def rate(metric: str, by: str, unit: str, title: str) -> Panel:
    """Make a graph of a counter's rate by a label."""
    return Panel(title, unit, ((f"sum by ({by}) (rate({metric}{RATE}))", f"{{{{{by}}}}}"),))


def share(metric: str, title: str) -> Panel:
    """Make a graph of a histogram's median and 99th percentile."""
    query = f"histogram_quantile(%s, sum by (le) (rate({metric}_bucket{RATE})))"
    return Panel(title, "s", ((query % "0.5", "half are below"), (query % "0.99", "99% are below")))


DASHBOARDS: Final[dict[str, tuple[str, tuple[Panel, ...]]]] = {
    "vitals-service": (
        "Vitals: service",
        (
            share("vitals_event_age_seconds", "From event to score"),
            share("vitals_alert_latency_seconds", "From event to alert"),
            Panel("Oldest event that waits", "s", (("max by (topic) (vitals_lag_seconds)", "{{topic}}"),)),
            rate("vitals_dead_letters_total", "reason", "short", "Dead letters a second"),
            Panel("Age of the copy", "s", (("time() - max(vitals_copy_current_timestamp_seconds)", "copy"),)),
            rate("vitals_http_requests_total", "status", "reqps", "Requests of the API by status"),
            share("vitals_http_request_duration_seconds", "Time to the begin of an answer"),
            Panel("Processes", "short", (("count by (role, version) (vitals_build_info)", "{{role}} {{version}}"),)),
        ),
    ),
    "vitals-pipeline": (
        "Vitals: pipeline",
        (
            rate("vitals_events_total", "topic", "eps", "Events a second by topic"),
            rate("vitals_events_total", "outcome", "eps", "Events a second by outcome"),
            Panel("Records that wait", "short", (("sum by (topic) (vitals_lag_records)", "{{topic}}"),)),
            Panel(
                "Records that wait, by worker", "short", (("sum by (instance) (vitals_lag_records)", "{{instance}}"),)
            ),
            share("vitals_commit_duration_seconds", "Commits"),
            Panel(
                "Flushes",
                "s",
                (
                    (
                        f"sum(rate(vitals_flush_duration_seconds_total{RATE})) / sum(rate(vitals_flushes_total{RATE}))",
                        "mean time",
                    ),
                ),
            ),
            rate("vitals_state_records_total", "instance", "short", "Changelog records a second"),
            rate("vitals_state_bytes_total", "instance", "Bps", "Changelog bytes a second"),
            Panel(
                "Accounts and partitions by worker",
                "short",
                (
                    ("vitals_state_keys", "{{instance}} accounts"),
                    ("vitals_partitions_owned", "{{instance}} partitions"),
                ),
            ),
            Panel("Scores that wait", "short", (("vitals_scores_waiting", "{{instance}}"),)),
            rate("vitals_scores_total", "instance", "short", "Scores a second"),
            rate("vitals_ticks_total", "instance", "short", "Ticks a second"),
            Panel("Delay of ticks", "s", (("vitals_tick_delay_seconds", "{{instance}}"),)),
            share("vitals_event_loop_lag_seconds", "Event loop wakes late"),
            Panel("Rebalances in an hour", "short", (("increase(vitals_rebalances_total[1h])", "{{instance}}"),)),
            Panel(
                "Recovery",
                "short",
                (
                    ("vitals_recovery_remaining_records", "{{instance}} records left"),
                    ("vitals_recovery_duration_seconds", "{{instance}} last one, seconds"),
                ),
            ),
            rate("vitals_copied_records_total", "kind", "short", "Records applied to the copy a second"),
            Panel("Records that the copy lacks", "short", (("sum by (kind) (vitals_copy_lag_records)", "{{kind}}"),)),
            rate("vitals_redis_failures_total", "instance", "short", "Failures of Redis a second"),
            Panel("Memory", "bytes", (("process_resident_memory_bytes", "{{instance}}"),)),
            rate("process_cpu_seconds_total", "instance", "short", "Cores in use"),
        ),
    ),
    "vitals-portfolio": (
        "Vitals: portfolio",
        (
            Panel("Accounts by band", "short", (("max by (band) (vitals_accounts)", "{{band}}"),)),
            Panel(
                "Monthly revenue at risk, in whole units",
                "short",
                (
                    (
                        f"sum by (currency) (max by (band, currency) ({AT_RISK_MRR})) / 100",
                        "{{currency}}",
                    ),
                ),
            ),
            Panel(
                "Alerts in an hour by kind",
                "short",
                (("sum by (kind) (increase(vitals_alerts_total[1h]))", "{{kind}}"),),
            ),
            Panel(
                "Accounts that moved in an hour, by new band",
                "short",
                (("sum by (to) (increase(vitals_band_changes_total[1h]))", "{{to}}"),),
            ),
            Panel("Model in force", "short", (("count by (version) (vitals_model_info)", "{{version}}"),)),
            Panel("Accounts still to score anew", "short", (("sum(vitals_stale_accounts)", "accounts"),)),
        ),
    ),
}


def dashboard(uid: str) -> dict[str, Any]:
    """Make one dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[uid]
    return {
        "uid": uid,
        "title": title,
        "tags": ["vitals"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": source, "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(panel.queries)
        ],
    }


def written(uid: str) -> str:
    """Write a dashboard as its file has it."""
    return json.dumps(dashboard(uid), indent=2) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(written(name), encoding="utf-8")
