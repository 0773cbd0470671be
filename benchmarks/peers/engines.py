"""Every engine of the comparison: how it is started, what is durable in it, and where its states are found.

Settings that an engine's documentation recommends for throughput are taken, all others are defaults; each application
names its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.peers.check import StateDecoder
from benchmarks.peers.environment import APPS, classpath_of, java, python_of
from benchmarks.peers.jars import peer_jars
from benchmarks.peers.ours import stored_state
from benchmarks.peers.versions import locked_version, own_versions, pinned_version

Amount = Literal["all", "tenth"]
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Changelog:
    """The topic of an engine's states, by the name of the run; some engines make it themselves."""

    topic: str
    decode: StateDecoder
    is_made_before: bool = False


@dataclass(frozen=True, slots=True)
class Engine:
    """One line of the table. One that is only a limit has neither states nor alerts to be compared."""

    name: str
    label: str
    durable: str
    version: Callable[[], str]
    command: Callable[[], list[str]]
    variables: Callable[[], Mapping[str, str]] = dict
    changelog: Changelog | None = None
    is_limit: bool = False
    ignored_fields: frozenset[str] = frozenset()
    amount: Amount = "all"


def _ours(commit_seconds: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.peers.ours", commit_seconds]


def _own_script(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(APPS / script), *arguments]


def _script(peer: str, script: str) -> list[str]:
    return [python_of(peer), str(APPS / script)]


def _java(peer: str, source: str, *options: str) -> list[str]:
    return [java(), *options, "-cp", classpath_of(peer, source), source.removesuffix(".java")]


def _one(name: str, value: str) -> dict[str, str]:
    return {name: value}


def _pyflink(mode: str) -> dict[str, str]:
    site_packages = subprocess.run(
        [python_of("pyflink"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {
        "MODE": mode,
        "BACKEND": "hashmap",
        "JARS": ":".join(map(str, peer_jars("pyflink"))),
        "JAVA_HOME": str(Path(java()).parents[1]),
        "PYTHONPATH": site_packages,  # the interpreter inside the JVM does not know of the environment
    }


def _json_state(key: bytes, value: bytes) -> tuple[str, dict[str, Any]] | None:
    return key.decode(), json.loads(value)


def _quix_state(key: bytes, value: bytes) -> tuple[str, dict[str, Any]] | None:
    account, _, _ = key.partition(b"|")  # then the name of the value in the account's state
    return json.loads(account), json.loads(value)


def _faust_state(key: bytes, value: bytes) -> tuple[str, dict[str, Any]] | None:
    return json.loads(key), json.loads(value)


OURS: Final = (
    Engine(
        "ours",
        "Vitals' runtime, commit every 5 s",
        "coalesced changelog, alerts at once",
        partial(own_versions, "faust-streaming", "aiokafka"),
        partial(_ours, "5"),
        partial(_one, "PYTHONPATH", str(ROOT)),
        changelog=Changelog("{run}-changelog", stored_state, is_made_before=True),
    ),
    Engine(
        "ours-half-second",
        "Vitals' runtime, commit every 0.5 s (the product's default)",
        "coalesced changelog, alerts at once",
        partial(own_versions, "faust-streaming", "aiokafka"),
        partial(_ours, "0.5"),
        partial(_one, "PYTHONPATH", str(ROOT)),
        changelog=Changelog("{run}-changelog", stored_state, is_made_before=True),
    ),
)
LIMITS: Final = (
    Engine(
        "raw-aiokafka",
        "limit: raw aiokafka consumer that does nothing",
        "nothing",
        partial(own_versions, "aiokafka"),
        partial(_own_script, "aiokafka_app.py"),
        is_limit=True,
    ),
    Engine(
        "raw-librdkafka",
        "limit: raw librdkafka consumer that does nothing",
        "nothing",
        partial(pinned_version, "librdkafka", "confluent-kafka"),
        partial(_script, "librdkafka", "librdkafka_app.py"),
        lambda: {"LOOP": "raw"},
        is_limit=True,
    ),
)
# Flink's own command lines open these packages of the Java runtime to it (env.java.opts.all of its config.yaml).
FLINK_OPTIONS: Final = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.net", "java.io", "java.nio", "java.util", "java.util.concurrent", "java.time")
)
PEERS: Final = (
    Engine(
        "librdkafka-loop",
        "hand-written librdkafka loop with a dict",
        "offsets only",
        partial(pinned_version, "librdkafka", "confluent-kafka"),
        partial(_script, "librdkafka", "librdkafka_app.py"),
    ),
    *(
        Engine(
            f"kstreams-{threads}",
            f"Kafka Streams in Java, {threads} thread{'s' if threads > 1 else ''}",
            "coalesced changelog",
            partial(locked_version, "kstreams", "kafka-streams"),
            partial(_java, "kstreams", "KStreams.java"),
            partial(_one, "THREADS", str(threads)),
            changelog=Changelog("{run}-accounts-changelog", _json_state),
        )
        for threads in (1, 2)
    ),
    *(
        Engine(
            f"flink-{backend}",
            f"Flink in Java, {label}",
            "checkpoints",
            partial(locked_version, "flink", "flink-streaming-java"),
            partial(_java, "flink", "Flink.java", *FLINK_OPTIONS),
            partial(_one, "BACKEND", backend),
        )
        for backend, label in (("hashmap", "state on the heap"), ("rocksdb", "state in RocksDB"))
    ),
    Engine(
        "quix",
        "Quix Streams",
        "coalesced changelog",
        partial(pinned_version, "quix", "quixstreams"),
        partial(_script, "quix", "quix_app.py"),
        changelog=Changelog("changelog__{run}--{topic}--default", _quix_state),
    ),
    Engine(
        "bytewax",
        "Bytewax",
        "snapshots on the local disk",
        partial(pinned_version, "bytewax", "bytewax"),
        partial(_script, "bytewax", "bytewax_app.py"),
    ),
    *(
        Engine(
            f"faststream-{client}",
            f"FastStream, {client}",
            "offsets only",
            partial(pinned_version, "faststream", "faststream"),
            partial(_script, "faststream", "faststream_app.py"),
            partial(_one, "CLIENT", client),
        )
        for client in ("aiokafka", "confluent")
    ),
    *(
        Engine(
            f"pathway-{threads}",
            f"Pathway, {threads} thread{'s' if threads > 1 else ''}",
            "log of the input",
            partial(pinned_version, "pathway", "pathway"),
            partial(_script, "pathway", "pathway_app.py"),
            partial(_one, "PATHWAY_THREADS", str(threads)),
        )
        for threads in (1, 2)
    ),
    Engine(
        "pyflink-thread",
        "PyFlink, thread mode",
        "checkpoints",
        partial(pinned_version, "pyflink", "apache-flink"),
        partial(_script, "pyflink", "pyflink_app.py"),
        partial(_pyflink, "thread"),
        ignored_fields=frozenset({"offset"}),
    ),
    Engine(
        "pyflink-process",
        "PyFlink, process mode",
        "checkpoints",
        partial(pinned_version, "pyflink", "apache-flink"),
        partial(_script, "pyflink", "pyflink_app.py"),
        partial(_pyflink, "process"),
        ignored_fields=frozenset({"offset"}),
    ),
    Engine(
        "faust",
        "stock Faust, one table write per event",
        "a changelog record per event",
        partial(own_versions, "faust-streaming", "aiokafka"),
        partial(_own_script, "faust_app.py", "worker"),
        changelog=Changelog("{run}-accounts-changelog", _faust_state, is_made_before=True),
        amount="tenth",
    ),
)
ENGINES: Final = (*OURS, *PEERS, *LIMITS)
