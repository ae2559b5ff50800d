# SPDX-License-Identifier: MIT
"""What watching costs: no-op calls a second of one queue, unwatched, and watched from another process.

    python -m benchmarks.bench_watch [--rounds 30] [--seconds 1] [--workers 2] [--json FILE]

The watcher reads a whole Snapshot every second, or four times as often, as `localq top` does; it is there all the time
and sleeps while it is told to. Stretches take turns in one queue, in another order each round, and each ratio is that
of a watched stretch to the unwatched one of its round: what slows the machine down for a while slows both. `again` is
an unwatched stretch as well: what it differs from 1 is the noise of this run. What the watcher takes of the processors
is told beside it: on a busy machine that is the better figure. Goal: less than 1 %.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, Spread, rate
from benchmarks.workloads import nothing

WAYS = {"unwatched": 0.0, "again": 0.0, "every 1 s": 1.0, "every 0.25 s": 0.25}
CALLS = 5_000  # submitted before the first result is fetched


class Watcher:
    """This file, run as another program. It is told on its stdin how often to read."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bench_watch", "--watch", name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def watch(self, period: float) -> tuple[int, float]:
        """From now on, every `period` seconds; 0: not at all. How many readings there were before, and the processor
        seconds that they took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{period}\n")
        self._process.stdin.flush()
        readings, used = self._process.stdout.readline().split()
        return int(readings), float(used)

    def end(self) -> None:
        self._process.communicate()


def watch(name: str) -> None:
    """The watcher's half."""
    from localq.monitor.reader import open_reader

    period, readings, used = 0.0, 0, time.process_time()
    with open_reader(name) as reader:
        while True:
            if select.select([sys.stdin], [], [], period or None)[0]:
                told = sys.stdin.readline()
                if not told:
                    return
                period = float(told)
                print(readings, time.process_time() - used, flush=True)
                readings, used = 0, time.process_time()
            else:
                reader.read()
                readings += 1


def measure(rounds: int, seconds: float, workers: int) -> tuple[dict[str, list[float]], float]:
    """Calls a second, by way, one for each round; and the processor seconds of one reading."""
    from localq import LocalQueue

    found: dict[str, list[float]] = {way: [] for way in WAYS}
    costs: list[float] = []
    with LocalQueue(workers=workers, name="watched-by-bench") as queue:

        def submit_and_gather() -> None:
            for future in [queue.delay(nothing) for _ in range(CALLS)]:
                future.result()

        watcher = Watcher("watched-by-bench")
        try:
            rate(CALLS, submit_and_gather, seconds)
            watcher.watch(0.05)
            rate(CALLS, submit_and_gather, seconds)  # it has imported everything
            for number in range(rounds):
                ways = list(WAYS)
                random.Random(number).shuffle(ways)
                for way in ways:
                    watcher.watch(WAYS[way])
                    found[way].append(rate(CALLS, submit_and_gather, seconds))
                    readings, used = watcher.watch(0.0)
                    if WAYS[way] and seconds >= 2 * WAYS[way] and not readings:
                        raise RuntimeError(f"nothing was read {way}")
                    costs += [used / readings] if readings else []
        finally:
            watcher.end()
    return found, statistics.median(costs)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What watching a queue costs it.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each stretch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--watch", metavar="NAME", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.watch:
        watch(given.watch)
        return
    found, each = measure(given.rounds, given.seconds, given.workers)
    unwatched = found.pop("unwatched")
    print(f"{given.rounds} rounds; unwatched {Spread.of(unwatched).median:,.0f} calls/s")
    print("calls/s, watched / unwatched in the same round: median, quartiles")
    for way, values in found.items():
        spread = Spread.of(watched / alone for watched, alone in zip(values, unwatched, strict=True))
        print(f"  {way:<14} {spread.median:.4f}  {spread.q1:.4f} .. {spread.q3:.4f}")
    cpus = len(os.sched_getaffinity(0))
    print(f"processor time of one reading: {each * 1000:.2f} ms, of {cpus} processors:")
    for way, period in WAYS.items():
        if period:
            print(f"  {way:<14} {each / period / cpus:.4%}")
    if given.json:
        given.json.write_text(json.dumps({"unwatched": unwatched, **found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
