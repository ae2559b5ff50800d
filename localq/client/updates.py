# SPDX-License-Identifier: MIT
"""Follow a task: what it says of itself while it runs, until its end.

Used by futures and by the queue, for tasks that this process submitted and, by id, for all others. Tasks write notes
into the shared memory and wake who watches; so a task never waits for its followers, and who is slow sees the latest
note and not all of them. A plain iterator sleeps in the kernel itself; for all `async for` of one event loop one thread
does.
"""

from __future__ import annotations

import time
from threading import Lock
from weakref import WeakSet

from localq.client.options import check_seconds
from localq.model import TaskStatus, TaskUpdate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol, Self

    from localq._native import Client, Space
    from localq.client.future import TaskFuture

    class Subject(Protocol):
        """A task that is followed, however it is known."""

        @property
        def client(self) -> Client: ...
        @property
        def name(self) -> str: ...
        def look(self) -> tuple[TaskStatus, float | None, str | None] | None: ...
        def help(self) -> None: ...
        @property
        def patience(self) -> float: ...


__all__ = ["Updates", "follow_future", "follow_task", "note_of"]

NAP_SECONDS = 1.0  # who has died meanwhile, a queue that broke: nobody may be left to wake us
SHORT_NAP_SECONDS = 0.05  # nothing wakes us when a call is sent that waited for room, say
BREATHER_SECONDS = 0.002  # between two rounds of the thread: a task that says something all the time has many to say
ENDS = (TaskStatus.SUCCESS, TaskStatus.FAILURE, TaskStatus.CANCELLED, TaskStatus.EVICTED, TaskStatus.EXPIRED)


def note_of(client: Client, slot: int, generation: int) -> tuple[float | None, str | None]:
    """(progress, message) that a task said last of itself; None what it never said."""
    note = client.space.notes(slot, generation) if generation else None
    return (None, None) if note is None else (note[1], note[2])


class _Watching:
    """One place in the shared memory whose notes wake us."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._is_watched = False
        self._since = 0.0

    def watch(self, slot: int, generation: int) -> None:
        """From now on. Before anything is read: what comes later is not missed then."""
        if not self._is_watched and generation:
            self._is_watched, self._since = True, time.monotonic()
            self.client.watch(slot, generation)


class _OfFuture(_Watching):
    """A task of this process, by its future."""

    def __init__(self, future: TaskFuture[Any]) -> None:
        super().__init__(future._client)
        self._future = future
        space = future._client.space
        future._tell(lambda done: space.call_notes())  # also of an end that no worker tells, such as cancel()

    @property
    def name(self) -> str:
        return f"task {self._future.task_id or '(not sent yet)'}"

    @property
    def patience(self) -> float:
        return SHORT_NAP_SECONDS if self._future._is_parked else NAP_SECONDS

    def look(self) -> tuple[TaskStatus, float | None, str | None] | None:
        future = self._future
        self.watch(future.slot, future.generation)
        status = future.status
        progress, message = (None, None) if status is TaskStatus.PENDING else (future.progress, future.message)
        return status, progress, message

    def help(self) -> None:
        self._future._run_here()


class _OfTask(_Watching):
    """A task that is known by its id only."""

    def __init__(
        self,
        client: Client,
        task_id: str,
        place: tuple[int, int],
        status: Callable[[], TaskStatus | None],
        check: Callable[[], object],
    ) -> None:
        super().__init__(client)
        self.name = f"task {task_id}"
        self._place = place
        self._status = status
        self._check = check
        self._last: tuple[float | None, str | None] = (None, None)

    @property
    def patience(self) -> float:
        # Who was just about to end it may not have seen that it is watched: that takes a moment.
        return SHORT_NAP_SECONDS if time.monotonic() - self._since < 2 * SHORT_NAP_SECONDS else NAP_SECONDS

    def look(self) -> tuple[TaskStatus, float | None, str | None] | None:
        self.watch(*self._place)
        status = self._status()
        if status is None:
            return None
        note = note_of(self.client, *self._place)  # after the status: the end has what was said last
        if status is TaskStatus.PENDING:
            note = None, None
        elif status in (TaskStatus.EVICTED, TaskStatus.EXPIRED) and note == (None, None):
            note = self._last
        self._last = note
        if status not in ENDS:
            self._check()
        return status, *note

    def help(self) -> None:
        if self.client.help is not None:
            self.client.help(*self._place)


class Updates:
    """An iterator over what a task says of itself, for `for` and for `async for`: a TaskUpdate whenever its status, its
    progress or its message is another than in the last one. The first comes at once; the last is the end of the
    task."""

    def __init__(self, subject: Subject, timeout: float | None) -> None:
        check_seconds("timeout", timeout)
        self._subject = subject
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._last: tuple[TaskStatus, float | None, str | None] | None = None
        self._has_ended = False
        self._waiter: Future[None] | None = None

    def __iter__(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self

    def __next__(self) -> TaskUpdate:
        space = self._subject.client.space
        while True:
            calls = space.note_calls
            found = self._new()
            if found is not None:
                return found
            self._subject.help()
            space.wait_note_calls(calls, self._left())

    async def __anext__(self) -> TaskUpdate:
        from asyncio import sleep

        space = self._subject.client.space
        followers: Followers | None = None
        await sleep(0)  # a task that says something all the time must not keep the loop from everything else
        try:
            while True:
                calls = space.note_calls
                found = self._new()
                if found is not None:
                    return found
                followers = followers or followers_of(self._subject.client)
                await followers.wait(self, calls, self._left())
        except StopIteration:
            raise StopAsyncIteration from None

    def _new(self) -> TaskUpdate | None:
        """What is new since the last one. Raises StopIteration after the end."""
        if self._has_ended:
            raise StopIteration
        found = self._subject.look()
        if found is None:  # its slot serves another task by now, and how it ended nobody knows
            self._has_ended = True
            raise StopIteration
        if found == self._last:
            return None
        self._last = found
        status, progress, message = found
        self._has_ended = status in ENDS
        return TaskUpdate(progress, message, status, time.time())

    def _is_old(self) -> bool:
        """Whether there is something new, for another thread than that which reads."""
        try:
            return self._subject.look() != self._last
        except Exception:  # noqa: BLE001 - it is raised where it is read
            return True

    def _left(self) -> float:
        """Seconds to wait at most before looking again."""
        if self._deadline is None:
            return self._subject.patience
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{self._subject.name} has not ended within {self._timeout:g} s; it goes on")
        return min(left, self._subject.patience)


class Followers:
    """All iterators of one client that one event loop reads, and the thread that sleeps for them."""

    def __init__(self, client: Client, loop: AbstractEventLoop) -> None:
        self._space: Space = client.space
        self._landings = client.landings
        self._loop = loop
        self._known: WeakSet[Updates] = WeakSet()
        self._lock = Lock()  # a WeakSet that grows can't be iterated over
        self._is_running = False

    async def wait(self, updates: Updates, calls: int, seconds: float) -> None:
        """Suspend until there may be something new since the Space counted that many calls, at most so long."""
        from localq.pool.context import this_worker

        updates._waiter = waiter = self._loop.create_future()
        with self._lock:
            self._known.add(updates)
        self._start()
        if self._space.note_calls != calls:
            updates._waiter = None
            return
        timer = self._loop.call_later(seconds, _wake, waiter)
        here = this_worker() if updates._subject.client.help is not None else None
        if here is not None:
            here.coroutines.begin_wait()  # what it follows may have to be taken by this very worker
        try:
            await waiter
        finally:
            timer.cancel()
            updates._waiter = None
            if here is not None:
                here.coroutines.end_wait()

    def _start(self) -> None:
        if not self._is_running:
            from threading import Thread

            self._is_running = True
            try:
                Thread(target=self._run, name="localq-follower", daemon=True).start()
            except BaseException:
                self._is_running = False
                raise

    def _behind(self) -> Iterator[Future[None]]:
        """The waiters of those for whom there is something new."""
        with self._lock:
            known = list(self._known)
        for updates in known:
            waiter = updates._waiter
            if waiter is not None and updates._is_old():
                yield waiter

    def _tell(self, waiters: tuple[Future[None], ...]) -> None:
        try:
            if waiters:
                self._loop.call_soon_threadsafe(_wake_all, waiters)
        except RuntimeError:  # the loop was closed
            self._known.clear()

    def _run(self) -> None:
        while True:
            calls = self._space.note_calls
            self._tell(tuple(self._behind()))
            if not self._known:
                self._is_running = False
                if not self._known or self._is_running:  # else somebody came, and found it running
                    self._landings.pop((Followers, self._loop), None)
                    return
                self._is_running = True
            self._space.wait_note_calls(calls, NAP_SECONDS)
            time.sleep(BREATHER_SECONDS)


def followers_of(client: Client) -> Followers:
    """Those of a client in the running loop."""
    from asyncio import get_running_loop

    loop = get_running_loop()
    found: Followers | None = client.landings.get((Followers, loop))
    if found is None:
        found = client.landings[Followers, loop] = Followers(client, loop)
    return found


def _wake(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _wake_all(waiters: tuple[Future[None], ...]) -> None:
    for waiter in waiters:
        _wake(waiter)


def follow_future(future: TaskFuture[Any], timeout: float | None) -> Updates:
    """See `TaskFuture.updates`."""
    return Updates(_OfFuture(future), timeout)


def follow_task(
    client: Client,
    task_id: str,
    place: tuple[int, int],
    status: Callable[[], TaskStatus | None],
    check: Callable[[], object],
    timeout: float | None,
) -> Updates:
    """See `LocalQueue.follow`. `status()` is that of the task, None when nothing is known; `check()` raises when the
    queue is at its end."""
    return Updates(_OfTask(client, task_id, place, status, check), timeout)
