# SPDX-License-Identifier: MIT
"""No-op calls are submitted one by one, then their results are fetched: what a queue costs a call when nothing waits.

With 1, 2, 4 and 8 workers, however many CPUs there are: more of them must not cost throughput. Ray, Dask and FastWorker
are asked for a tenth of the calls, and most peers have 1 and 2 workers only, as the run would take too long otherwise.

Floors: `call` is as many calls of the same function in this very process, one after another, without a queue; `1us` is
a microsecond a call.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import command, peers
from benchmarks.measure import rate, started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import nothing

FEW_WORKERS = (1, 2)
MANY_WORKERS = (1, 2, 4, 8)
WITH_MANY = ("localq", "ppe-fork", "pool")


def works(terms: Terms) -> Sequence[Work]:
    goals = {"ppe-fork": 200.0, "pool": 40.0}
    return [
        Work(_name(workers), "calls/s", more_is_better=True, goals=goals | ({"1us": 1.0} if workers == 1 else {}))
        for workers in MANY_WORKERS
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject == "call":
        return {_name(1): rate(terms.calls, lambda: _call(terms.calls), terms.seconds)}
    if subject == "1us":
        return {_name(1): 1e6}
    calls = terms.calls // 10 if peers.find(subject).is_heavy else terms.calls
    all_workers = MANY_WORKERS if subject in WITH_MANY else FEW_WORKERS
    return {_name(workers): _calls_per_second(subject, workers, calls, terms.seconds) for workers in all_workers}


def _call(calls: int) -> None:
    for _ in range(calls):
        nothing()


def _calls_per_second(subject: str, workers: int, calls: int, seconds: float) -> float:
    with started(subject, workers) as peer:

        def submit_and_gather(calls: int) -> None:
            submit, wait = peer.submit, peer.wait
            handles = [submit(nothing) for _ in range(calls)]
            for handle in handles:
                wait(handle)

        submit_and_gather(calls // 10)  # every worker is up and has imported the function
        return rate(calls, lambda: submit_and_gather(calls), seconds)


def _name(workers: int) -> str:
    return f"submit + gather, {workers} worker{'s' if workers > 1 else ''}"


BENCH = Bench(
    name="throughput",
    title="No-op calls submitted one by one, results gathered afterwards",
    works=works,
    turn=turn,
    takes_part=lambda name: peers.find(name).submits and name != "ppe-forkserver",
    floors=("call", "1us"),
    share=120.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
