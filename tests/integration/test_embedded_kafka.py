"""The embedded broker through its command line: it starts, keeps its data, and says in one line why it cannot run."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from service.adapters.embedded_kafka import EmbeddedKafka, _new_cluster_id, resolve_bootstrap
from service.adapters.kafka_artifacts import cache_dir, kafka_jars, kafka_version, read_lock
from service.adapters.topic_admin import broker_ids, ensure_topics
from service.errors import DependencyError
from service.settings import load_settings
from service.topic_catalogue import TopicNames
from tests.conftest import Vitals

pytestmark = pytest.mark.kafka

TWO_MB = b"x" * 2_000_000


async def publish(bootstrap: str, topic: str, values: list[bytes]) -> None:
    """Publish values and wait until all in-sync replicas have them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=4_000_000)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"acme")
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """Read this many values from the start of a topic."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=4_000_000
    )
    await consumer.start()
    try:
        return [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(count)]
    finally:
        await consumer.stop()


def one_line(text: str) -> str:
    """Return the only line of an error output; there may be a line about a download before."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("fetching ")]
    assert len(lines) == 1, text
    return lines[0]


def test_data_survives_down_and_up(vitals: Vitals, tmp_path: Path) -> None:
    """`up` answers, a second `up` changes nothing, and records, a 2 MB one too, are there after `down` and `up`."""
    home, names = str(tmp_path), TopicNames()
    try:
        up = json.loads(vitals("kafka", "up", "--port", "0", "--data", home, "--json").stdout)
        assert up["started"] is True
        asyncio.run(ensure_topics(up["bootstrap"], names))
        asyncio.run(publish(up["bootstrap"], names.alerts, [b"one", TWO_MB]))

        again = vitals("kafka", "up", "--data", home)
        assert again.returncode == 0
        assert f"already runs at {up['bootstrap']}" in again.stdout

        assert vitals("kafka", "down", "--data", home).returncode == 0
        stopped = vitals("kafka", "status", "--data", home, "--json")
        assert (stopped.returncode, json.loads(stopped.stdout)["state"]) == (3, "stopped")

        second = json.loads(vitals("kafka", "up", "--data", home, "--json").stdout)
        assert second["bootstrap"] == up["bootstrap"]
        assert asyncio.run(read(second["bootstrap"], names.alerts, 2)) == [b"one", TWO_MB]
    finally:
        assert vitals("kafka", "down", "--data", home).returncode == 0
    assert "was not running" in vitals("kafka", "down", "--data", home).stdout


def test_a_killed_broker_is_seen_and_comes_back(vitals: Vitals, tmp_path: Path) -> None:
    """After SIGKILL `status` says stopped and no address is given out; `up` brings it back, same layout only."""
    home = str(tmp_path)
    try:
        assert vitals("kafka", "up", "--port", "0", "--data", home).returncode == 0
        status = json.loads(vitals("kafka", "status", "--data", home, "--json").stdout)
        assert status["state"] == "running"
        assert resolve_bootstrap(load_settings(home=tmp_path)) == status["bootstrap"]
        assert "run `vitals kafka down` first" in one_line(
            vitals("kafka", "up", "--brokers", "3", "--data", home).stderr
        )

        EmbeddedKafka(tmp_path).kill(0)
        assert json.loads(vitals("kafka", "status", "--data", home, "--json").stdout)["state"] == "stopped"
        with pytest.raises(DependencyError, match="vitals kafka up"):
            resolve_bootstrap(load_settings(home=tmp_path))

        other = vitals("kafka", "up", "--brokers", "2", "--data", home)
        assert other.returncode == 2
        assert "made for 1 broker(s), not 2" in one_line(other.stderr)
        assert vitals("kafka", "up", "--data", home).returncode == 0
        assert asyncio.run(broker_ids(status["bootstrap"])) == {1}
    finally:
        vitals("kafka", "down", "--data", home)


def test_it_listens_on_loopback_only(broker: EmbeddedKafka) -> None:
    """No port of the broker can be reached from another machine."""
    process = psutil.Process(broker.status().brokers[0].pid)
    listening = {found.laddr.ip for found in process.net_connections("inet") if found.status == psutil.CONN_LISTEN}
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_a_paused_broker_goes_on(broker: EmbeddedKafka) -> None:
    """A paused broker is told apart from a stopped one, and answers again when resumed."""
    broker.pause(0)
    try:
        assert broker.status().brokers[0].state == "paused"
    finally:
        broker.resume(0)
    assert broker.status().brokers[0].state == "running"
    assert asyncio.run(broker_ids(broker.bootstrap)) == {1}


def test_a_taken_port_is_named(vitals: Vitals, tmp_path: Path) -> None:
    """A port that another process has is refused at once, with the way out."""
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        refused = vitals("kafka", "up", "--port", str(port), "--data", str(tmp_path))
    assert refused.returncode == 1
    assert f"port 127.0.0.1:{port} is taken" in one_line(refused.stderr)
    assert EmbeddedKafka(tmp_path).status().state == "stopped"


def test_a_broker_that_dies_at_start_names_its_log(vitals: Vitals, tmp_path: Path) -> None:
    """Damaged data stops the start with one line that names the log, and leaves no process."""
    kafka = EmbeddedKafka(tmp_path, port=0)
    kafka.start()
    kafka.stop()
    meta = kafka.data / "broker-1" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    refused = vitals("kafka", "up", "--data", str(tmp_path))
    assert refused.returncode == 1
    told = one_line(refused.stderr)
    assert "stopped while starting" in told
    assert str(kafka.data / "broker-1.log") in told
    assert kafka.status().state == "stopped"


def test_data_of_others_is_refused(vitals: Vitals, tmp_path: Path) -> None:
    """Of a newer Kafka, of another cluster, of two clusters: exit code 2, one line, and nothing is started."""
    kafka = EmbeddedKafka(tmp_path, port=0)
    brokers = [{"node_id": number, "port": 20_000, "controller_port": 20_001} for number in (1, 2)]
    state = {"cluster_id": "ours", "kafka_version": kafka_version(), "brokers": brokers}

    def refused(kafka_of: str, *clusters: str) -> str:
        kafka.data.mkdir(exist_ok=True)
        (kafka.data / "state.json").write_text(json.dumps({**state, "kafka_version": kafka_of}))
        for number, cluster in enumerate(clusters, start=1):
            folder = kafka.data / f"broker-{number}"
            folder.mkdir(exist_ok=True)
            (folder / "meta.properties").write_text(f"version=1\ncluster.id={cluster}\nnode.id={number}\n")
        done = vitals("kafka", "up", "--data", str(tmp_path))
        assert (done.returncode, kafka.status().state) == (2, "stopped")
        return one_line(done.stderr)

    assert "is of Kafka 99.0.0" in refused("99.0.0", "ours", "ours")
    assert f"{kafka.data / 'broker-2'} is of cluster theirs, and {kafka.data} is of ours" in refused(
        kafka_version(), "ours", "theirs"
    )
    (kafka.data / "state.json").unlink()
    done = vitals("kafka", "up", "--data", str(tmp_path))
    assert (done.returncode, "is of cluster theirs" in done.stderr) == (2, True)


def test_a_directory_that_cannot_be_made_is_named(vitals: Vitals, tmp_path: Path) -> None:
    """A data directory that is a file is refused in one line."""
    (tmp_path / "file").write_text("")
    refused = vitals("kafka", "up", "--port", "0", "--data", str(tmp_path / "file"))
    assert refused.returncode == 1
    assert "data directory" in one_line(refused.stderr)


def test_a_corrupt_jar_is_refused(vitals: Vitals, tmp_path: Path) -> None:
    """One changed byte in one cached jar: nothing is started, and the file to delete is named."""
    jars = tmp_path / "vitals" / "jars"
    jars.mkdir(parents=True)
    for path in kafka_jars():
        (jars / path.name).symlink_to(path)
    victim = jars / read_lock()[3].file_name
    content = bytearray(victim.read_bytes())
    content[1000] ^= 1
    victim.unlink()
    victim.write_bytes(content)
    refused = vitals("kafka", "up", "--port", "0", "--data", str(tmp_path / "home"), XDG_CACHE_HOME=str(tmp_path))
    assert refused.returncode == 1
    assert f"{victim} is not the locked" in one_line(refused.stderr)


def test_a_missing_download_is_one_line(vitals: Vitals, tmp_path: Path) -> None:
    """With an empty cache and no network, the first jar that is missing is named and nothing is left behind."""
    nowhere = "http://127.0.0.1:9"
    refused = vitals(
        "kafka", "up", "--port", "0", "--data", str(tmp_path / "home"),
        XDG_CACHE_HOME=str(tmp_path), HTTPS_PROXY=nowhere, https_proxy=nowhere, NO_PROXY="", no_proxy="",
    )  # fmt: skip
    assert refused.returncode == 1
    assert "cannot fetch" in one_line(refused.stderr)
    assert [path.name for path in (tmp_path / "vitals" / "jars").iterdir()] == [".lock"]


def test_two_first_users_at_once_get_whole_jars(vitals: Vitals, tmp_path: Path) -> None:
    """Two processes that both miss a jar fetch it once between them and both start from a whole cache."""
    jars = tmp_path / "vitals" / "jars"
    shutil.copytree(cache_dir(), jars)
    smallest = min(read_lock(), key=lambda jar: (jars / jar.file_name).stat().st_size)
    (jars / smallest.file_name).unlink()
    homes = [tmp_path / "one", tmp_path / "two"]
    try:
        with ThreadPoolExecutor() as pool:
            done = list(
                pool.map(
                    lambda home: vitals(
                        "kafka", "up", "--port", "0", "--data", str(home), XDG_CACHE_HOME=str(tmp_path)
                    ),
                    homes,
                )
            )
        assert [result.returncode for result in done] == [0, 0], done
        assert sum("fetching" in result.stderr for result in done) == 1
    finally:
        for home in homes:
            EmbeddedKafka(home).stop()


def test_a_cluster_id_is_never_an_option() -> None:
    """No cluster id begins with a dash, which Kafka's tools would read as an option."""
    assert not [drawn for drawn in (_new_cluster_id() for _ in range(2_000)) if drawn.startswith("-")]


@pytest.mark.slow
def test_three_brokers_outlive_one(tmp_path: Path) -> None:
    """Three brokers form one cluster; with one of them killed, acknowledged writes go on; it rejoins."""
    kafka, names = EmbeddedKafka(tmp_path, brokers=3, port=0), TopicNames()
    try:
        kafka.start()
        assert asyncio.run(broker_ids(kafka.bootstrap)) == {1, 2, 3}
        asyncio.run(ensure_topics(kafka.bootstrap, names))
        kafka.kill(0)
        assert [broker.state for broker in kafka.status().brokers] == ["stopped", "running", "running"]
        assert kafka.status().state == "degraded"
        asyncio.run(publish(kafka.bootstrap, names.alerts, [b"still here"]))
        kafka.restart(0)
        assert kafka.status().state == "running"
        assert asyncio.run(read(kafka.bootstrap, names.alerts, 1)) == [b"still here"]
    finally:
        for index in range(3):
            kafka.kill(index)  # nothing of theirs is needed any more, and `stop` takes six seconds
