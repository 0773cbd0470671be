"""The same work on Vitals' own runtime: an application as small as those of the peers, with every promise it makes.

Run as `python -m benchmarks.peers.ours COMMIT_SECONDS`. State is coalesced into a changelog at each commit, and offsets
are committed after it; an alert leaves at once, when the state that raised it is durable. Nothing here is special to
the benchmark: what is left out is what the work does not need (dead letters, time, views).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import msgspec

from agents.runtime.app import RuntimeApp, RuntimeOptions
from agents.runtime.batch import RecordBatch
from agents.runtime.commit import all_done
from agents.runtime.producer import OutRecord
from agents.runtime.runner import run_app
from agents.runtime.table import HEADER, MARKER_KEYS, Partition
from benchmarks.peers.apps import marks
from benchmarks.peers.apps.work import Account, alert, apply, as_dict, decode

BATCH_RECORDS = 2_000
CHANGELOG = f"{marks.RUN}-changelog"

_encoder = msgspec.json.Encoder()


class StoredAccount(Account):
    """An account with what the runtime needs to know of it: its revision, and the alerts that are still to be sent."""

    __slots__ = ("revision", "unsent")

    def __init__(self) -> None:
        super().__init__()
        self.revision = 0
        self.unsent: list[float] = []


class Hooks:
    """What the runtime asks for: how states are stored, and which alerts a stored state is cause for."""

    def __init__(self, alerts_topic: str) -> None:
        self.views_topic = alerts_topic  # there are no views; the alerts are the only output
        self.urgent: dict[int, set[bytes]] = {}
        self.partitions: dict[int, Partition] = {}
        self.has_urgent = asyncio.Event()

    def encode(self, value: StoredAccount) -> bytes:
        """Store all fields and the alerts that may not be out yet."""
        fields = (value.offset, value.events, value.total, value.last, value.score, value.features)
        return _encoder.encode((value.revision, *fields, value.unsent))

    def decode(self, key: bytes, payload: bytes) -> StoredAccount:  # noqa: ARG002 - the runtime's signature
        """Read a stored state."""
        account = StoredAccount()
        (
            account.revision,
            account.offset,
            account.events,
            account.total,
            account.last,
            account.score,
            account.features,
            account.unsent,
        ) = msgspec.json.decode(payload)
        return account

    def progress(self, partition: Partition) -> int:  # noqa: ARG002 - the runtime's signature
        """Nothing moves with time."""
        return 0

    def ends(self, key: bytes, payload: bytes) -> bytes | None:  # noqa: ARG002 - the runtime's signature
        """No account is erased here."""
        return None

    def outputs(self, partition: Partition, key: bytes, value: StoredAccount) -> list[OutRecord]:
        """Make the alerts that are not acknowledged."""
        return [
            OutRecord(self.views_topic, partition.number, key, alert(key.decode(), score)) for score in value.unsent
        ]

    def view(self, partition: Partition, key: bytes, value: Any) -> OutRecord:
        """Never asked for: no key is marked outdated."""
        raise NotImplementedError

    def published(
        self, partition: Partition, key: bytes, value: StoredAccount | None, outputs: list[OutRecord]
    ) -> bool:
        """Take the acknowledged alerts off the state, which is then stored at once, as the product does."""
        if value is None:
            return False
        del value.unsent[: len(outputs)]
        value.revision += 1
        partition.dirty.add(key)
        return True

    def recovered(self, partition: Partition, unpublished: list[bytes]) -> None:
        """Publish again what may be missing."""
        self.partitions[partition.number] = partition
        partition.dirty.update(unpublished)

    def revoked(self, partition: Partition) -> None:
        """Let go of a partition."""
        self.partitions.pop(partition.number, None)
        self.urgent.pop(partition.number, None)


def build(commit_seconds: float) -> RuntimeApp:
    """Build the application."""
    hooks, progress = Hooks(marks.ALERTS), marks.Progress()
    app = RuntimeApp(
        RuntimeOptions(
            app_id=marks.RUN,
            bootstrap=marks.BOOTSTRAP,
            changelog_topic=CHANGELOG,
            commit_interval_seconds=commit_seconds,
            batch_max_records=BATCH_RECORDS,
            session_timeout_seconds=10.0,
        ),
        hooks,
    )

    async def handle(batch: RecordBatch) -> None:
        if app.state_table.partition(batch.tp.partition) is not batch.state:
            return  # revoked while the batch was waiting: its next owner reads it again
        progress.begin()
        work_through(batch, hooks)
        batch.ack()
        if progress.add(len(batch)):
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)

    async def bring_out_alerts() -> None:
        while True:
            await hooks.has_urgent.wait()
            hooks.has_urgent.clear()
            urgent, hooks.urgent = hooks.urgent, {}
            partitions = hooks.partitions
            await all_done(
                app.committer.flush_urgent(partitions[number], keys)
                for number, keys in urgent.items()
                if number in partitions
            )

    app.add_batch_agent(marks.TOPIC, "work", handle)
    app.task(bring_out_alerts)
    return app


def work_through(batch: RecordBatch, hooks: Hooks) -> None:
    """Do the work for one batch; nothing awaits in between."""
    partition = batch.state
    accounts, dirty = partition.data, partition.dirty
    for record in batch.records:
        event = decode(record.value)
        if event is None:
            continue
        key = record.key
        account = accounts.get(key)
        if type(account) is not StoredAccount:
            account = partition.get(key)
            if account is None:
                account = StoredAccount()
                partition.put(key, account)
        if apply(account, event, record.offset):
            account.unsent.append(account.score)
            hooks.urgent.setdefault(partition.number, set()).add(key)
            hooks.has_urgent.set()
        account.revision += 1
        dirty.add(key)


def stored_state(key: bytes, value: bytes) -> tuple[str, dict[str, Any]] | None:
    """Read a record of the changelog, for the comparison."""
    if key in MARKER_KEYS:
        return None
    return key.decode(), as_dict(Hooks("").decode(key, value[HEADER.size :]))


def main() -> int:
    """Run until all events are done, then stop in good order."""
    code = asyncio.run(run_app(lambda: build(float(sys.argv[1]))))
    if code == 0:
        marks.mark_done()
    return code


if __name__ == "__main__":
    sys.exit(main())
