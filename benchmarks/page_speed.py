"""The page in a real headless Chromium: its first paint, and from an event to the row that it moves.

Without a browser on this machine both are left out, which is said.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import Final

from aiokafka import AIOKafkaProducer

from benchmarks.command import say
from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.serving_process import serving
from benchmarks.worker_process import running_worker
from benchmarks.workload import Workload, account_name
from service.adapters.embedded_kafka import free_ports
from service.api.page.rendering import anchor
from tests.e2e.browser import Browser, open_browser, why_no_browser

GOAL_PAINT_MS: Final = 1_500.0
GOAL_MOVED_MS: Final = 1_000.0
LOADS: Final = 7
ACCOUNTS: Final = 40  # all of them are on one page
PAUSE_SECONDS: Final = (0.1, 1.1)  # so that events come at any moment between two refreshes
LIVE: Final = "return document.getElementById('connection')?.dataset.state === 'live'"
ROWS: Final = "return document.querySelectorAll('#rows > tr').length === arguments[0]"
PAINTED: Final = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
# Notes the instant of the frame in which a row has another score and another place than now.
WATCH: Final = """
const [id] = arguments;
const stand = () => {
  const row = document.getElementById(id);
  return row && [row.dataset.seq, [...row.parentNode.children].indexOf(row)];
};
const [seq, place] = stand();
window.moved = null;
const watch = new MutationObserver(() => {
  const now = stand();
  if (!now || now[0] === seq || now[1] === place) return;
  watch.disconnect();
  requestAnimationFrame(() => { window.moved = performance.timeOrigin + performance.now(); });
});
watch.observe(document.body, {childList: true, subtree: true});
"""
MOVED: Final = "return window.moved"


async def measure_page(url: str, key: str, redis_url: str, deployment: Deployment, rounds: int) -> list[Figure]:
    """Measure the portfolio at `url`, then rows of a small deployment with a worker of its own."""
    missing = why_no_browser()
    if missing:
        say(f"first paint, and event to moved row, are left out: {missing}")
        return []
    with open_browser(deployment.log.with_suffix(".profile")) as browser:
        browser.look()
        say("the first paint of the portfolio ...")
        figures = first_paints(browser, url, key)
        say("from an event to the row that it moves ...")
        return [*figures, *await moved_rows(browser, redis_url, deployment, rounds)]


def first_paints(browser: Browser, url: str, key: str) -> list[Figure]:
    """Open the portfolio again and again with nothing cached."""
    browser.tell("Network.enable")
    browser.tell("Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {key}"})
    taken_ms = []
    for _ in range(LOADS):
        browser.tell("Network.clearBrowserCache")
        browser.driver.get(url + "/")
        taken_ms.append(float(browser.wait(PAINTED)))
        browser.wait("return document.querySelector('#rows > tr') !== null")
    browser.driver.get("about:blank")
    browser.tell("Network.setExtraHTTPHeaders", headers={})
    label = "first paint of the portfolio"
    return [
        Figure("page_first_paint_p50_ms", f"{label}, p50", "ms", statistics.median(taken_ms)),
        Figure("page_first_paint_max_ms", f"{label}, worst of {LOADS}", "ms", max(taken_ms), goal=GOAL_PAINT_MS),
    ]


async def moved_rows(browser: Browser, redis_url: str, deployment: Deployment, rounds: int) -> list[Figure]:
    """Let one account after the other fail to pay, and wait until the page shows its row at another place."""
    workload, variables = Workload(8), {"VITALS_REDIS": redis_url, "VITALS_REDIS_PREFIX": "page:"}
    await deployment.publish(workload.history(ACCOUNTS, time.time_ns() // 1_000_000))
    (port,) = free_ports(1)
    producer = AIOKafkaProducer(bootstrap_servers=deployment.bootstrap, acks="all", enable_idempotence=True)
    with running_worker(deployment.settings, deployment.log) as worker, serving(deployment, port, **variables):
        await worker.catch_up(deployment.published)
        browser.driver.get(f"http://127.0.0.1:{port}/?show=all&sort=risk")
        browser.wait(LIVE)
        browser.wait(ROWS, ACCOUNTS)
        await producer.start()
        try:
            taken = [await _move(browser, deployment, producer, workload, number) for number in range(rounds)]
        finally:
            await producer.stop()
        browser.driver.get("about:blank")
        await deployment.check_nothing_set_aside()
    label = "event to its row moved on the page"
    return [
        Figure("page_moved_p50_ms", f"{label}, p50", "ms", statistics.median(taken) * 1e3),
        Figure(
            "page_moved_p95_ms",
            f"{label}, p95",
            "ms",
            statistics.quantiles(taken, n=20, method="inclusive")[18] * 1e3,
            goal=GOAL_MOVED_MS,
        ),
        Figure("page_moved_max_ms", f"{label}, worst of {rounds}", "ms", max(taken) * 1e3),
    ]


async def _move(
    browser: Browser, deployment: Deployment, producer: AIOKafkaProducer, workload: Workload, number: int
) -> float:
    await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
    account = account_name(number)
    browser.run(WATCH, anchor(account))
    item = workload.event("payment_failed", account, time.time_ns() // 1_000_000)
    handed_over = time.time()
    await producer.send_and_wait(deployment.names.input(item.kind), item.value, key=account.encode())
    return float(browser.wait(MOVED)) / 1e3 - handed_over
