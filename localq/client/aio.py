# SPDX-License-Identifier: MIT
"""Event loops: futures awaited in them, maps iterated in them, queues closed beside them.

Used by futures, maps and the queue, on the thread of a running loop. No thread is started for a call, and nothing is
polled: whoever finishes futures (the client's watcher, or a thread that waits) notes those that a loop awaits and calls
that loop once for all that it has noted until the loop comes to look.
"""

from __future__ import annotations

from asyncio import CancelledError, get_running_loop
from collections import deque
from threading import Thread

from localq.pool.context import this_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task
    from collections.abc import AsyncIterable, Callable, Generator
    from typing import Any

    from localq._native import Client
    from localq.client.future import TaskFuture

__all__ = ["Feed", "Landing", "News", "beside", "landing_of", "until_done"]


class Landing:
    """Where what a client finishes arrives in one event loop. It lasts as long as something is expected there."""

    __slots__ = ("_arrived", "_expected", "_is_called", "_landings", "_loop")

    def __init__(self, loop: AbstractEventLoop, landings: dict[AbstractEventLoop, Landing]) -> None:
        self._loop = loop
        self._landings = landings
        self._arrived: deque[Callable[[], object]] = deque()
        self._expected = 0
        self._is_called = False

    def expect(self, future: TaskFuture[Any], call: Callable[[], object]) -> None:
        """Call `call()` in the loop when the future is done. On the loop's own thread."""
        self._expected += 1
        try:
            future._tell(lambda done: self._arrive(call))
        except BaseException:  # no thread could be had
            self._forget(1)
            raise

    def _arrive(self, call: Callable[[], object]) -> None:
        """In any thread."""
        self._arrived.append(call)
        if not self._is_called:
            self._is_called = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop was closed: nobody waits there any more
                self._landings.pop(self._loop, None)

    def _deliver(self) -> None:
        self._is_called = False  # before looking: who comes later calls again
        count = 0
        try:
            while self._arrived:
                call = self._arrived.popleft()
                count += 1
                call()
        finally:
            self._forget(count)

    def _forget(self, count: int) -> None:
        self._expected -= count
        if not self._expected:
            self._landings.pop(self._loop, None)


def landing_of(client: Client) -> Landing:
    """The landing of a client in the running loop."""
    loop = get_running_loop()
    landing: Landing | None = client.landings.get(loop)
    if landing is None:
        landing = client.landings[loop] = Landing(loop, client.landings)
    return landing


def until_done(future: TaskFuture[Any], client: Client) -> Generator[Any, None, None]:
    """Suspend the running coroutine until the future is done. When it is cancelled meanwhile, so is the task."""
    waiter = get_running_loop().create_future()
    landing_of(client).expect(future, lambda: _wake(waiter))
    here = this_worker() if client.help is not None else None
    if here is not None:
        here.coroutines.begin_wait()  # what it waits for may have to be taken by this very worker
    try:
        yield from waiter
    except CancelledError:
        future.cancel()
        raise
    finally:
        if here is not None:
            here.coroutines.end_wait()


def _wake(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class News:
    """One coroutine waits until any of several futures is done."""

    def __init__(self) -> None:
        self._waiter: Future[None] | None = None

    def expect(self, future: TaskFuture[Any], client: Client) -> None:
        """From now on `wait` ends when this one is done, too."""
        landing_of(client).expect(future, self.tell)

    def tell(self) -> None:
        """There is something new. On the loop's thread."""
        if self._waiter is not None:
            _wake(self._waiter)

    async def wait(self, seconds: float) -> None:
        """Suspend until there is something new since the caller looked, at most so long."""
        loop = get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self.tell)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None


class Feed:
    """The items of an async iterable, for a map: what has arrived can be read without waiting, as from an iterator that
    may have more later. It is read a little ahead, by a task of the loop in which `start` is called."""

    def __init__(self, source: AsyncIterable[Any]) -> None:
        self._source = source
        self.most = 1  # items that may wait here; who reads them may change it
        self._items: deque[Any] = deque()
        self._failure: Exception | None = None
        self._task: Task[None] | None = None
        self._room = News()
        self.has_ended = False  # nothing will come any more

    def start(self, news: News) -> None:
        """Tell `news` whenever something has come."""
        if self._task is None:
            self._loop = get_running_loop()
            self._task = self._loop.create_task(self._read(news))

    async def _read(self, news: News) -> None:
        source = aiter(self._source)
        try:
            async for item in source:
                self._items.append(item)
                news.tell()
                while len(self._items) >= self.most:
                    await self._room.wait(60.0)
        except Exception as error:  # noqa: BLE001 - the iterable's own: raised in its place
            self._failure = error
        finally:
            self.has_ended = True
            news.tell()
            close = getattr(source, "aclose", None)  # a generator: nobody else will end it
            if close is not None:
                await close()

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Any:
        if self._items:
            self._room.tell()
            return self._items.popleft()
        failure, self._failure = self._failure, None
        raise failure or StopIteration

    def close(self) -> None:
        """Read no more. In any thread."""
        if self._task is not None and not self._task.done():
            try:
                self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:  # the loop was closed, and the task with it
                pass


async def beside(work: Callable[..., object], *args: object) -> None:
    """Run `work(*args)` in a thread of its own while the loop goes on. (The threads of the loop's own executor may all
    be waiting for this very queue.)"""
    loop = get_running_loop()
    done = loop.create_future()

    def run() -> None:
        error: BaseException | None = None
        try:
            work(*args)
        except BaseException as raised:  # noqa: BLE001 - it is raised where it is awaited
            error = raised
        try:
            loop.call_soon_threadsafe(_finish, done, error)
        except RuntimeError:  # the loop was closed
            pass

    thread = Thread(target=run, name="localq-closer", daemon=True)
    thread.start()
    await done
    thread.join()  # it has nothing left to do, and lets go of its arguments


def _finish(done: Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
