"""A raw aiokafka consumer that does nothing with the records: the limit of whatever stands on this client.

`max_partition_fetch_bytes` is what Vitals' runtime asks for: with the default of 1 MiB it waits more often.
"""

import asyncio

from aiokafka import AIOKafkaConsumer
from marks import BOOTSTRAP, RUN, TOPIC, Progress, mark_done


async def main():
    """Read all events."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=BOOTSTRAP,
        group_id=RUN,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    await consumer.start()
    progress, is_done = Progress(), False
    while not is_done:
        fetched = await consumer.getmany(timeout_ms=500)
        if fetched:  # the first was fetched before the clock starts and does not count
            is_done = progress.add(sum(map(len, fetched.values())))
    mark_done()
    await consumer.stop()


asyncio.run(main())
