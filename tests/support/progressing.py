# SPDX-License-Identifier: MIT
"""Tasks that say how far they are."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any, NoReturn

from localq import LocalQueue, TaskContext, current_task
from tests.support import tasks

_kept: list[TaskContext] = []


def _own() -> TaskContext:
    found = current_task()
    assert found is not None
    return found


def context() -> TaskContext:
    return _own()


def say(progress: float) -> float:
    _own().update(progress=progress)
    return progress


def say_all(updates: list[dict[str, Any]]) -> None:
    for update in updates:
        _own().update(**update)


def say_and_wait(gate: str, progress: float, message: str) -> None:
    _own().update(progress=progress, message=message)
    tasks.slow(gate)


def say_at_each(gates: list[str]) -> None:
    for number, gate in enumerate(gates):
        _own().update(progress=number / len(gates), message=f"step {number}")
        tasks.slow(gate)


def say_many(count: int, gate: str | None) -> None:
    own = _own()
    for number in range(1, count + 1):
        own.update(progress=number / count)
    if gate is not None:
        tasks.slow(gate)


def say_for_ever() -> NoReturn:
    own, number = _own(), 0
    while True:
        number += 1
        own.update(progress=number % 1000 / 1000, message=f"number {number}")


def say_and_fail(progress: float) -> None:
    _own().update(progress=progress, message="about to fail")
    tasks.fail()


def say_per_run(gates: list[str]) -> None:
    own = _own()
    own.update(message=f"run {own.attempt}")
    if own.attempt == 1:
        own.update(progress=0.9)
    tasks.slow(gates[own.attempt - 1])
    if own.attempt == 1:
        tasks.fail()


def say_and_die_once(marker: str) -> None:
    if os.path.exists(marker):
        _own().update(message="again")
        return
    _own().update(progress=0.9, message="the first time")
    tasks.record(marker, "died")
    os.kill(os.getpid(), signal.SIGKILL)


def say_within(progress: float) -> tuple[Any, Any]:
    outer = _own()
    outer.update(progress=0.25, message="outer")
    future = LocalQueue.current().delay(say_all, [{"progress": progress, "message": "inner"}])
    future.result()
    found = LocalQueue.current().get_task_result(outer.task_id)
    assert found is not None
    return (future.progress, future.message), (found.progress, found.message)


def follow_within(progress: float) -> list[Any]:
    future = LocalQueue.current().delay(say, progress)
    *_, last = future.updates()
    return [str(last.status), last.progress]


async def follow_later(progress: float) -> list[Any]:
    future = LocalQueue.current().delay(say, progress)
    last = None
    async for update in future.updates():
        last = update
    assert last is not None
    return [str(last.status), last.progress]


async def say_later(progress: float) -> None:
    _own().update(progress=progress)
    await asyncio.sleep(0.01)
    await asyncio.to_thread(_own().update, message=f"at {progress}")


def say_in_a_thread() -> None:
    thread = threading.Thread(target=lambda: _own().update(progress=0.5, message="from a thread"))
    thread.start()
    thread.join()


def keep_context() -> None:
    _kept[:] = [_own()]
    _kept[0].update(progress=0.5, message="in time")


def say_by_kept_context() -> None:
    _kept[0].update(progress=1.0, message="too late")


def say_in_a_child() -> int:
    _own().update(progress=0.5, message="the parent")
    child = os.fork()
    if child == 0:
        try:
            _own().update(progress=1.0, message="the child")
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    time.sleep(0)
    return status
