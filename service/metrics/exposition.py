"""What is scraped: samples of the catalogue's metrics, read in the process' own loop at the moment somebody asks.

A value that the catalogue does not allow for its label is refused, so that no account id can get out by mistake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app, start_http_server
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from service.errors import ConfigError
from service.metrics.buckets import Buckets
from service.metrics.catalogue import Metric
from service.metrics.in_loop import read_in_loop
from service.metrics.probes import Health, with_probes


class Sample(NamedTuple):
    """One value of a metric, a number or a histogram's counts, with its labels."""

    metric: Metric
    value: float | Buckets
    labels: Mapping[str, str] = {}


Source = Callable[[], Iterable[Sample]]


class Exposition(Collector):
    """Collects the samples of one source; the scrape's thread waits while the loop reads them."""

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    def describe(self) -> Iterable[Family]:
        """Tell the registry no names beforehand: there is nothing to ask before the process is ready."""
        return ()

    def collect(self) -> Iterable[Family]:
        """Read all samples now; raises TimeoutError when the loop does not get to it."""
        return families(read_in_loop(self._loop, lambda: list(self._source())))


def families(samples: Iterable[Sample]) -> list[Family]:
    """Group samples by metric; raises ValueError for a label that the catalogue does not allow."""
    found: dict[Metric, Family] = {}
    for sample in samples:
        metric = sample.metric
        if metric not in found:
            found[metric] = _family(metric)
        labels = _checked(metric, sample.labels)
        family = found[metric]
        if isinstance(sample.value, Buckets):
            family.add_metric(labels, buckets=sample.value.cumulative(), sum_value=sample.value.sum)  # type: ignore[attr-defined]  # a histogram's
        else:
            family.add_metric(labels, sample.value)  # type: ignore[attr-defined]  # each kind of family has it
    return list(found.values())


def _family(metric: Metric) -> Family:
    names = [label.name for label in metric.labels]
    if metric.kind == "histogram":
        return HistogramMetricFamily(metric.name, metric.meaning, labels=names)
    if metric.kind == "counter":
        return CounterMetricFamily(metric.name, metric.meaning, labels=names)
    return GaugeMetricFamily(metric.name, metric.meaning, labels=names)


def _checked(metric: Metric, labels: Mapping[str, str]) -> list[str]:
    if set(labels) != {label.name for label in metric.labels}:
        raise ValueError(f"{metric.name} has other labels than {sorted(labels)}")
    for label in metric.labels:
        if not label.allows(labels[label.name]):
            raise ValueError(f"{metric.name}: the label {label.name} has a value that the catalogue does not know")
    return [labels[label.name] for label in metric.labels]


@contextmanager
def serving(address: str | None, registry: CollectorRegistry, health: Health) -> Iterator[None]:
    """Serve a registry and the probes at `host:port`, in a thread, while the block runs; nothing without an address.

    To be entered in the process' event loop.
    """
    if address is None:
        yield
        return
    ProcessCollector(registry=registry)
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise ConfigError(f"metrics cannot be served at {address} (VITALS_METRICS): {error.strerror}") from None
    server.set_app(with_probes(make_wsgi_app(registry), health, asyncio.get_running_loop()))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
