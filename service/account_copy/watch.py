"""The copy as Prometheus sees it: up to when it is complete, and the portfolio; looked at every few seconds.

Whoever has a reader can tell it. Redis that does not answer makes the copy as old as can be, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Final

from service.account_copy.layout import BANDS
from service.account_copy.reader import CopyReader, NoCopy
from service.adapters.redis_client import REDIS_FAILURES
from service.metrics import catalogue
from service.metrics.exposition import Sample

LOOK_SECONDS: Final = 5.0


class CopyWatch:
    """Looks at the copy again and again."""

    def __init__(self, reader: CopyReader) -> None:
        self._reader = reader
        self._current_ms = 0
        self._accounts: Counter[str] = Counter()
        self._mrr: Counter[tuple[str, str]] = Counter()

    async def watch_forever(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self._look()
            except (NoCopy, *REDIS_FAILURES):
                self._current_ms = 0
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        counts = await self._reader.counts()
        self._current_ms = (await self._reader.state()).as_of_ms or 0
        accounts: Counter[str] = Counter()
        mrr: Counter[tuple[str, str]] = Counter()
        for field, value in counts.items():
            band, _, currency, what = field.split("|")
            if what == "accounts":
                accounts[band] += value
            elif what == "mrr" and currency:
                mrr[band, currency] += value
        self._accounts, self._mrr = accounts, mrr

    def unready(self) -> Iterator[str]:
        """Tell what keeps the copy from being read."""
        if not self._current_ms:
            yield "the copy is not whole yet, or Redis does not answer"

    def samples(self) -> Iterator[Sample]:
        """Give what the last look found."""
        yield Sample(catalogue.COPY_CURRENT, self._current_ms / 1000)
        for band in BANDS:
            yield Sample(catalogue.ACCOUNTS, self._accounts[band], {"band": band})
        for (band, currency), value in self._mrr.items():
            yield Sample(catalogue.MRR, value, {"band": band, "currency": currency})
