# SPDX-License-Identifier: MIT
"""Submit no-op calls one by one, then gather their results: what a queue costs per call when nothing waits."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import command, peers
from benchmarks.measure import rate, started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import nothing

WORKERS = (1, 2)


def works(terms: Terms) -> Sequence[Work]:
    goals = {"ppe-fork": 100.0, "pool": 40.0}
    return [Work(_name(workers), "calls/s", more_is_better=True, goals=goals) for workers in WORKERS]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    return {_name(workers): _calls_per_second(subject, workers, terms) for workers in WORKERS}


def _calls_per_second(subject: str, workers: int, terms: Terms) -> float:
    with started(subject, workers) as peer:

        def submit_and_gather(calls: int) -> None:
            submit, wait = peer.submit, peer.wait
            handles = [submit(nothing) for _ in range(calls)]
            for handle in handles:
                wait(handle)

        submit_and_gather(terms.calls // 10)  # every worker is up and has imported the function
        return rate(terms.calls, lambda: submit_and_gather(terms.calls), terms.seconds)


def _name(workers: int) -> str:
    return f"submit + gather, {workers} worker{'s' if workers > 1 else ''}"


BENCH = Bench(
    name="throughput",
    title="No-op calls submitted one by one, results gathered afterwards",
    works=works,
    turn=turn,
    takes_part=lambda name: peers.find(name).submits,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
