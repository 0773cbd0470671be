"""No engine: a loop around the librdkafka client with a dictionary; nothing is durable but committed offsets.

Settings: `consume()` in batches is what the client's documentation recommends for throughput. `fetch.queue.backoff.ms`
is 1000 by default (librdkafka's CONFIGURATION.md): the loop would idle half of the time, so it is 10 here.
`LOOP=raw` does nothing with the records.
"""

import os
import time

from confluent_kafka import Consumer, Producer
from marks import ALERTS, BOOTSTRAP, RUN, TOPIC, Progress, dump, mark_done
from work import Account, alert, apply, as_dict, decode

IS_RAW = os.environ.get("LOOP") == "raw"
COMMIT_SECONDS = 5.0


def handle(messages, states, producer):
    """Do the work for one batch."""
    for message in messages:
        if message.error():
            raise RuntimeError(message.error())
        event = decode(message.value())
        if event is None:
            continue
        key = event.account_id
        account = states.get(key)
        if account is None:
            account = states[key] = Account()
        if apply(account, event, message.offset()):
            producer.produce(ALERTS, key=key, value=alert(key, account.score))


def main():
    """Read all events, then stop in good order."""
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": RUN,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 10,
        }
    )
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    consumer.subscribe([TOPIC])
    states, progress, is_done = {}, Progress(), False
    committed = time.monotonic()
    while not is_done:
        messages = consumer.consume(2000, 1.0)
        if not messages:
            continue
        if not IS_RAW:
            progress.begin()
            handle(messages, states, producer)
        producer.poll(0)
        is_done = progress.add(len(messages))
        if not IS_RAW and time.monotonic() - committed > COMMIT_SECONDS:
            producer.flush()
            consumer.commit(asynchronous=True)
            committed = time.monotonic()
    producer.flush()
    consumer.commit(asynchronous=False)
    mark_done()
    dump((key, as_dict(account)) for key, account in states.items())
    consumer.close()


main()
