"""Where a record goes that cannot be scored here: to the dead letters, or to the partition that its key hashes to.

Key, value, headers and timestamp stay as they came; what went wrong is told in added headers, never with text of the
payload.
"""

from __future__ import annotations

from importlib.metadata import version

from faust.types import TP

from agents.runtime.batch import Record
from agents.runtime.producer import OutRecord
from schemas.outputs import DeadLetter, failed_attempts
from service.errors import RecordRejected

APP_VERSION = version("vitals")
KIND_HEADER = "vitals.kind"


def dead_letter(tp: TP, record: Record, topic: str, rejected: RecordRejected, now_ms: int) -> OutRecord:
    """Make the dead letter of a rejected record of an input partition."""
    told = DeadLetter.model_validate(
        {
            "reason": rejected.reason,
            "detail": rejected.detail,
            "topic": tp.topic,
            "partition": tp.partition,
            "offset": record.offset,
            "failed_at": now_ms,
            "app_version": APP_VERSION,
            "attempts": failed_attempts(record.headers) + 1,
        }
    )
    headers = (*record.headers, *told.to_headers())
    return OutRecord(topic, tp.partition, record.key, record.value, headers, record.timestamp)


def rekeyed(record: Record, topic: str, partition: int, kind: str) -> OutRecord:
    """Make the copy of a record for the partition that its key hashes to."""
    headers = (*record.headers, (KIND_HEADER, kind.encode()))
    return OutRecord(topic, partition, record.key, record.value, headers, record.timestamp)
