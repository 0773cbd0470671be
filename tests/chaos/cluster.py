"""The brokers of the chaos runs: one or three, each behind proxies that clients take for the broker itself.

Every worker knows the brokers by proxies of its own, its door, so one of them can be cut off while the others work.
"""

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
from tests.chaos.proxy import Proxies, Weather

# Between the embedded brokers' own ports and those that systems give to outgoing connections.
CLIENT_PORTS = range(29_500, 32_500)
DOORS = 3
CLEAR = Weather()


class Cluster:
    """Embedded brokers and the proxies before them."""

    def __init__(self, home: Path, brokers: int) -> None:
        self.kafka = EmbeddedKafka(home, brokers=brokers, port=0)
        self.count = brokers
        self._proxies: Proxies | None = None
        free = _free_ports(2 * DOORS * brokers)
        pairs = list(zip(free[::2], free[1::2], strict=True))
        self._ports = [pairs[door * brokers : (door + 1) * brokers] for door in range(DOORS)]
        """By door and broker: the port that clients are told, and the broker's own behind it."""

    def bootstrap(self, worker: int) -> str:
        """Return the addresses by which a worker knows the brokers."""
        return ",".join(f"127.0.0.1:{told}" for told, _ in self._ports[worker % DOORS])

    def set_weather(self, weather: Weather, *, worker: int | None = None, broker: int | None = None) -> None:
        """Set the weather between one worker (or all) and one broker (or all)."""
        assert self._proxies is not None
        for door, ports in enumerate(self._ports):
            for number in range(len(ports)):
                if worker in {None, door} and broker in {None, number}:
                    self._proxies.set(weather, door * self.count + number)

    @property
    def direct(self) -> str:
        """The addresses for the harness itself, which no weather reaches."""
        return self.kafka.bootstrap

    def start(self) -> None:
        """Start brokers and proxies."""
        with self._more_listeners():
            self.kafka.start()
        self._proxies = Proxies([pair for ports in self._ports for pair in ports])
        self._proxies.start()

    def stop(self) -> None:
        """Stop everything."""
        if self._proxies is not None:
            self._proxies.stop()
        self.kafka.stop()

    def restart(self, number: int) -> None:
        """Start a killed broker again."""
        with self._more_listeners():
            self.kafka.restart(number)

    def mend(self) -> None:
        """Undo what a scenario that failed may have left: weather, frozen and dead brokers."""
        self.set_weather(CLEAR)
        for number in range(self.count):
            self.kafka.resume(number)
            if self.kafka.status().brokers[number].state == "stopped":
                self.restart(number)

    def wait_whole(self, seconds: float = 60) -> None:
        """Wait until every broker is in the cluster again."""
        deadline = time.monotonic() + seconds
        while self.kafka.status().state != "running":
            assert time.monotonic() < deadline, "the brokers do not come back"
            time.sleep(0.2)

    def _more_listeners(self) -> mock._patch[object]:
        """Have brokers listen on a port for each door and advertise the proxy's port there."""

        def with_clients(node_id: int, ports: Sequence[tuple[int, int]], log_dir: Path) -> str:
            doors = [(f"DOOR{door}", *each[node_id - 1]) for door, each in enumerate(self._ports)]
            changes = {
                "listeners": "".join(f",{name}://127.0.0.1:{own}" for name, _, own in doors),
                "advertised.listeners": "".join(f",{name}://127.0.0.1:{told}" for name, told, _ in doors),
                "listener.security.protocol.map": "".join(f",{name}:PLAINTEXT" for name, _, _ in doors),
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
