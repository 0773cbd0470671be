"""Where a record goes that cannot be scored here: to the dead letters, or to the partition that its key hashes to.

Key, value, headers and timestamp stay as they came; what went wrong is told in added headers, never with text of the
payload.
"""

from __future__ import annotations

from importlib.metadata import version

from agents.runtime.batch import Record
from agents.runtime.producer import OutRecord
from service.errors import RecordRejected

APP_VERSION = version("vitals").encode()
KIND_HEADER = "vitals.kind"


def dead_letter(record: Record, topic: str, rejected: RecordRejected, now_ms: int) -> OutRecord:
    """Make the dead letter of a rejected record."""
    added = (
        ("dlq.reason", rejected.reason.encode()),
        ("dlq.detail", rejected.detail.encode()),
        ("dlq.topic", record.topic.encode()),
        ("dlq.partition", str(record.partition).encode()),
        ("dlq.offset", str(record.offset).encode()),
        ("dlq.failed_at_ms", str(now_ms).encode()),
        ("dlq.app_version", APP_VERSION),
    )
    return OutRecord(topic, record.partition, record.key, record.value, (*record.headers, *added), record.timestamp)


def rekeyed(record: Record, topic: str, partition: int, kind: str) -> OutRecord:
    """Make the copy of a record for the partition that its key hashes to."""
    return OutRecord(
        topic,
        partition,
        record.key,
        record.value,
        (*record.headers, (KIND_HEADER, kind.encode())),
        record.timestamp,
    )
