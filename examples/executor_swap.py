# SPDX-License-Identifier: MIT
"""Swap an executor: the same program on the standard library's pool and on localq, by one name.

A Monte Carlo estimate of pi in many small tasks, submitted one by one and read with `as_completed`. Then what only the
second one does: a task that crashes its worker costs that task alone, and a lambda is a function like any other.
"""

import argparse
import os
import random
import time
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from localq import LocalExecutor


def hits(points: int, seed: int) -> int:
    """This runs in the workers: how many random points of a square lie in its circle."""
    draw = random.Random(seed).random
    return sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(points))


def estimate(executor: Executor, tasks: int, points: int) -> float:
    """Knows nothing of localq: any executor will do."""
    futures = [executor.submit(hits, points, seed) for seed in range(tasks)]
    return 4 * sum(future.result() for future in as_completed(futures)) / (tasks * points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--points", type=int, default=100)
    args = parser.parse_args()

    for kind in (ProcessPoolExecutor, LocalExecutor):
        start = time.perf_counter()
        with kind() as executor:
            pi = estimate(executor, args.tasks, args.points)
        print(f"{kind.__name__}: pi is about {pi:.4f}, found in {time.perf_counter() - start:.2f} s")

    with LocalExecutor() as executor:
        crash, after = executor.submit(os._exit, 3), executor.submit(lambda: "and the executor lives on")
        try:
            crash.result()
        except BrokenProcessPool as error:
            print(f"{type(error).__name__}: {error}")
        print(after.result())


if __name__ == "__main__":
    main()
