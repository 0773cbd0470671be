"""PyFlink's DataStream API: one job in one JVM, state in RocksDB or on the heap, checkpoints to the local disk.

MODE is `process` (Python in processes of its own, the default) or `thread` (Python inside the JVM). Settings: thread
mode for throughput ("Execution Mode": no serialisation between processes); in process mode larger bundles and a larger
cache of state than the defaults of 1,000 ("Python Configuration"). Python is given no Kafka offset: a counter of the
same size stands in for it, so offsets are not compared. The last watermark fires a timer for each account, which writes
its state.
"""

import os
import sys
from pathlib import Path

from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.common.serialization import SimpleStringSchema
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.state import ValueStateDescriptor

FOLDER = os.environ["PEER_FOLDER"]
BOOTSTRAP = os.environ["PEER_BOOTSTRAP"]
END_OF_TIME = 2**63 - 1


def read(text):
    """Decode and check an event; gives the fields that are used."""
    from work import decode  # noqa: PLC0415 - runs in another process, which is sent the module

    event = decode(text)
    if event is not None:
        yield event.account_id, event.ts, event.n, event.feature, event.event_id, event.type


class Score(KeyedProcessFunction):
    """The work for one event after the other."""

    def open(self, runtime_context):
        """Open the state."""
        import marks  # noqa: PLC0415 - as above
        import work  # noqa: PLC0415 - as above

        self.marks, self.work = marks, work
        self.progress = marks.Progress()
        self.account = runtime_context.get_state(ValueStateDescriptor("account", Types.PICKLED_BYTE_ARRAY()))

    def process_element(self, value, ctx):
        """Do the work for one event."""
        self.progress.begin()
        name, ts, n, feature, event_id, type_ = value
        account = self.account.value()
        if account is None:
            account = self.work.Account()
            ctx.timer_service().register_event_time_timer(END_OF_TIME)
        event = self.work.Event(event_id, name, type_, ts, n, feature)
        is_alert = self.work.apply(account, event, account.offset + 1)
        self.account.update(account)
        if is_alert:
            yield self.work.alert(name, account.score).decode()
        self.progress.add(1)

    def on_timer(self, timestamp, ctx):  # noqa: ARG002 - Flink's signature
        """Write the last state."""
        self.marks.dump([(ctx.get_current_key(), self.work.as_dict(self.account.value()))])
        yield from ()


def settings():
    """Configure the job."""
    configuration = Configuration()
    for name, value in {
        "state.backend.type": os.environ["BACKEND"],
        "execution.checkpointing.interval": "10 s",
        "execution.checkpointing.mode": "AT_LEAST_ONCE",
        "execution.checkpointing.dir": f"file://{FOLDER}/checkpoints",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "state.backend.rocksdb.localdir": f"{FOLDER}/rocksdb",
        "taskmanager.numberOfTaskSlots": "1",
        "parallelism.default": "1",
        "pipeline.object-reuse": "true",
        "pipeline.jars": ";".join(f"file://{jar}" for jar in os.environ["JARS"].split(":")),
        "python.execution-mode": os.environ["MODE"],
        "python.fn-execution.bundle.size": "100000",
        "python.state.cache-size": "20000",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
    }.items():
        configuration.set_string(name, value)
    return configuration


def main():
    """Build the job and run it to the end of the topic."""
    environment = StreamExecutionEnvironment.get_execution_environment(settings())
    for module in ("marks.py", "work.py"):
        environment.add_python_file(str(Path(__file__).with_name(module)))
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(BOOTSTRAP)
        .set_topics(os.environ["PEER_TOPIC"])
        .set_group_id(os.environ["PEER_RUN"])
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_bounded(KafkaOffsetsInitializer.latest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    sink = (
        KafkaSink.builder()
        .set_bootstrap_servers(BOOTSTRAP)
        .set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .set_record_serializer(
            KafkaRecordSerializationSchema.builder()
            .set_topic(os.environ["PEER_ALERTS"])
            .set_value_serialization_schema(SimpleStringSchema())
            .build()
        )
        .build()
    )
    events = environment.from_source(source, WatermarkStrategy.no_watermarks(), "events").flat_map(read)
    events.key_by(lambda event: event[0], Types.STRING()).process(Score(), Types.STRING()).sink_to(sink)
    environment.execute("peer")
    from marks import mark_done  # noqa: PLC0415 - opens the pipe

    mark_done()


main()
