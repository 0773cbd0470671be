"""Stock Faust, in the version that Vitals is built on: an agent, a table, one table write per event.

Settings: the table is in memory and all else at its default. Faust writes a changelog record at each
`table[key] = value`, and no setting changes that.
"""

import os

import faust
from marks import ALERTS, BOOTSTRAP, FOLDER, RUN, TOPIC, Progress, mark_done
from work import alert, apply_to_dict, check, new_dict

PARTITIONS = 4
app = faust.App(
    RUN,
    broker=f"kafka://{BOOTSTRAP}",
    store="memory://",
    datadir=f"{FOLDER}/data",
    topic_partitions=PARTITIONS,
    topic_disable_leader=True,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
)
events = app.topic(TOPIC, key_type=str, key_serializer="raw", value_serializer="json")
alerts = app.topic(ALERTS, key_type=str, value_serializer="raw")
accounts = app.Table("accounts", default=new_dict, partitions=PARTITIONS)
progress = Progress()


@app.agent(events)
async def score(stream):
    """Do the work for one event after the other."""
    async for message in stream.events():
        progress.begin()
        event = message.value
        if check(event):
            key = event["account_id"]
            account = accounts[key]
            is_alert = apply_to_dict(account, event, message.message.offset)
            accounts[key] = account
            if is_alert:
                await alerts.send(key=key, value=alert(key, account["score"]))
        if progress.add(1):
            os.kill(os.getpid(), 15)


if __name__ == "__main__":
    worker = faust.Worker(app, loglevel="warning")
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        if ended.code:
            raise
    mark_done()
