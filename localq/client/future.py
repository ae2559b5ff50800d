# SPDX-License-Identifier: MIT
"""The submitter's handle on a task.

A `concurrent.futures.Future` in every respect, but its lock, its condition and its lists exist only once somebody needs
them: making those costs more than the whole rest of a submission. What must be fast is in `localq._native.Future`.
"""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from threading import Condition, RLock, get_ident, main_thread

from localq import _native
from localq.errors import ConfigError
from localq.model import Generic, TaskStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, NoReturn, TypeVar

    from localq.client.output import TaskOutput
    from localq.client.updates import Updates

    R = TypeVar("R")
else:
    R = None

__all__ = ["STATUSES", "TaskFuture"]

LOCK_SECONDS = 1.0  # that a watch's lock may be held: who does, for microseconds, are concurrent.futures and we

_STATES = {
    _native.PENDING: PENDING,
    _native.RUNNING: RUNNING,
    _native.SUCCEEDED: FINISHED,
    _native.FAILED: FINISHED,
    _native.CANCELLED: CANCELLED_AND_NOTIFIED,
}
STATUSES = {
    _native.PENDING: TaskStatus.PENDING,
    _native.RUNNING: TaskStatus.STARTED,
    _native.SUCCEEDED: TaskStatus.SUCCESS,
    _native.FAILED: TaskStatus.FAILURE,
    _native.CANCELLED: TaskStatus.CANCELLED,
}


class _Watch:
    """What a future has once somebody watches it: `wait`, `as_completed`, callbacks, event loops."""

    __slots__ = ("_untold", "callbacks", "condition", "lock", "waiters")

    def __init__(self) -> None:
        self.lock = RLock()  # entered without Python code in between: an interrupt finds it held and released, or free
        self.condition = Condition(self.lock)
        self.waiters: list[Any] = []
        self.callbacks: list[Callable[[Any], object]] = []
        self._untold: list[Any] = []

    def settle(self, future: TaskFuture[Any], state: int, value: object) -> None:
        """Called by the native side instead of setting the state itself: who holds the condition sees either all of the
        change or nothing of it."""
        self._with_lock(self._settle, future, state, value)
        self._call_back(future)

    def resume(self, future: TaskFuture[Any], state: int, value: object) -> None:
        """What `settle` has not come to, because it was interrupted (Ctrl-C, a callback that ends the program): nobody
        would look for it again. May be interrupted as well."""
        self._with_lock(self._resume, future, state, value)
        self._call_back(future)

    def _with_lock(self, step: Callable[..., None], *about: Any) -> None:
        """Ctrl-C within `wait` or `as_completed` may leave the lock held for good, by the main thread, which may enter
        it again. Any other, where no Ctrl-C arrives, goes on without it after a while."""
        if get_ident() == main_thread().ident:
            with self.lock:
                step(*about)
            return
        is_held = self.lock.acquire(timeout=LOCK_SECONDS)
        try:
            step(*about)
        finally:
            if is_held:
                self.lock.release()

    def _settle(self, future: TaskFuture[Any], state: int, value: object) -> None:
        if not future._is_settled():
            self._untold = self.waiters[::-1]
            future._become(state, value)
            self._tell_waiters(future)

    def _resume(self, future: TaskFuture[Any], state: int, value: object) -> None:
        if not future._is_settled():
            self._untold = self.waiters[::-1]
            future._become(state, value)
        if self._untold and future in self._untold[-1].finished_futures:
            del self._untold[-1]
        self._tell_waiters(future)

    def _tell_waiters(self, future: TaskFuture[Any]) -> None:
        while self._untold:
            waiter = self._untold[-1]
            if future.cancelled():
                waiter.add_cancelled(future)
            elif future.exception(0) is not None:
                waiter.add_exception(future)
            else:
                waiter.add_result(future)
            del self._untold[-1]
        if self.condition._is_owned():  # type: ignore[attr-defined]  # nobody waits in it but who has asked for it by its name
            self.condition.notify_all()

    def _call_back(self, future: TaskFuture[Any]) -> None:
        while self.callbacks:
            callback = self.callbacks[0]
            try:
                del self.callbacks[0]  # no interrupt comes between this and the call
                callback(future)
            except Exception:  # noqa: BLE001 - logged, as concurrent.futures does
                _log(future)


def _log(future: TaskFuture[Any]) -> None:
    from logging import getLogger

    getLogger("concurrent.futures").exception("exception calling callback for %r", future)


class TaskFuture(_native.Future[R], Future[R], Generic[R]):  # what both have, like result(), is the first one's
    """The handle on one task: `result()`, `exception()`, `done()`, `cancel()`, and everything else that
    `concurrent.futures.Future` offers. As an argument of another call it stands for its result.

    It can be awaited, in any event loop. Cancelling the coroutine that awaits it (`asyncio.timeout`, a TaskGroup)
    cancels the task; `asyncio.shield` prevents that. Awaiting a task that somebody else has cancelled raises
    TaskCancelled.

    Attributes:
        task_id: names the task and its queue; other processes can read the result by it. Empty while the task has not
            been sent: it waits for the results of other tasks, or, where a call must not wait, for room.
        attempts: runs begun so far, known once it is done.
        worker_pid: the process of the last run, known once it is done.
    """

    __slots__ = ()

    @property
    def status(self) -> TaskStatus:
        """How far the task is, just now."""
        self.done()
        return STATUSES[self._native_state]

    @property
    def wait_seconds(self) -> float | None:
        """How long the task was queued, once it is done."""
        return (self.start_ns - self.submit_ns) / 1e9 if self.start_ns else None

    @property
    def run_seconds(self) -> float | None:
        """How long its last run took, once it is done."""
        return (self.done_ns - self.start_ns) / 1e9 if self.done_ns else None

    @property
    def progress(self) -> float | None:
        """How far the task says it is in its present or last run, from 0 to 1 (`TaskContext.update`); None: it has not
        said, or that is not known any more."""
        return self._note()[0]

    @property
    def message(self) -> str | None:
        """What the task said last of itself, as for `progress`."""
        return self._note()[1]

    def _note(self) -> tuple[float | None, str | None]:
        from localq.client.updates import note_of

        waits = self._native_state == _native.PENDING  # for its first run, or for the next
        return (None, None) if waits else note_of(self._client, self.slot, self.generation)

    def updates(self, timeout: float | None = None) -> Updates:
        """Follow the task to its end: an iterator of TaskUpdates, for `for` and for `async for`.

            for update in future.updates():
                print(update.status, update.progress, update.message)

        The state as it is now comes first, then each new one that is seen, at last the end (success, failure or
        cancelled), which is not raised: `result()` does that. The task waits for nobody: who is slow sees the latest
        state and not each. When it runs again after a failure, progress begins anew.

        Args:
            timeout: seconds for all of it, from this call on; None: as long as it takes.

        Raises:
            TimeoutError: from the iterator, when time ran out; the task goes on.
            ConfigError: a timeout below zero.
        """
        from localq.client.updates import follow_future

        return follow_future(self, timeout)

    def logs(self, stream: str | None = None) -> str:
        """What the task has written so far to `sys.stdout` and `sys.stderr`, logging and warnings included: whole
        lines, of all its runs. Complete once the task is done.

        Args:
            stream: "stdout" or "stderr" for what went there; None for both, in order.

        The last 1 MiB or so is kept; a first line says how much was left out. Empty where somebody else owns the queue
        (`LocalQueue.attach`), or where it has output="inherit".

        Raises:
            ConfigError: there is no such stream.
        """
        if stream not in (None, "stdout", "stderr"):
            raise ConfigError(f'stream must be "stdout", "stderr" or None; got {stream!r}')
        self._hear()
        kept: TaskOutput | None = self._output
        return "" if kept is None else kept.text(stream)

    def add_done_callback(self, fn: Callable[[TaskFuture[R]], object]) -> None:
        """Call `fn(self)` when the task is done; at once if it is. In whichever thread notices."""
        watch = self._watched()
        with watch.lock:
            if not self._is_settled():
                watch.callbacks.append(fn)
                return
        try:
            fn(self)
        except Exception:  # noqa: BLE001 - as above
            _log(self)

    def __await__(self) -> Generator[Any, None, R]:
        if not self.done():
            from localq.client.aio import until_done

            yield from until_done(self, self._client)
        return self.result()

    def __repr__(self) -> str:
        status = self.status
        return f"<TaskFuture {self.task_id or '(not sent)'} {status}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "cannot pickle 'TaskFuture' object: it stays in its process; among the arguments of a call it may be one"
            " itself, or stand in a list, a tuple or the values of a dict, and its result goes in its place"
        )

    def _repr_html_(self) -> str:
        """For notebooks. Does not wait."""
        from localq.markup import seconds, shown, table

        status = self.status
        error = self.exception(0) if status is TaskStatus.FAILURE else None
        return table(
            f"TaskFuture {self.task_id}",
            (
                ("status", status),
                ("progress", None if self.progress is None else f"{self.progress:.0%}"),
                ("message", self.message),
                ("result", shown(self.result(0)) if status is TaskStatus.SUCCESS and error is None else None),
                ("error", None if error is None else shown(error)),
                ("waited", seconds(self.wait_seconds)),
                ("ran", seconds(self.run_seconds)),
                ("attempts", self.attempts if self.attempts > 1 else None),
                ("worker", self.worker_pid or None),
            ),
        )

    # What concurrent.futures reaches for by name. There they are attributes, and for type checkers here, too.

    if not TYPE_CHECKING:

        @property
        def _state(self):
            return _STATES[self._native_state]

        @property
        def _condition(self):
            self._run_here()  # `wait` and `as_completed` begin so, and could wait for ever for what no worker takes
            return self._watched().condition

        @property
        def _waiters(self):
            return self._watched().waiters

        @property
        def _done_callbacks(self):
            return self._watched().callbacks

    def _is_settled(self) -> bool:
        return self._native_state not in (_native.PENDING, _native.RUNNING)

    def _watched(self) -> _Watch:
        """The watch, made when first needed. From then on the client finishes this future without being asked."""
        watch: _Watch | None = self._watch
        if watch is None:
            watch = self._adopt_watch(_Watch())
        return watch

    def set_running_or_notify_cancel(self) -> bool:
        raise RuntimeError("a TaskFuture is set by its worker, not by hand")

    def set_result(self, result: object) -> None:
        raise RuntimeError("a TaskFuture is set by its worker, not by hand")

    def set_exception(self, exception: BaseException | None) -> None:
        raise RuntimeError("a TaskFuture is set by its worker, not by hand")
