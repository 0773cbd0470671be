"""Every key of the copy and every bound of it; the scripts build the same names from the prefix.

<prefix>copy              hash    epoch, format, number of partitions, model version, day, whether it is live
<prefix><epoch>:          all others; a copy that begins anew has another epoch, so nothing of an old one is in it
  offsets                 hash    topic:partition -> the next offset; lives and dies with the data it tells of
  current                 hash    topic:partition -> when it was last read to its end, epoch milliseconds
  account:<id>            hash    of the score: seq, off (the record's offset), row (what the indexes hold), data;
                                  of the state: version (epoch:revision:offset), state (as the worker stored it)
                                  changed (day:version of the last model that took over)
  history:<id>            hash    day -> score in hundredths:band:version of a model that took over on that day
  alerts:<id>             zset    the account's last alerts by seq
  actions:<id>            zset    what became of the last actions of people, by seq
  marks:<id>              hash    seq of an alert -> seq of an action:what the alert is since; of the account's alerts:
                                  snooze -> seq of an action:until when
  digests                 hash    digest of the id of an account with actions -> the id, as an erasure is told by digest
  feed                    zset    "<seq>:<id>" of the last alerts of all accounts by time
  by:<sort>               zset    accounts by risk, mrr_at_risk, trend
  is:<kind>:<value>       set     accounts of a band, tier, owner, factor
  words                   zset    "<word>NUL<id>", searched by prefix
  portfolio               hash    band|tier|currency|(accounts, mrr, coverage) -> sum
  days                    hash    day -> the portfolio as it stood when that day ended
  stream                  stream  what changed, for those that follow live
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

FORMAT: Final = "5"
HISTORY_DAYS: Final = 90
ACCOUNT_ALERTS_MAX: Final = 50
ACCOUNT_ACTIONS_MAX: Final = 50
FEED_MAX: Final = 10_000
STREAM_MAX: Final = 20_000
ORPHAN_SECONDS: Final = 90 * 86_400  # how long alerts and state stay of an account that has no score
CURRENT_SECONDS: Final = 30  # a partition that was not read to its end for so long makes the copy stale
BANDS: Final = ("unknown", "healthy", "at_risk", "endangered")
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of the keys of one copy."""

    base: str  # the prefix of the settings
    epoch: str

    def of(self, name: str) -> str:
        """Name a key."""
        return f"{self.base}{self.epoch}:{name}"

    def account(self, account: str) -> str:
        """Name an account's view."""
        return self.of("account:" + account)

    def history(self, account: str) -> str:
        """Name an account's days."""
        return self.of("history:" + account)

    def alerts(self, account: str) -> str:
        """Name an account's alerts."""
        return self.of("alerts:" + account)

    def actions(self, account: str) -> str:
        """Name what people did about an account."""
        return self.of("actions:" + account)

    def marks(self, account: str) -> str:
        """Name what an account's alerts are since people acted on them."""
        return self.of("marks:" + account)

    def sorted_by(self, sort: str) -> str:
        """Name an index that orders all accounts."""
        return self.of("by:" + sort)

    def members(self, kind: str, value: str) -> str:
        """Name the accounts that have a value."""
        return self.of(f"is:{kind}:{value}")


@cache
def script(name: str) -> str:
    """Read a script of this package, with the bounds above it."""
    bounds = {
        "HISTORY_DAYS": HISTORY_DAYS,
        "ACCOUNT_ALERTS_MAX": ACCOUNT_ALERTS_MAX,
        "ACCOUNT_ACTIONS_MAX": ACCOUNT_ACTIONS_MAX,
        "FEED_MAX": FEED_MAX,
        "STREAM_MAX": STREAM_MAX,
        "ORPHAN_SECONDS": ORPHAN_SECONDS,
        "CURRENT_MS": CURRENT_SECONDS * 1000,
    }
    head = "".join(f"local {bound} = {value}\n" for bound, value in bounds.items())
    folder = resources.files("service.account_copy")
    shared = folder.joinpath("shared.lua").read_text(encoding="utf-8")
    return head + shared + folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")
