# SPDX-License-Identifier: MIT
"""Tasks that submit tasks to their own queue."""

from __future__ import annotations

import os
import signal
import time

from localq import LocalQueue
from tests.support.tasks import record


def fibonacci(number: int) -> int:
    """By two tasks for each number above one, both waited for."""
    if number < 2:
        return number
    q = LocalQueue.current()
    first, second = q.delay(fibonacci, number - 1), q.delay(fibonacci, number - 2)
    return first.result() + second.result()


def depth(levels: int) -> int:
    """Each level waits for the next."""
    return 0 if levels == 0 else 1 + LocalQueue.current().delay(depth, levels - 1).result()


def total(q: LocalQueue, numbers: int) -> int:
    """By a map in the queue that it was given."""
    return sum(q.map(abs, range(-numbers, 0)))


def sort_by_result(q: LocalQueue, numbers: list[int]) -> list[int]:
    """By a map out of order, whose results are sorted here."""
    return sorted(q.map(abs, numbers, ordered=False, chunksize=1))


def wait_for(q: LocalQueue, seen: str, inner: str) -> object:
    """For a task that will not end by itself."""
    from tests.support import stopping

    return q.delay(getattr(stopping, inner), seen).result()


def survive(q: LocalQueue) -> str:
    """A task of one's own that fails fails alone."""
    try:
        return q.delay(int, "no number").result()  # type: ignore[return-value]
    except ValueError as error:
        return str(error)


def leave_behind(q: LocalQueue, path: str) -> str:
    """Submit and do not wait."""
    future = q.delay(record, path, "done")
    return future.task_id


def die(q: LocalQueue) -> object:
    """Wait for a task that ends its worker."""
    return q.delay(_end).result()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold_and_sleep(q: LocalQueue, count: int) -> int:
    """Many at once."""
    futures = [q.delay(time.sleep, 0.001) for _ in range(count)]
    return sum(future.result() is None for future in futures)


def name_of(q: LocalQueue) -> tuple[str, bool]:
    """What it is called here, and whether it is the one that runs this."""
    return q.name, q is LocalQueue.current()


def submit_to(q: LocalQueue, value: object) -> object:
    """To the queue that it was given, whosever that is."""
    from tests.support.tasks import same

    return q.delay(same, value).result()


def wait_for_all(q: LocalQueue, numbers: int) -> tuple[int, int]:
    """By `concurrent.futures.wait` and `as_completed`."""
    from concurrent.futures import as_completed, wait

    from tests.support.tasks import same

    done = wait([q.delay(same, number) for number in range(numbers)]).done
    completed = as_completed([q.delay(same, number) for number in range(numbers)])
    return len(done), sum(future.result() for future in completed)  # type: ignore[misc]


async def gather(q: LocalQueue, levels: int) -> int:
    """Coroutines that await coroutines, two each, to that depth."""
    import asyncio

    if levels == 0:
        return 1
    return sum(await asyncio.gather(q.delay(gather, q, levels - 1), q.delay(gather, q, levels - 1)))


async def await_function(q: LocalQueue, value: object) -> object:
    """A coroutine that awaits a function."""
    from tests.support.tasks import same

    return await q.delay(same, value)


def _too_long(seconds: float) -> None:
    import time

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def see_one_time_out(q: LocalQueue, seconds: float) -> str:
    """A coroutine that waits, as a function would, for a task which is stopped."""
    import asyncio

    from localq import TaskTimeout

    try:
        q.options(timeout=0.05).delay(_too_long, seconds).result()
    except TaskTimeout:
        await asyncio.sleep(0)
        return "it was stopped"
    return "it was not"


def wait_for_coroutine(q: LocalQueue, seconds: float) -> str:
    """Which runs within this one."""
    return q.delay(see_one_time_out, q, seconds).result()


def fork_and_wait(q: LocalQueue, numbers: int) -> tuple[list[object], str]:
    """A child that waits for what its parent submitted; what that gets, and what the child was told."""
    import os

    from tests.support.tasks import same

    futures = [q.delay(same, number) for number in range(numbers)]
    heard, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            futures[0].result(1)
            os.write(tell, b"a result")
        except BaseException as error:
            os.write(tell, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    told = os.read(heard, 100).decode()
    os.close(heard)
    os.close(tell)
    return [future.result() for future in futures], told


def _name() -> str:
    import time

    from localq import current_task

    time.sleep(0.001)
    task = current_task()
    assert task is not None
    return task.task_id


def wait_in_threads(q: LocalQueue, threads: int) -> tuple[int, bool]:
    """Each thread submits and waits, while this one waits for half of them. Returns how many were told a wrong name,
    and whether this one's is what it was."""
    from threading import Thread

    from localq import current_task

    wrong: list[str] = []

    def wait() -> None:
        for _ in range(3):
            future = q.delay(_name)
            if future.result() != future.task_id:
                wrong.append(future.task_id)

    before = current_task()
    several = [Thread(target=wait) for _ in range(threads)]
    for thread in several:
        thread.start()
    for thread in several[::2]:
        thread.join()
    after = current_task()
    assert before is not None
    assert after is not None
    return len(wrong), before.task_id == after.task_id


def see_one_time_out_in_a_thread(q: LocalQueue) -> str:
    """What is stopped there is none of this thread's business."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(q.options(timeout=0.05).delay(_too_long, 0.3).exception).result()
    return type(error).__name__


async def wait_in_a_thread(q: LocalQueue, value: object) -> object:
    """A coroutine that has a thread wait."""
    import asyncio

    from tests.support.tasks import same

    return await asyncio.to_thread(lambda: q.delay(same, value).result())
