"""FastStream: a batch subscriber and a dictionary; nothing is durable but committed offsets.

Settings: `batch=True` with a large `max_records`, so that the handler is called once for many events; a decoder that
hands the bytes through, as its own JSON decoding would only add to that of the work. CLIENT is `confluent` or
`aiokafka`. Alerts of a batch are published together at its end.
"""

import asyncio
import os

from faststream import AckPolicy, FastStream
from marks import ALERTS, BOOTSTRAP, RUN, TOPIC, Progress, dump, mark_done
from work import Account, alert, apply, as_dict, decode

IS_CONFLUENT = os.environ["CLIENT"] == "confluent"
if IS_CONFLUENT:
    from faststream.confluent import KafkaBroker, KafkaMessage
else:
    from faststream.kafka import KafkaBroker, KafkaMessage

broker = KafkaBroker(BOOTSTRAP, logger=None)
app = FastStream(broker, logger=None)
accounts, progress = {}, Progress()


async def raw(message):
    """Hand the bytes through."""
    return [record.value() if IS_CONFLUENT else record.value for record in message.raw_message]


@broker.subscriber(
    TOPIC,
    batch=True,
    max_records=2000,
    group_id=RUN,
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.ACK,
    decoder=raw,
)
async def score(values: list[bytes], message: KafkaMessage):
    """Do the work for one batch."""
    progress.begin()
    alerts = []
    for value, record in zip(values, message.raw_message, strict=True):
        event = decode(value)
        if event is None:
            continue
        key = event.account_id
        account = accounts.get(key)
        if account is None:
            account = accounts[key] = Account()
        if apply(account, event, record.offset() if IS_CONFLUENT else record.offset):
            alerts.append((key.encode(), alert(key, account.score)))
    await asyncio.gather(*(broker.publish(value, ALERTS, key=key) for key, value in alerts))
    if progress.add(len(values)):
        app.exit()


asyncio.run(app.run())
mark_done()
dump((key, as_dict(account)) for key, account in accounts.items())
