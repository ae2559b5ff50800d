# SPDX-License-Identifier: MIT
"""Filter a stack of large images that lives once in memory; then the same with `ProcessPoolExecutor`.

Each image is averaged with its two neighbours and blurred, on all cores. The stack and what comes of it are arrays of
the queue: a slice of the one costs nothing as an argument, and `out=` lets a task write its result into the other.
Both print the most memory that they had, with their workers: the executor sends every image three times, and back.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from localq import LocalQueue


def blur(images: np.ndarray, radius: int = 2) -> np.ndarray:
    """This runs in the workers: the mean of the images, then of a square around each point."""
    side, (height, width) = 2 * radius + 1, images.shape[1:]
    padded = np.pad(images.mean(axis=0), radius, mode="edge")
    rows = sum((padded[y : y + height] for y in range(1, side)), start=padded[:height])
    return sum((rows[:, x : x + width] for x in range(1, side)), start=rows[:, :width]) / side**2


def fill(stack: np.ndarray) -> list[np.ndarray]:
    """Make up the images; each with its neighbours, as views."""
    for number, image in enumerate(stack):
        np.random.default_rng(number).random(out=image, dtype=image.dtype)
    return [stack[max(n - 1, 0) : n + 2] for n in range(len(stack))]


def with_localq(*shape: int) -> np.ndarray:
    with LocalQueue() as q:
        stack, blurred = q.empty(shape, "float32"), q.empty(shape, "float32")
        for _ in q.options(out=blurred).map(blur, fill(stack)):
            pass
    return blurred  # arrays outlive the queue


def with_executor(*shape: int) -> np.ndarray:
    with ProcessPoolExecutor() as executor:
        stack, blurred = np.empty(shape, "float32"), np.empty(shape, "float32")
        for n, image in enumerate(executor.map(blur, fill(stack))):
            blurred[n] = image
    return blurred


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=2000, help="of a side")
    parser.add_argument("--only", choices=["localq", "executor"])
    args = parser.parse_args()
    if args.only:
        blurred = (with_localq if args.only == "localq" else with_executor)(args.images, args.pixels, args.pixels)
        print(f"{args.only}: {args.images} images blurred, from {blurred.min():.5f} to {blurred.max():.5f}")
    for name in () if args.only else ("localq", "executor"):
        watch = Path(__file__).with_name("peak_memory.py")
        subprocess.run([sys.executable, watch, sys.executable, *sys.argv, "--only", name], check=True)
