"""Metrics: nothing but the catalogue gets out, under its own names and labels, and a scrape cannot hang."""

from __future__ import annotations

import asyncio
import re
import socket
import urllib.request
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as Family

from service.adapters.embedded_kafka import free_ports
from service.errors import ConfigError
from service.metrics import catalogue, in_loop
from service.metrics.buckets import Buckets
from service.metrics.catalogue import CATALOGUE, Label, Metric
from service.metrics.exposition import Exposition, Sample, families, serving
from service.metrics.probes import Health
from service.settings import load_settings

UNITS = {"seconds": "_seconds", "seconds since 1970": "_timestamp_seconds", "minor units": "_minor_units"}


def text_of(samples: Iterable[Sample]) -> str:
    """Write samples as they are scraped."""

    class Fixed(Exposition):
        def __init__(self) -> None:
            """Need no loop."""

        def collect(self) -> list[Family]:
            return families(samples)

    registry = CollectorRegistry()
    registry.register(Fixed())
    return generate_latest(registry).decode()


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    """One prefix, base units, `_total` for counters and nothing else."""
    assert re.fullmatch(r"vitals(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.removesuffix("_total").endswith(UNITS.get(metric.unit, ""))
    assert bool(metric.bounds) == (metric.kind == "histogram")
    assert list(metric.bounds) == sorted(metric.bounds)


def test_names_are_given_once() -> None:
    """No two metrics share a name."""
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize(
    "label",
    list(dict.fromkeys(label for metric in CATALOGUE for label in metric.labels)),  # a set has another order each time
    ids=lambda label: label.name,
)
def test_no_label_takes_an_account(label: Label) -> None:
    """Ids as they come are refused by every label, also by those that are bounded by what the operator writes."""
    assert not any(label.allows(account) for account in ("Acme Corp", "org/acme", "a@example.com", "ACME\n"))


def test_a_value_that_is_not_in_the_catalogue_is_refused() -> None:
    """A scrape fails rather than tell an account, and the error does not tell it either."""
    with pytest.raises(ValueError, match="the label reason has a value that the catalogue does not know") as caught:
        text_of([Sample(catalogue.DEAD_LETTERS, 1, {"reason": "acme"})])
    assert "acme" not in str(caught.value)
    with pytest.raises(ValueError, match="has other labels"):
        text_of([Sample(catalogue.COMMITS, 1, {"account": "acme"})])


def test_buckets_take_a_batch_at_once() -> None:
    """A bound counts what is equal to it; what is above all counts in the last; below 0 is 0."""
    buckets = Buckets((0.1, 1.0))
    buckets.add(0.1, 3)
    buckets.add(5.0, 2)
    buckets.add(-1.0)
    assert buckets.cumulative() == [("0.1", 4.0), ("1.0", 4.0), ("+Inf", 6.0)]
    assert buckets.sum == pytest.approx(10.3)


def test_every_kind_is_written_as_prometheus_reads_it() -> None:
    """Help, type, labels and the parts of a histogram."""
    age = Buckets((1.0,))
    age.add(0.5, 2)
    text = text_of(
        [
            Sample(catalogue.DEAD_LETTERS, 3, {"reason": "not_json"}),
            Sample(catalogue.PARTITIONS, 8),
            Sample(catalogue.EVENT_AGE, age),
        ]
    )
    assert '\nvitals_dead_letters_total{reason="not_json"} 3.0\n' in text
    assert "# TYPE vitals_partitions_owned gauge\nvitals_partitions_owned 8.0\n" in text
    assert 'vitals_event_age_seconds_bucket{le="1.0"} 2.0\n' in text
    assert "vitals_event_age_seconds_sum 1.0\n" in text


def test_a_scrape_reads_in_the_loop_and_ends_with_the_block() -> None:
    """The samples are read in the process' own loop; afterwards the port is free again."""
    port = free_ports(1)[0]
    read_in: list[asyncio.AbstractEventLoop] = []

    def source() -> list[Sample]:
        read_in.append(asyncio.get_running_loop())
        return [Sample(catalogue.COMMITS, 7)]

    async def run() -> str:
        registry = CollectorRegistry()
        registry.register(Exposition(source, asyncio.get_running_loop()))
        with serving(f"127.0.0.1:{port}", registry, Health()):
            answer = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/metrics")
            text = str(answer.read(), "utf-8")
        assert read_in == [asyncio.get_running_loop()]
        return text

    text = asyncio.run(run())
    assert "\nvitals_commits_total 7.0\n" in text
    assert "process_cpu_seconds_total" in text
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_a_loop_that_stands_still_fails_the_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """So Prometheus sees the target down, instead of old figures."""
    monkeypatch.setattr(in_loop, "READ_SECONDS_MAX", 0.1)

    async def stand_still() -> None:
        with pytest.raises(TimeoutError):
            Exposition(
                list, asyncio.get_running_loop()
            ).collect()  # in the loop's own thread, which so waits for itself

    asyncio.run(stand_still())


def test_an_address_that_is_taken_is_named() -> None:
    """The operator reads which setting to change."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = pytest.raises(ConfigError, match=rf"{address} \(VITALS_METRICS\)")
        with refused, serving(address, CollectorRegistry(), Health()):
            pass


@pytest.mark.parametrize("address", ["9464", "a:1,b:2", "http://a:1", "a:99999"])
def test_an_address_that_is_none_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable."""
    monkeypatch.setenv("VITALS_METRICS", address)
    with pytest.raises(ConfigError, match=r"metrics \(VITALS_METRICS\)"):
        load_settings()
