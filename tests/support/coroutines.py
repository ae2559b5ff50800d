# SPDX-License-Identifier: MIT
"""Async tasks, and functions that run event loops of their own."""

from __future__ import annotations

import asyncio
import os

from localq import LocalQueue, current_task
from tests.support.tasks import record


async def arrive(seen: str, all_here: int, number: int) -> tuple[int, int]:
    """Wait until so many have come to the same file: only possible beside each other. Returns (number, process)."""
    record(seen, str(number))
    while True:
        with open(seen) as lines:
            if len(lines.readlines()) >= all_here:
                return number, os.getpid()
        await asyncio.sleep(0.005)


async def most_at_once(folder: str) -> int:
    """How many of these were on their way at most, as far as this one saw."""
    task = current_task()
    assert task is not None
    mark = os.path.join(folder, task.task_id)
    open(mark, "w").close()
    try:
        seen = 0
        for _ in range(10):
            seen = max(seen, len(os.listdir(folder)))
            await asyncio.sleep(0.003)
        return seen
    finally:
        os.remove(mark)


async def own_id() -> tuple[str, str]:
    """What it is called, before and after others ran."""
    first = current_task()
    await asyncio.sleep(0.01)
    second = current_task()
    assert first is not None
    assert second is not None
    return first.task_id, second.task_id


async def fail(text: str) -> None:
    """Raise."""
    await asyncio.sleep(0)
    raise ValueError(text)


def run_a_loop(value: object) -> object:
    """A function that runs a loop of its own."""

    async def later() -> object:
        await asyncio.sleep(0.001)
        return value

    return asyncio.run(later())


async def call(q: LocalQueue, value: object) -> object:
    """Wait for a task as a function would."""
    from tests.support.tasks import same

    return q.delay(same, value).result()


async def wait_as_a_function(q: LocalQueue, text: str) -> list[str]:
    """The same for an async one."""
    return [str(q.delay(fail, text).exception())]


async def die() -> None:
    """End the worker."""
    await asyncio.sleep(0)
    os.kill(os.getpid(), 9)


async def leave(how: str) -> str:
    """End the loop, as far as that is up to a coroutine."""
    await asyncio.sleep(0)
    if how == "stop":
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
    elif how == "exit":
        raise SystemExit(how)
    elif how == "interrupt":
        raise KeyboardInterrupt(how)
    elif how == "exit beside":
        asyncio.create_task(leave("exit"))  # noqa: RUF006 - nobody looks after it
        await asyncio.sleep(0.01)
    return how


async def refuse() -> None:
    """To end."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue
