# SPDX-License-Identifier: MIT
"""Ask one large pandas frame many things at once; then the same with `ProcessPoolExecutor`.

A made-up table of sales is grouped by several columns in several ways, a task each. `q.put` stores the frame once: each
task gets a reference of a few bytes and sees the frame, its columns in shared memory. Both print the most memory that
they had, with their workers: the executor sends the whole frame with every task.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from localq import LocalQueue

QUESTIONS = list(product(("shop", "item", "day"), ("price", "pieces"), ("mean", "max", "std")))


def make_frame(rows: int) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    keys = {name: draw.integers(0, kinds, rows) for name, kinds in (("shop", 50), ("item", 1000), ("day", 365))}
    return pd.DataFrame(keys | {"price": draw.random(rows) * 100, "pieces": draw.integers(1, 9, rows)})


def answer(frame: pd.DataFrame, by: str, column: str, how: str) -> float:
    """This runs in the workers: the largest of the groups' figures."""
    return float(frame.groupby(by)[column].agg(how).max())


def with_localq(rows: int) -> list[float]:
    with LocalQueue() as q:
        shared = q.put(make_frame(rows))
        futures = [q.delay(answer, shared, *question) for question in QUESTIONS]
        return [future.result() for future in futures]


def with_executor(rows: int) -> list[float]:
    with ProcessPoolExecutor() as executor:
        frame = make_frame(rows)
        futures = [executor.submit(answer, frame, *question) for question in QUESTIONS]
        return [future.result() for future in futures]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--only", choices=["localq", "executor"])
    args = parser.parse_args()
    if args.only:
        answers = (with_localq if args.only == "localq" else with_executor)(args.rows)
        print(f"{args.only}: {len(answers)} answers, in all {sum(answers):.3f}")
    for name in () if args.only else ("localq", "executor"):
        watch = Path(__file__).with_name("peak_memory.py")
        subprocess.run([sys.executable, watch, sys.executable, *sys.argv, "--only", name], check=True)
