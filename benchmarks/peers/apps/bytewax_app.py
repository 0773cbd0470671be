"""Bytewax: its Kafka operators, `stateful_map`, and a recovery store (SQLite on the local disk) every 10 s.

Settings: `batch_size` 1000 and epochs of 10 s are the defaults. One worker, as one processor of two is for the broker.
"""

import pathlib
from datetime import timedelta

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from marks import ALERTS, BOOTSTRAP, FOLDER, TOPIC, Progress, dump, mark_done
from work import Account, alert, apply, as_dict, decode

progress = Progress()
accounts = {}


def read(message):
    """Decode and check; gives account and event."""
    progress.begin()
    event = decode(message.value)
    return None if event is None else (event.account_id, (message.offset, event))


def score(account, offset_and_event):
    """Do the work for one event; gives the state and the score of an alert or None."""
    offset, event = offset_and_event
    if account is None:
        account = accounts[event.account_id] = Account()  # remembered for the comparison: it stays the same object
    is_alert = apply(account, event, offset)
    progress.add(1)
    return account, account.score if is_alert else None


def message_of(key_and_score):
    """Make the alert's message."""
    key, found = key_and_score
    return None if found is None else KafkaSinkMessage(key.encode(), alert(key, found))


flow = Dataflow("peer")
source = kop.input("events", flow, brokers=[BOOTSTRAP], topics=[TOPIC], tail=False)
keyed = op.filter_map("decode", source.oks, read)
scores = op.stateful_map("account", keyed, score)
kop.output("alerts", op.filter_map("alert", scores, message_of), brokers=[BOOTSTRAP], topic=ALERTS)
store = pathlib.Path(FOLDER) / "recovery"
store.mkdir()
init_db_dir(store, 1)
cli_main(flow, workers_per_process=1, epoch_interval=timedelta(seconds=10), recovery_config=RecoveryConfig(str(store)))
mark_done()
dump((key, as_dict(account)) for key, account in accounts.items())
