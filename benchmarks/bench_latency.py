# SPDX-License-Identifier: MIT
"""The round trip of one no-op call, from submission until its result is there: the median and the slowest hundredth.

Asleep: with a pause before each call, so that client and worker both sleep. Busy: back to back. Under load: asleep
again, while all workers but one run one long call that burns CPU. Asyncio: a coroutine awaits one call after another,
ours as it is, a future of `concurrent.futures` by `asyncio.wrap_future`. Threads: four of the client call back to back,
at once. Processes: four attached clients do so; no peer has such a thing, so they stand beside `1-client`, ours with
one of them. There is one worker, but for the load.

Floors: two C processes that do nothing but wake each other, `futex`, asleep between the turns of the conversation as a
queue should be, and `spin`, the fastest there is and a burnt CPU on either side; `5us` is five microseconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import operator
import os
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from benchmarks import command, limits, peers
from benchmarks.measure import started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import nothing, say_and_burn

WARM_UP_CALLS = 20
CLIENTS = 4
ANSWER_SECONDS = 30.0  # what takes that long hangs

ASLEEP, BUSY, LOADED = "asleep", "busy", "under load"
ASYNCIO, THREADS, PROCESSES = "busy, asyncio", f"busy, {CLIENTS} client threads", f"busy, {CLIENTS} client processes"
ONE_CLIENT = "1-client"
#: May be used by one thread only.
FOR_ONE_THREAD = ("fifo", "mpire")


def works(terms: Terms) -> Sequence[Work]:
    goals = {f"{ASLEEP}, p50": {"futex": 1.5}, f"{BUSY}, p50": {"5us": 1.0}}
    names = [f"{manner}, {p}" for manner in (ASLEEP, BUSY, LOADED, ASYNCIO, THREADS, PROCESSES) for p in ("p50", "p99")]
    return [Work(name, "us", more_is_better=False, goals=goals.get(name, {})) for name in names]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    seconds = terms.latency_seconds
    if subject == "futex":
        gap_us = str(round(terms.gap_ms * 1000))
        return {
            **_in_us(ASLEEP, limits.ask(terms.limits_program, "pingpong", str(seconds), gap_us)),
            **_in_us(BUSY, limits.ask(terms.limits_program, "pingpong", str(seconds), "0")),
        }
    if subject == "spin":
        return _in_us(BUSY, limits.ask(terms.limits_program, "spin", str(seconds)))
    if subject == "5us":
        return {f"{BUSY}, p50": 5.0}
    if subject == ONE_CLIENT:
        return _percentiles(PROCESSES, _attached_trips(1, seconds))
    found: dict[str, float] = {}
    with started(subject, workers=1) as peer:
        submit, wait, awaitable = peer.submit, peer.wait, getattr(peer, "awaitable", None)
        _round_trips(submit, wait, seconds=0.0)
        found |= _percentiles(ASLEEP, _round_trips(submit, wait, seconds, terms.gap_ms / 1000))
        found |= _percentiles(BUSY, _round_trips(submit, wait, seconds))
        if awaitable is not None:
            found |= _percentiles(ASYNCIO, asyncio.run(_awaited_trips(submit, awaitable, seconds)))
        if subject not in FOR_ONE_THREAD:
            found |= _percentiles(THREADS, _threaded_trips(submit, wait, seconds))
    found |= _percentiles(LOADED, _loaded_trips(subject, max(2, terms.workers), seconds, terms.gap_ms / 1000))
    if subject == "localq":
        found |= _percentiles(PROCESSES, _attached_trips(CLIENTS, seconds))
    return found


def _round_trips(
    submit: Callable[..., Any],
    wait: Callable[[Any], Any],
    seconds: float,
    gap_seconds: float = 0.0,
    least: int = WARM_UP_CALLS,
) -> list[int]:
    """Nanoseconds of each call made within `seconds`, and of so many at least."""
    trips_ns: list[int] = []
    until = perf_counter() + seconds
    while perf_counter() < until or len(trips_ns) < least:
        if gap_seconds:
            time.sleep(gap_seconds)
        asked_ns = perf_counter_ns()
        wait(submit(nothing))
        trips_ns.append(perf_counter_ns() - asked_ns)
    return trips_ns


async def _awaited_trips(
    submit: Callable[..., Any], awaitable: Callable[[Any], Awaitable[Any]], seconds: float
) -> list[int]:
    trips_ns: list[int] = []
    until = perf_counter() + seconds
    while perf_counter() < until or len(trips_ns) < WARM_UP_CALLS:
        asked_ns = perf_counter_ns()
        await awaitable(submit(nothing))
        trips_ns.append(perf_counter_ns() - asked_ns)
    return trips_ns[WARM_UP_CALLS // 2 :]  # the first have the loop watch what it did not before


def _threaded_trips(submit: Callable[..., Any], wait: Callable[[Any], Any], seconds: float) -> list[int]:
    together = threading.Barrier(CLIENTS)
    found: list[list[int]] = []

    def call() -> None:
        together.wait()
        found.append(_round_trips(submit, wait, seconds))

    threads = [threading.Thread(target=call) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) != CLIENTS:
        raise RuntimeError(f"{CLIENTS - len(found)} of {CLIENTS} threads failed")
    return [*chain(*found)]


def _loaded_trips(subject: str, workers: int, seconds: float, gap_seconds: float) -> list[int]:
    """Of calls made while all workers but one burn CPU; a queue that puts calls behind such a one has few trips."""
    with tempfile.TemporaryDirectory(prefix="localq-bench-") as folder, started(subject, workers) as peer:
        for _ in range(WARM_UP_CALLS):
            peer.wait(peer.submit(nothing))
        begun = [Path(folder, str(number)) for number in range(workers - 1)]
        load = [peer.submit(say_and_burn, str(path), seconds) for path in begun]
        until = perf_counter() + ANSWER_SECONDS
        while not all(path.exists() for path in begun):
            if perf_counter() > until:
                raise TimeoutError(f"not all of {len(begun)} long calls have begun within {ANSWER_SECONDS:g} s")
            time.sleep(0.001)
        trips_ns = _round_trips(peer.submit, peer.wait, seconds, gap_seconds, least=1)
        for handle in load:
            peer.wait(handle)
    return trips_ns


def _attached_trips(clients: int, seconds: float) -> list[int]:
    """Of calls by so many processes that are attached to one queue, at once."""
    from localq import LocalQueue

    context = multiprocessing.get_context("spawn")
    name, together, answers = f"bench-latency-{os.getpid()}", context.Barrier(clients), context.Queue()
    with LocalQueue(name=name, workers=1):
        processes = [context.Process(target=_attached, args=(name, seconds, together, answers)) for _ in range(clients)]
        for process in processes:
            process.start()
        found = [answers.get(timeout=ANSWER_SECONDS + seconds) for _ in processes]
        for process in processes:
            process.join()
    return [*chain(*found)]


def _attached(name: str, seconds: float, together: Barrier, answers: multiprocessing.Queue[list[int]]) -> None:
    from localq import LocalQueue

    with LocalQueue.attach(name) as queue:
        wait = operator.methodcaller("result")
        _round_trips(queue.delay, wait, seconds=0.0)
        together.wait(ANSWER_SECONDS)
        answers.put(_round_trips(queue.delay, wait, seconds))


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
    title="Round trip of one no-op call",
    works=works,
    turn=turn,
    takes_part=lambda name: peers.find(name).submits and name != "ppe-forkserver",
    floors=("futex", "spin", "5us", ONE_CLIENT),
    share=140.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
