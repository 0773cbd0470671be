"""Quix Streams: state in RocksDB with a changelog topic, at least once, checkpoints every 5 s.

Settings: `commit_interval` of 5 s is the default; a checkpoint writes one changelog record for each changed account.
All is done in one stateful `apply`, as each further step of a pipeline costs a call for every event.
"""

from marks import ALERTS, BOOTSTRAP, FOLDER, RUN, TOPIC, Progress, mark_done
from quixstreams import Application, message_context
from work import apply_to_dict, check, new_dict

app = Application(
    broker_address=BOOTSTRAP,
    consumer_group=RUN,
    auto_offset_reset="earliest",
    state_dir=f"{FOLDER}/state",
    loglevel="WARNING",
)
progress = Progress()


def score(event, state):
    """Do the work for one event; gives an alert or None."""
    progress.begin()
    found = None
    if check(event):
        account = state.get("account")
        if account is None:
            account = new_dict()
        is_alert = apply_to_dict(account, event, message_context().offset)
        state.set("account", account)
        if is_alert:
            found = {"account_id": event["account_id"], "score": account["score"]}
    if progress.add(1):
        app.stop()
    return found


events = app.dataframe(app.topic(TOPIC, key_deserializer="str", value_deserializer="json"))
alerts = events.apply(score, stateful=True).filter(lambda found: found is not None)
alerts.to_topic(app.topic(ALERTS, value_serializer="json"))
app.run()
mark_done()
