# SPDX-License-Identifier: MIT
"""Tasks that are to be stopped: each says at `seen` that it has begun, and what it lives to see of its end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

from localq import TaskCancelled, TaskTimeout, current_task
from tests.support.tasks import record

LONG = 120.0  # seconds: nobody waits for the end of it


def _note(seen: str, error: BaseException) -> None:
    record(seen, type(error).__name__)


def sleep(seen: str) -> None:
    """In a call of the system."""
    record(seen, "began")
    try:
        time.sleep(LONG)
    except BaseException as error:
        _note(seen, error)
        raise


def spin(seen: str) -> None:
    """In Python code."""
    record(seen, "began")
    until = time.monotonic() + LONG
    try:
        while time.monotonic() < until:
            pass
    except BaseException as error:
        _note(seen, error)
        raise


def wait(seen: str) -> None:
    """For a lock that nobody opens."""
    record(seen, "began")
    try:
        threading.Event().wait(LONG)
    except BaseException as error:
        _note(seen, error)
        raise


async def sleep_in_a_coroutine(seen: str) -> None:
    """In an event loop."""
    record(seen, "began")
    try:
        await asyncio.sleep(LONG)
    except BaseException as error:
        _note(seen, error)
        raise


def hold_the_gil(seen: str) -> None:
    """In C code that never looks at signals."""
    record(seen, "began")
    sum(range(10**12))


def refuse(seen: str) -> None:
    """Whatever anybody says."""
    record(seen, "began")
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        try:
            time.sleep(LONG)
        except (TaskCancelled, TaskTimeout) as error:
            _note(seen, error)


def clean_up(seen: str, seconds: float) -> str:
    """After it was told to stop, take that long; and return something."""
    record(seen, "began")
    try:
        time.sleep(LONG)
    except (TaskCancelled, TaskTimeout) as error:
        _note(seen, error)
        time.sleep(seconds)
        task = current_task()
        assert task is not None
        record(seen, f"cancelled: {task.cancelled}")
        return "cleaned up"
    raise AssertionError("not reached")


def swallow(seen: str) -> None:
    """Its own error takes the place of the one that stops it."""
    record(seen, "began")
    try:
        time.sleep(LONG)
    finally:
        raise KeyError("mine")


def once_long(seen: str) -> str:
    """Too long the first time."""
    record(seen, "began")
    task = current_task()
    assert task is not None
    if task.attempt == 1:
        time.sleep(LONG)
    return f"attempt {task.attempt}"


def fail_until(seen: str, times: int, kind: type[Exception]) -> int:
    """Raise that often, then return which run this is."""
    record(seen, repr(time.monotonic()))
    with open(seen) as lines:
        runs = len(lines.readlines())
    if runs <= times:
        raise kind(runs)
    return runs


def die_then_fail(seen: str, deaths: int, failures: int) -> int:
    """End the worker so often, then raise so often, then return which run this is."""
    import os
    import signal

    record(seen, "began")
    with open(seen) as lines:
        runs = len(lines.readlines())
    if runs <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    if runs <= deaths + failures:
        raise ValueError(runs)
    return runs


def ignore_all(seen: str) -> None:
    """As `refuse`, with everything that can be caught."""
    record(seen, "began")
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(LONG)
