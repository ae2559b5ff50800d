# SPDX-License-Identifier: MIT
"""The round trip of one no-op call: asleep, with a gap before each call, and busy, back to back.

Its floors are two C processes that do nothing but wake each other: `futex`, asleep between the turns of the
conversation as a queue should be, and `spin`, the fastest there is and a burnt CPU on either side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from time import perf_counter, perf_counter_ns
from typing import Any

from benchmarks import command, limits, peers
from benchmarks.measure import started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import nothing

WARM_UP_CALLS = 50


def works(terms: Terms) -> Sequence[Work]:
    asleep_goals = {"futex": 2.0}
    return [
        Work("asleep, p50", "us", more_is_better=False, goals=asleep_goals),
        Work("asleep, p99", "us", more_is_better=False),
        Work("busy, p50", "us", more_is_better=False),
        Work("busy, p99", "us", more_is_better=False),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    seconds = str(terms.latency_seconds)
    if subject == "futex":
        gap_us = str(round(terms.gap_ms * 1000))
        return {
            **_in_us("asleep", limits.ask(terms.limits_program, "pingpong", seconds, gap_us)),
            **_in_us("busy", limits.ask(terms.limits_program, "pingpong", seconds, "0")),
        }
    if subject == "spin":
        return _in_us("busy", limits.ask(terms.limits_program, "spin", seconds))
    with started(subject, workers=1) as peer:
        _round_trips(peer.submit, peer.wait, seconds=0.0, gap_seconds=0.0)
        asleep = _round_trips(peer.submit, peer.wait, terms.latency_seconds, terms.gap_ms / 1000)
        busy = _round_trips(peer.submit, peer.wait, terms.latency_seconds, gap_seconds=0.0)
    return {**_percentiles("asleep", asleep), **_percentiles("busy", busy)}


def _round_trips(
    submit: Callable[..., Any], wait: Callable[[Any], Any], seconds: float, gap_seconds: float
) -> list[int]:
    """Nanoseconds of each call made within `seconds`, and of WARM_UP_CALLS at least."""
    trips_ns: list[int] = []
    until = perf_counter() + seconds
    while perf_counter() < until or len(trips_ns) < WARM_UP_CALLS:
        if gap_seconds:
            time.sleep(gap_seconds)
        asked_ns = perf_counter_ns()
        wait(submit(nothing))
        trips_ns.append(perf_counter_ns() - asked_ns)
    return trips_ns


def _percentiles(manner: str, trips_ns: list[int]) -> dict[str, float]:
    ordered = sorted(trips_ns)
    return {
        f"{manner}, p50": ordered[len(ordered) // 2] / 1000,
        f"{manner}, p99": ordered[len(ordered) * 99 // 100] / 1000,
    }


def _in_us(manner: str, answer: dict[str, float]) -> dict[str, float]:
    return {f"{manner}, {p}": answer[f"{p}_ns"] / 1000 for p in ("p50", "p99") if answer}


BENCH = Bench(
    name="latency",
    title="Round trip of one no-op call, 1 worker",
    works=works,
    turn=turn,
    takes_part=lambda name: peers.find(name).submits,
    floors=("futex", "spin"),
)

if __name__ == "__main__":
    command.run_alone(BENCH)
