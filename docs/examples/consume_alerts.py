"""Print every alert once: `python consume_alerts.py`; needs `pip install aiokafka`."""

import asyncio
import contextlib
import json
import os
import signal

from aiokafka import AIOKafkaConsumer

BROKER = os.environ.get("VITALS_BROKER", "127.0.0.1:29092")
TOPIC = os.environ.get("VITALS_TOPIC_PREFIX", "") + "health-alerts"


async def consume() -> None:
    last_seq: dict[str, int] = {}  # per account; keep it where your effect is kept, so that both survive together
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=BROKER,
        group_id="crm-sync",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        async for record in consumer:
            alert = json.loads(record.value)["data"]
            account, seq = alert["account"], alert["seq"]
            # Alerts of an account come in order and are numbered from 1: one that is not newer came before.
            if seq > last_seq.get(account, 0):
                print(f"{account} {alert['kind']}, score {alert['score']:.0f}: {alert['sentence']}", flush=True)
                last_seq[account] = seq
            await consumer.commit()
    finally:
        await consumer.stop()


signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` that has enough ends this quietly
with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
    asyncio.run(consume())
