# SPDX-License-Identifier: MIT
"""Async tasks in a worker: one event loop, which stays open between tasks, for one coroutine or for many at a time.

Used by the worker, which hands over what a function returned when that is a coroutine. The main thread runs the loop
while coroutines are on their way, and takes further tasks in between, up to `concurrency`; a thread sleeps for it when
there is none. A coroutine that waits for another task of its own queue does not count: that one may have to run here.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Coroutine
    from typing import Any

    from localq._native import Flight, Worker

__all__ = ["Coroutines"]

ADMIT_SECONDS = 0.3  # who waits asks ten times a second


class Coroutines:
    """The event loop of a worker. Called with a coroutine, it runs that to its end, and nothing beside it."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None  # of the coroutine that runs with nothing beside it, the innermost
        self._news: asyncio.Event | None = None  # a coroutine has ended, or there may be something to take
        self._sleeper: _Sleeper | None = None
        self._admits_until = 0.0  # monotonic time: a thread waits for one
        self._waiting = 0  # coroutines that wait for a task of their own queue

    def __call__(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        import asyncio

        if self._is_running():  # a coroutine waits for this one as a function would; the loop has to wait with it
            with _no_loop(), asyncio.Runner() as runner:
                return runner.run(self._remembered(coroutine))
        return self._open().run(self._remembered(coroutine))

    def cancel(self) -> bool:
        """Cancel the one that runs, as asyncio does, from the handler of a signal. False when none runs."""
        task = self._task
        if task is None:
            return False
        task.get_loop().call_soon_threadsafe(task.cancel)
        return True

    def _open(self) -> asyncio.Runner:
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner

    def _is_running(self) -> bool:
        return self._runner is not None and self._runner.get_loop().is_running()

    async def _remembered(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        from asyncio import current_task

        outer, self._task = self._task, current_task()
        try:
            return await coroutine
        finally:
            self._task = outer

    # many at a time

    def begin_wait(self) -> None:
        """The running coroutine waits for a task of its own queue."""
        self._waiting += 1
        if self._news is not None:
            self._news.set()

    def end_wait(self) -> None:
        """It does not any more."""
        self._waiting -= 1

    def run(self, worker: Worker, concurrency: int) -> str:
        """The worker's loop: as `Worker.run`, with up to `concurrency` coroutines on their way."""

        def launch(coroutine: Coroutine[Any, Any, Any], flight: Flight) -> None:
            self._launch(worker, coroutine, flight)

        worker.launch = launch
        while True:
            reason = worker.run()
            if reason != "flying":
                return reason
            self._see_through(worker, concurrency)

    def _see_through(self, worker: Worker, concurrency: int) -> None:
        """Until all have landed, whatever a coroutine does to the loop: SystemExit and KeyboardInterrupt come out of it
        (they are the task's own, which has them already), so does its end by `loop.stop()`, and all its tasks may be
        cancelled."""
        from asyncio import CancelledError

        loop = self._open().get_loop()
        while worker.flights:
            fly = loop.create_task(self._fly(worker, concurrency))
            while not fly.done():
                try:
                    loop.run_until_complete(fly)
                except (SystemExit, KeyboardInterrupt, CancelledError):
                    pass
                except RuntimeError:  # it was stopped
                    if fly.done() or loop.is_closed():
                        raise

    def _launch(self, worker: Worker, coroutine: Coroutine[Any, Any, Any], flight: Flight) -> None:
        from contextvars import copy_context

        from localq.pool.context import fly_in

        loop = self._open().get_loop()
        context = copy_context()
        context.run(fly_in, flight)
        task = loop.create_task(coroutine, context=context)
        flight.cancel = lambda: loop.call_soon_threadsafe(task.cancel)

        def land(done: asyncio.Task[Any]) -> None:
            error: BaseException | None
            if done.cancelled():
                from asyncio import CancelledError

                error = CancelledError()
            else:
                error = done.exception()
            worker.land(flight, None if error is not None else done.result(), error)
            if self._news is not None:
                self._news.set()

        task.add_done_callback(land)

    def admit_one(self) -> None:
        """A thread is about to wait for a task of its own queue, and asks again as long as it waits: what it waits for
        may have to run here, whatever is on its way."""
        self._admits_until = monotonic() + ADMIT_SECONDS
        news, runner = self._news, self._runner
        if news is not None and runner is not None:
            runner.get_loop().call_soon_threadsafe(news.set)

    def _has_room(self, worker: Worker, concurrency: int) -> bool:
        admitted = 1 if monotonic() < self._admits_until else 0
        return len(worker.flights) - self._waiting - admitted < concurrency

    async def _fly(self, worker: Worker, concurrency: int) -> None:
        """Until all have landed. Others are taken meanwhile, and begin."""
        from asyncio import Event, sleep

        self._news = news = Event()
        sleeper = self._sleeper
        while worker.flights or (sleeper is not None and sleeper.is_asleep):
            while self._has_room(worker, concurrency) and _take_one(worker):
                await sleep(0)
            news.clear()
            if self._has_room(worker, concurrency) and worker.flights:
                sleeper = self._sleeper = sleeper or _Sleeper(worker)
                sleeper.sleep_once(news)
            if worker.flights or (sleeper is not None and sleeper.is_asleep):
                await news.wait()
        self._news = None


def _take_one(worker: Worker) -> bool:
    """A function that is no coroutine may well use asyncio.run(); it shall find no loop that runs."""
    with _no_loop():
        return worker.take_one()


class _no_loop:
    """As if no event loop ran in this thread. It does not, as long as this lasts."""

    def __enter__(self) -> None:
        from asyncio import current_task, events

        self._loop = events.get_running_loop()
        self._task = current_task(self._loop)
        if self._task is not None:
            _leave(self._loop, self._task)
        events._set_running_loop(None)

    def __exit__(self, *error: object) -> None:
        from asyncio import events

        events._set_running_loop(self._loop)
        if self._task is not None:
            _enter(self._loop, self._task)


def _leave(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    from asyncio import tasks

    tasks._leave_task(loop, task)


def _enter(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    from asyncio import tasks

    tasks._enter_task(loop, task)


class _Sleeper:
    """A thread that sleeps until there is something to take, each time it is asked to."""

    def __init__(self, worker: Worker) -> None:
        from threading import Semaphore, Thread

        self.is_asleep = False
        self._worker = worker
        self._calls: threading.Semaphore = Semaphore(0)
        self._news: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        Thread(target=self._run, name="localq-sleeper", daemon=True).start()

    def sleep_once(self, news: asyncio.Event) -> None:
        """Set `news` when there may be something. Called in its loop."""
        self._news = news  # also of one that sleeps for an earlier one
        if self.is_asleep:
            return
        from asyncio import get_running_loop

        self.is_asleep = True
        self._loop = get_running_loop()
        self._calls.release()

    def _run(self) -> None:
        while True:
            self._calls.acquire()
            self._worker.wait_for_work()
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self.is_asleep = False
        if self._news is not None:
            self._news.set()
