"""What happens to the links between workers and brokers: cut, slow, narrow, chopped; each worker has its own."""

from __future__ import annotations

from tests.chaos.cluster import CLEAR
from tests.chaos.proxy import Weather
from tests.chaos.run import SESSION_TIMEOUT_SECONDS, Run

CUT_SECONDS = (5, 30, 120)
CUTS = {"silently": Weather(cut=True), "with broken connections": Weather(reset=True)}
WEATHERS = {
    "500 ms late, more or less": Weather(delay_seconds=0.5, jitter_seconds=0.2),
    "64 kB a second": Weather(bytes_per_second=64_000),
    "in pieces of 64 bytes": Weather(slice_bytes=64),
}
WEATHER_SECONDS = 10


def cut(run: Run, times: int) -> None:
    """F8: a worker is cut from all brokers for 5, 30 or 120 s, silently or with broken connections."""
    run.fleet.wait_ready()
    first = run.rng.randrange(2)
    for number in range(times):
        seconds = CUT_SECONDS[number % 3]
        how, weather = list(CUTS.items())[(first + number) % 2]
        slot = run.rng.choice(run.fleet.running())
        run.cluster.set_weather(weather, worker=slot.number)
        told = f"w{slot.number} cut from the brokers for {seconds} s {how}"
        if seconds > SESSION_TIMEOUT_SECONDS:
            run.fault_ended(told)  # for the others
        else:
            run.history.note(told)
        run.fleet.pass_time(seconds)
        run.cluster.set_weather(CLEAR)
        run.fault_ended(f"w{slot.number} has its links again")
        run.fleet.pass_time(5 * run.plan.pace)


def bad_weather(run: Run, times: int) -> None:
    """F9: links are slow, narrow, and deliver in small pieces; nobody loses its partitions by that."""
    run.fleet.wait_ready()
    run.fleet.pass_time(SESSION_TIMEOUT_SECONDS)  # those who came last have their partitions now
    before = run.fleet.rebalances(), run.fleet.crashes
    for number in range(times):
        told, weather = list(WEATHERS.items())[number % 3]
        run.history.note(f"links {told}")
        run.cluster.set_weather(weather)
        run.fleet.pass_time(WEATHER_SECONDS * run.plan.pace)
    after = run.fleet.rebalances(), run.fleet.crashes
    run.cluster.set_weather(CLEAR)
    run.fault_ended("links as before")
    assert after == before, f"rebalances and crashes by nothing but weather: {before}, {after}\n{run.fleet.tails()}"


def swizzle(run: Run, times: int) -> None:
    """F10: the links of every worker to every broker are cut one by one and restored in another order."""
    run.fleet.wait_ready()
    links = [(slot.number, broker) for slot in run.fleet.running() for broker in range(run.cluster.count)]
    for _ in range(times):
        for what, weather in (("cut", CUTS["silently"]), ("restored", CLEAR)):
            run.rng.shuffle(links)
            for worker, broker in links:
                run.history.note(f"link of w{worker} to b{broker + 1} {what}")
                run.cluster.set_weather(weather, worker=worker, broker=broker)
                run.fleet.pass_time(run.rng.uniform(0.2, 1.5))
        run.fault_ended("every link restored")
