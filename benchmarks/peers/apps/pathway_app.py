"""Pathway without a licence key: its engine decodes the JSON against a schema, a Python reducer keeps the state.

What is durable is the log of the input (`snapshot_interval_ms` 10 s): snapshots of state need a licence. Settings:
`autocommit_duration_ms` 1500 is the default; PATHWAY_THREADS is the number of workers ("Worker Architecture").
Pathway folds all waiting events of an account at once, so the clock starts when it does: start-up is in its time.
"""

import os
import threading
import time

import pathway as pw
from marks import ALERTS, BOOTSTRAP, EVENTS, FOLDER, RUN, TOPIC, dump, mark, mark_done
from work import ALERT_SCORE, TYPES, apply_to_dict, new_dict

POLL_SECONDS = 0.02
SETTLE_SECONDS = 3.0  # after the last event, for alerts and the log: there is no graceful end of an endless stream
accounts = {}
counted = 0
