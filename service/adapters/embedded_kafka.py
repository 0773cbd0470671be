"""A real Apache Kafka cluster on this machine, started, found again and stopped by Vitals itself.

All of it lives in `<home>/kafka`: `state.json` says which processes and ports it has, `broker-N/` holds the data,
`broker-N.log` what the broker says. Nothing here knows about topics. Calls block: coroutines use `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from service.adapters.clients import SecuredBrokers
from service.adapters.embedded_config import LOG_SETTINGS, broker_properties, java_command
from service.adapters.embedded_process import ProcessMark, send, spawn, state_of, wait_paused, wait_stopped
from service.adapters.kafka_artifacts import kafka_version
from service.adapters.kafka_data import refuse_newer_kafka, stored_cluster_id
from service.adapters.topic_admin import broker_ids
from service.errors import ConfigError, DependencyError
from service.settings import Settings

DEFAULT_PORT = 29092
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 15.0
MIN_FREE_BYTES = 512 * 1024 * 1024
# Below the range that systems give to outgoing connections: the port of a killed broker stays free for its restart.
FREE_PORTS = range(20_000, 29_000)


class BrokerState(BaseModel):
    """One broker of the cluster, as stored."""

    node_id: int
    port: int
    controller_port: int
    process: ProcessMark | None = None


class ClusterState(BaseModel):
    """What `state.json` holds."""

    cluster_id: str
    kafka_version: str
    brokers: list[BrokerState]


class BrokerStatus(BaseModel):
    """One broker, as found now; `state` is `running`, `paused` or `stopped`."""

    node_id: int
    address: str
    state: str
    pid: int | None
    log: Path


class ClusterStatus(BaseModel):
    """The cluster, as found now; `state` is `running` (all brokers), `degraded` (some) or `stopped`."""

    state: str
    bootstrap: str
    kafka_version: str
    data: Path
    brokers: list[BrokerStatus]


class EmbeddedKafka:
    """The cluster in `<home>/kafka`; many objects, in many processes, may stand for the same one."""

    def __init__(self, home: Path, brokers: int | None = None, port: int | None = None) -> None:
        """Name the cluster; nothing is touched yet.

        `brokers`: None takes as many as the data was made for, else 1. `port` is the first broker's, the others
        follow it; None takes that of the last start, else 29092; 0 takes any that is free.
        """
        self.data = Path(home).absolute() / "kafka"
        self._brokers = brokers
        self._port = port

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers; DependencyError if the cluster was never started."""
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self._stored().brokers)

    def status(self) -> ClusterStatus:
        """Look at the processes; says nothing about whether they answer."""
        cluster = self._load()
        brokers = [self._broker_status(broker) for broker in cluster.brokers] if cluster else []
        up = sum(broker.state != "stopped" for broker in brokers)
        return ClusterStatus(
            state="stopped" if not up else "running" if up == len(brokers) else "degraded",
            bootstrap=",".join(broker.address for broker in brokers),
            kafka_version=cluster.kafka_version if cluster else kafka_version(),
            data=self.data,
            brokers=brokers,
        )

    def start(self) -> bool:
        """Start the brokers that do not run and wait until all answer; False if nothing had to be done.

        Raises ConfigError when the running cluster or its data is not what is asked for, DependencyError when a broker
        cannot run.
        """
        with self._only_one():
            return self._start()

    def stop(self) -> bool:
        """Stop all brokers, by force after 15 s; False if none ran. The data stays."""
        if not self.data.is_dir():
            return False
        with self._only_one():
            cluster = self._load()
            ran = bool(cluster) and self.status().state != "stopped"
            if cluster:
                self._end([broker.process for broker in cluster.brokers])
            return ran

    def kill(self, broker_index: int) -> None:
        """End one broker at once, as a crash would (SIGKILL); indexes count from 0."""
        mark = self._stored().brokers[broker_index].process
        send(mark, signal.SIGKILL)
        wait_stopped([mark], STOP_TIMEOUT_SECONDS)

    def pause(self, broker_index: int) -> None:
        """Freeze one broker (SIGSTOP): connections stay open and nothing answers once this returns."""
        mark = self._stored().brokers[broker_index].process
        send(mark, signal.SIGSTOP)
        wait_paused(mark, STOP_TIMEOUT_SECONDS)

    def resume(self, broker_index: int) -> None:
        """Let a paused broker go on."""
        send(self._stored().brokers[broker_index].process, signal.SIGCONT)

    def restart(self, broker_index: int) -> None:
        """Start one broker again, on its port and data, and wait until it answers; one that runs is stopped before."""
        with self._only_one():
            cluster = self._stored()
            self._end([cluster.brokers[broker_index].process])
            self._spawn(cluster, [cluster.brokers[broker_index]])

    # -- starting ------------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        cluster = self._load()
        if cluster and self.status().state != "stopped":
            self._refuse_other_layout(cluster)
            stopped = [broker for broker in cluster.brokers if state_of(broker.process) == "stopped"]
            self._spawn(cluster, stopped)
            return bool(stopped)
        free = shutil.disk_usage(self.data).free
        if free < MIN_FREE_BYTES:
            raise DependencyError(
                f"{self.data} has {free >> 20} MiB free, the broker wants {MIN_FREE_BYTES >> 20}: "
                "make room, or name another directory with --data"
            )
        cluster = self._layout(cluster)
        self._spawn(cluster, cluster.brokers)
        return True

    def _refuse_other_layout(self, cluster: ClusterState) -> None:
        first = cluster.brokers[0].port
        if self._port not in {None, 0, first}:
            raise ConfigError(f"it already runs at port {first}, not {self._port}: run `vitals kafka down` first")
        if self._brokers not in {None, len(cluster.brokers)}:
            raise ConfigError(
                f"it already runs with {len(cluster.brokers)} broker(s), not {self._brokers}: "
                "run `vitals kafka down` first"
            )

    def _layout(self, last: ClusterState | None) -> ClusterState:
        """Choose ids and ports for a start from nothing, or from the data of the last one."""
        count = self._brokers or (len(last.brokers) if last else 1)
        if last:
            refuse_newer_kafka(self.data, last.kafka_version, kafka_version())
        cluster_id = stored_cluster_id(self.data, last.cluster_id if last else None)
        if last and len(last.brokers) != count:
            raise ConfigError(
                f"the data in {self.data} was made for {len(last.brokers)} broker(s), not {count}: "
                "name another directory with --data, or delete this one"
            )
        first = self._port if self._port is not None else last.brokers[0].port if last else DEFAULT_PORT
        ports = free_ports(count) if first == 0 else list(range(first, first + count))
        for port in ports:
            if not is_free(port):
                raise DependencyError(
                    f"port 127.0.0.1:{port} is taken by another process: stop it, or choose another with --port, or "
                    "--broker-port of `vitals up` (0 takes any free one)"
                )
        controller_ports = free_ports(count, taken=ports)
        return ClusterState(
            cluster_id=cluster_id or _new_cluster_id(),
            kafka_version=kafka_version(),
            brokers=[
                BrokerState(node_id=index + 1, port=ports[index], controller_port=controller_ports[index])
                for index in range(count)
            ],
        )

    def _spawn(self, cluster: ClusterState, brokers: list[BrokerState]) -> None:
        """Start these brokers of the cluster and wait until they answer; stop them again if they do not."""
        (self.data / "tmp").mkdir(exist_ok=True)
        (self.data / "log4j2.properties").write_text(LOG_SETTINGS, encoding="utf-8")
        ports = [(broker.port, broker.controller_port) for broker in cluster.brokers]
        for broker in brokers:
            properties = broker_properties(broker.node_id, ports, self.data / f"broker-{broker.node_id}")
            self._properties(broker).write_text(properties, encoding="utf-8")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda broker: self._format(cluster, broker), brokers))
        try:
            for broker in brokers:
                command = java_command(self.data, "kafka.Kafka", str(self._properties(broker)))
                broker.process = spawn(command, self._log(broker))
                self._save(cluster)
            self._wait_answering(brokers)
        except BaseException:
            self._end([broker.process for broker in brokers])
            raise

    def _format(self, cluster: ClusterState, broker: BrokerState) -> None:
        if (self.data / f"broker-{broker.node_id}" / "meta.properties").exists():
            return
        arguments = ("format", "--ignore-formatted", "-t", cluster.cluster_id, "-c", str(self._properties(broker)))
        command = java_command(self.data, "kafka.tools.StorageTool", *arguments, heap="-Xmx128m")
        done = subprocess.run(  # noqa: S603 - our own command line
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True
        )
        if done.returncode:
            self._log(broker).write_text(done.stdout, encoding="utf-8")
            raise DependencyError(
                f"the broker's storage cannot be made: {self._last_error(broker)}; log: {self._log(broker)}"
            )

    def _wait_answering(self, brokers: list[BrokerState]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        for broker in brokers:
            while not self._answers(broker, {other.node_id for other in brokers}):
                if state_of(broker.process) == "stopped":
                    last = self._last_error(broker)
                    raise DependencyError(
                        f"broker {broker.node_id} stopped while starting: {last}; log: {self._log(broker)}"
                    )
                if time.monotonic() > deadline:
                    raise DependencyError(
                        f"broker {broker.node_id} does not answer after {START_TIMEOUT_SECONDS:.0f} s; "
                        f"log: {self._log(broker)}"
                    )
                time.sleep(0.05)

    @staticmethod
    def _answers(broker: BrokerState, wanted: set[int]) -> bool:
        try:
            socket.create_connection(("127.0.0.1", broker.port), timeout=1).close()
            return wanted <= asyncio.run(broker_ids(f"127.0.0.1:{broker.port}"))
        except (OSError, DependencyError):
            return False

    # -- what is stored ------------------------------------------------------------------------------------------------

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            with (self.data / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # a second command waits; freed by the system if this process dies
                yield
        except OSError as error:
            raise DependencyError(
                f"the broker's data directory {self.data} cannot be used: {error.strerror or error}"
            ) from error

    def _load(self) -> ClusterState | None:
        path = self.data / "state.json"
        try:
            return ClusterState.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise DependencyError(f"{path} cannot be read: stop the broker by hand and delete the directory") from None

    def _stored(self) -> ClusterState:
        cluster = self._load()
        if not cluster:
            raise DependencyError(f"no embedded broker in {self.data}: run `vitals kafka up`")
        return cluster

    def _save(self, cluster: ClusterState) -> None:
        path = self.data / "state.json"
        scratch = path.with_suffix(".tmp")
        scratch.write_text(cluster.model_dump_json(indent=2), encoding="utf-8")
        scratch.replace(path)

    def _broker_status(self, broker: BrokerState) -> BrokerStatus:
        state = state_of(broker.process)
        return BrokerStatus(
            node_id=broker.node_id,
            address=f"127.0.0.1:{broker.port}",
            state=state,
            pid=broker.process.pid if broker.process and state != "stopped" else None,
            log=self._log(broker),
        )

    def _log(self, broker: BrokerState) -> Path:
        return self.data / f"broker-{broker.node_id}.log"

    def _properties(self, broker: BrokerState) -> Path:
        return self.data / f"broker-{broker.node_id}.properties"

    def _last_error(self, broker: BrokerState) -> str:
        lines = self._log(broker).read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
        told = [line for line in lines if any(word in line for word in ("ERROR", "FATAL", "Exception", "Error"))]
        return (told or lines or ["it said nothing"])[-1].strip()[:300]

    @staticmethod
    def _end(marks: list[ProcessMark | None]) -> None:
        for mark in marks:
            send(mark, signal.SIGCONT)  # a paused process would not see the next signal
            send(mark, signal.SIGTERM)
        if not wait_stopped(marks, STOP_TIMEOUT_SECONDS):
            for mark in marks:
                send(mark, signal.SIGKILL)
            wait_stopped(marks, STOP_TIMEOUT_SECONDS)


def resolve_bootstrap(settings: Settings) -> str:
    """Return the brokers that the settings name, or the embedded one if it runs."""
    if settings.broker:
        return settings.broker if settings.kafka_security == "plaintext" else SecuredBrokers(settings)
    status = EmbeddedKafka(settings.home).status()
    if status.state == "stopped":
        raise DependencyError(
            f"no broker: none runs from {settings.home.absolute()}; run `vitals kafka up`, or set VITALS_BROKER"
        )
    return status.bootstrap


def _new_cluster_id() -> str:
    """Draw an id as Kafka does: 16 random bytes in URL-safe Base64, never with a leading dash."""
    while True:
        drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not drawn.startswith("-"):  # Kafka's own tools would take it for an option
            return drawn


def is_free(port: int) -> bool:
    """Tell whether nobody on this machine listens at a port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the broker does: closed connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int, taken: list[int] | None = None) -> list[int]:
    """Find ports of this machine that nobody listens at, others than those taken."""
    found: list[int] = []
    for port in random.SystemRandom().sample(FREE_PORTS, len(FREE_PORTS)):
        if len(found) == count:
            break
        if port not in (taken or []) and is_free(port):
            found.append(port)
    return found
