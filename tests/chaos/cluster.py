"""The brokers of the chaos runs: one or three, each behind a proxy that clients take for the broker itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from unittest import mock

from service.adapters import embedded_kafka
from service.adapters.embedded_config import broker_properties
from service.adapters.embedded_kafka import EmbeddedKafka
from tests.chaos.proxy import Proxies

# Between the embedded brokers' own ports and those that systems give to outgoing connections.
CLIENT_PORTS = range(29_500, 32_500)


class Cluster:
    """Embedded brokers and the proxies before them."""

    def __init__(self, home: Path, brokers: int) -> None:
        self.kafka = EmbeddedKafka(home, brokers=brokers, port=0)
        self.count = brokers
        self._proxies: Proxies | None = None
        free = _free_ports(2 * brokers)
        self._ports = list(zip(free[:brokers], free[brokers:], strict=True))

    @property
    def proxies(self) -> Proxies:
        """The links; the cluster must be started."""
        assert self._proxies is not None
        return self._proxies

    @property
    def bootstrap(self) -> str:
        """The addresses for clients whose links may be cut."""
        return self.proxies.bootstrap

    @property
    def direct(self) -> str:
        """The addresses for the harness itself, which no weather reaches."""
        return self.kafka.bootstrap

    def start(self) -> None:
        """Start brokers and proxies."""
        with self._second_listener():
            self.kafka.start()
        self._proxies = Proxies(self._ports)
        self._proxies.start()

    def stop(self) -> None:
        """Stop everything."""
        if self._proxies is not None:
            self._proxies.stop()
        self.kafka.stop()

    def restart(self, number: int) -> None:
        """Start a killed broker again."""
        with self._second_listener():
            self.kafka.restart(number)

    def wait_whole(self, seconds: float = 60) -> None:
        """Wait until every broker is in the cluster again."""
        deadline = time.monotonic() + seconds
        while self.kafka.status().state != "running":
            assert time.monotonic() < deadline, "the brokers do not come back"
            time.sleep(0.2)

    def _second_listener(self) -> mock._patch[object]:
        """Have brokers listen for clients on a port of its own and advertise the proxy's port there."""

        def with_clients(node_id: int, ports: Sequence[tuple[int, int]], log_dir: Path) -> str:
            told, own = self._ports[node_id - 1]
            changes = {
                "listeners": f",CLIENT://127.0.0.1:{own}",
                "advertised.listeners": f",CLIENT://127.0.0.1:{told}",
                "listener.security.protocol.map": ",CLIENT:PLAINTEXT",
            }
            lines = broker_properties(node_id, ports, log_dir).splitlines()
            return "".join(f"{line}{changes.get(line.partition('=')[0], '')}\n" for line in lines)

        return mock.patch.object(embedded_kafka, "broker_properties", with_clients)


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in Random().sample(CLIENT_PORTS, len(CLIENT_PORTS)):
        with socket.socket() as probe:
            if len(found) < count and probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found
