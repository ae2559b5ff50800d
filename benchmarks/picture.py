# SPDX-License-Identifier: MIT
"""Makes the README's picture of `localq top`, from a queue that really runs: `python -m benchmarks.picture`.

A queue with functions of several kinds, short and long ones, some that fail, one that kills its worker, is watched for
a while; then one screen is written as SVG. Nothing in the picture is drawn by hand.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from pathlib import Path
from threading import Thread

from localq import LocalQueue, TaskFuture, current_task
from localq.monitor.glance import picture
from localq.monitor.history import Watched
from localq.monitor.reader import open_reader
from localq.monitor.view import View

PICTURE = Path(__file__).resolve().parent.parent / "examples" / "pictures" / "top.svg"
SIZE = (120, 36)  # columns and lines
WAITING = 1200  # tasks that are kept waiting, about


def resize_image(name: str, width: int) -> int:
    """Some milliseconds of work; one in 400 can't be read."""
    until = time.perf_counter() + random.expovariate(1 / 0.003)
    while time.perf_counter() < until:
        pass
    if random.random() < 1 / 400:
        raise ValueError(f"cannot identify image file {name!r}")
    return width


def send_mail(address: str) -> None:
    """Waits for somebody else."""
    time.sleep(random.uniform(0.001, 0.02))
    if random.random() < 1 / 150:
        raise ConnectionResetError(f"mail server hung up on {address}")


def index_page(number: int) -> int:
    """Says something now and then."""
    if number % 400 == 0:
        print(f"page {number:,}: no text layer, using its title")
    time.sleep(0.0004)
    return number


def train_faces(epochs: int, pace: float) -> None:
    """Minutes of work that tells how far it is."""
    task = current_task()
    assert task is not None
    for step in range(epochs * 20):
        epoch, loss = step // 20 + 1, 0.9 / (1 + step / 10)
        task.update(progress=step / (epochs * 20), message=f"epoch {epoch} of {epochs}, loss {loss:.3f}")
        time.sleep(pace)


def convert_video(name: str) -> None:
    """Ends with its process, as broken native code does."""
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGSEGV)


def watch(name: str, seconds: float) -> Watched:
    """What a live view would remember after so long."""
    watched = Watched(name)
    reader = open_reader(name)
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            watched = watched.read(reader.read())
            time.sleep(0.5)
    finally:
        reader.close()
    return watched


def feed(queue: LocalQueue, seconds: float) -> None:
    """Give it work of all kinds, more at some times than at others; and take back what is left of it."""
    began = time.monotonic()
    number = crashes = 0
    futures: list[TaskFuture[object]] = [
        queue.options(priority="high").delay(train_faces, 12, 0.15),
        queue.options(priority="low", queue="nightly").delay(train_faces, 30, 0.12),
    ]
    while (passed := time.monotonic() - began) < seconds:
        futures = [future for future in futures if not future.done()]
        while len(futures) < WAITING * (0.5 + passed * 3 % 7 / 10):
            number += 1
            urgent = random.choices(("critical", "high", "normal", "low"), (1, 8, 70, 21))[0]
            futures.append(queue.options(priority=urgent).delay(resize_image, f"holiday-{number:04}.jpg", 640))
            if number % 6 == 0:
                futures.append(queue.options(queue="mail").delay(send_mail, "anna@example.org"))
            if number % 2 == 0:
                futures.append(queue.options(queue="nightly", priority="low").delay(index_page, number))
        if passed > seconds * (crashes + 1) / 3:
            crashes += 1
            queue.delay(convert_video, "birthday.mov")
        time.sleep(1.0)
    for future in futures:
        future.cancel()


def main() -> None:
    """Parse the command line, run, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE, help="where the picture goes")
    parser.add_argument("--seconds", type=float, default=25.0, help="how long the queue is watched")
    given = parser.parse_args()
    queues = ("default", "mail", "nightly")
    with LocalQueue(workers=6, name="thumbnails", queues=queues, output="off") as queue:
        feeder = Thread(target=feed, args=(queue, given.seconds + 1), daemon=True)
        feeder.start()
        watched = watch("thumbnails", given.seconds)
        given.file.parent.mkdir(parents=True, exist_ok=True)
        picture([watched], str(given.file), SIZE, View())
        feeder.join()
    print(f"{given.file}: {SIZE[0]} x {SIZE[1]}, {len(watched.history.points) if watched.history else 0} readings")


if __name__ == "__main__":
    main()
