"""Publish one login event: `python publish_event.py ACCOUNT USER`; needs `pip install aiokafka`."""

import asyncio
import json
import os
import sys
import uuid
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

BROKER = os.environ.get("VITALS_BROKER", "127.0.0.1:29092")
TOPIC = os.environ.get("VITALS_TOPIC_PREFIX", "") + "product-usage"


async def publish(account: str, user: str) -> None:
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),  # a retry must send the same id
        "source": "https://app.example.com/auth",
        "type": "io.vitals.login.v1",
        "subject": account,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "data": {"user": user},
    }
    producer = AIOKafkaProducer(bootstrap_servers=BROKER, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        # The key is the account id; aiokafka's default partitioner is the one that Vitals expects.
        await producer.send_and_wait(TOPIC, json.dumps(event).encode(), key=account.encode())
    finally:
        await producer.stop()


if len(sys.argv) != 3:
    sys.exit("usage: python publish_event.py ACCOUNT USER")
asyncio.run(publish(*sys.argv[1:]))
