# SPDX-License-Identifier: MIT
"""Tasks that run next after others: each writes down what it was given, so that a test sees what came and how often."""

from __future__ import annotations

import os
import signal
from threading import Lock
from typing import Any

from localq import task
from tests.support import tasks

RECORD = "LOCALQ_TEST_SEQUELS"  # the file to write to


def _note(line: str) -> None:
    tasks.record(os.environ[RECORD], line)


@task(priority="low")
def after(value: Any) -> None:
    _note(f"after {value!r}")


@task(name="sequel")
def named(value: Any) -> None:
    _note(f"named {value!r}")


@task
def total(array: Any) -> None:
    _note(f"total {array.sum():g} of {len(array)}")


@task
def wait(gate: str) -> None:
    tasks.slow(gate)


@task
def rescue(task_id: str, error: BaseException) -> None:
    cause = type(error.__cause__).__name__
    _note(f"rescue {'known' if task_id else 'unsent'} {type(error).__name__}({error}) from {cause}")


@task
def rescue_briefly(task_id: str, error: BaseException) -> None:
    _note(f"rescue {type(error).__name__} {getattr(error, 'code', None)}")


class Deadly:
    """A value that kills who packs it for the second time: the worker, when it hands its result on to the next task."""

    def __init__(self, marker: str) -> None:
        self.marker = marker
        self.packed = 0

    def __repr__(self) -> str:
        return "Deadly"

    def __reduce__(self) -> tuple[Any, ...]:
        self.packed += 1
        if self.packed == 2 and not os.path.exists(self.marker):
            tasks.record(self.marker, "died")
            os.kill(os.getpid(), signal.SIGKILL)
        return Deadly, (self.marker,)


def make_deadly(marker: str) -> Deadly:
    return Deadly(marker)


async def add_later(left: int, right: int) -> int:
    return left + right


def fail_unpicklable() -> None:
    class Local(Exception):
        def __init__(self) -> None:
            super().__init__(Lock())

    raise Local
