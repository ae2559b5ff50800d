# SPDX-License-Identifier: MIT
"""`QueueExecutor`: a `concurrent.futures.Executor` on the workers of a queue that lives on.

Made by `LocalQueue.executor`, and what `LocalExecutor` is beside owning its queue. What the standard library promises
of executors holds; the work is the queue's, and here is nothing but the other interface.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import CancelledError, Executor
from itertools import islice
from operator import call
from threading import main_thread

from localq.errors import QueueClosed, SerializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, ParamSpec, TypeVar

    from localq._native import Future
    from localq.client.future import TaskFuture
    from localq.client.queue import QueueView

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = ["QueueExecutor"]


class QueueExecutor(Executor):
    """Submits to a queue; what its `shutdown` waits for, or cancels, is what was submitted by way of it."""

    def __init__(self, view: QueueView, workers: int) -> None:
        self._view: QueueView | None = view  # None after shutdown
        self._max_workers = workers  # hosts such as Dask look for it under this name
        self._left: list[Future[Any]] = []  # after shutdown: what was not done then

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        """Have `fn(*args, **kwargs)` called in a worker, and return its future at once.

        Raises:
            RuntimeError: after `shutdown`, after the queue was closed, or in a fork of the process that opened it.
            BrokenProcessPool: no worker can be started: the initializer raises, or the supervisor is lost for good.
            MemoryError: the arguments are larger than `memory`.
        """
        view = self._view
        if view is None:
            raise RuntimeError("cannot schedule new futures after shutdown")
        called: object = fn
        if not callable(called):
            # Its future will say that this can't be called.
            return self.submit(call, called, *args, **kwargs)  # type: ignore[arg-type]
        try:
            future: TaskFuture[R] = view.delay(fn, *args, **kwargs)
        except QueueClosed as closed:
            if main_thread().is_alive():
                raise
            raise RuntimeError("cannot schedule new futures after interpreter shutdown") from closed
        except SerializationError:  # of the function: as an argument it fails its future instead of this call
            return self.submit(call, called, *args, **kwargs)  # type: ignore[arg-type]
        return future

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]:
        """`fn` over the items of the iterables in step, like the built-in `map`, in the workers; results in order.

        Args:
            timeout: seconds for each result to be there, counted from this call.
            chunksize: items that make up one task.
            buffersize: tasks submitted whose results have not been asked for yet; the iterables may be endless then.
                None: all are submitted before this returns.

        Returns:
            An iterator. When it raises, or is closed or dropped half-way, tasks that have not started are cancelled.
            With a buffersize the executor lives as long as it does.

        Raises:
            TimeoutError: from the iterator, when time ran out.
            ValueError, TypeError: chunksize or buffersize is not a number of 1 or more.
            RuntimeError, BrokenProcessPool: as `submit`.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else time.monotonic() + timeout
        calls: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        called: Callable[..., Any] = fn
        if chunksize > 1:
            called, calls = _each(fn), _chunks(calls, chunksize)
        # By way of `submit`, so that it may be replaced: progress bars do that.
        ahead = deque(self.submit(called, *args) for args in islice(calls, buffersize))
        more = (self.submit(called, *args) for args in calls)
        results = _results(ahead, more, deadline)
        return _flat(results) if chunksize > 1 else results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. The queue is not closed. May be called again.

        Args:
            wait: until every task that was submitted here is done.
            cancel_futures: cancel those that have not started.
        """
        view, self._view = self._view, None
        if view is not None:
            self._left = view._pending()
        if cancel_futures:
            for future in self._left:
                future.cancel()
        if wait:
            for future in self._left:
                _wait(future)
            self._left = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for everything; after Ctrl-C for nothing."""
        is_interrupt = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.shutdown(wait=not is_interrupt, cancel_futures=is_interrupt)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._max_workers} workers{', shut down' if self._view is None else ''}>"


def _each(fn: Callable[..., R]) -> Callable[..., list[R]]:
    """`fn` for a chunk of calls. One function for all chunks: it is sent once."""

    def run_chunk(*calls: tuple[Any, ...]) -> list[R]:
        return [fn(*args) for args in calls]

    return run_chunk


def _chunks(calls: Iterator[tuple[Any, ...]], size: int) -> Iterator[tuple[Any, ...]]:
    while chunk := tuple(islice(calls, size)):
        yield chunk


def _results(ahead: deque[TaskFuture[Any]], more: Iterator[TaskFuture[Any]], deadline: float | None) -> Iterator[Any]:
    """The results of `ahead` in order; each makes room for one of `more`."""
    try:
        while ahead:
            ahead.extend(islice(more, 1))
            yield _result_or_cancel(ahead.popleft(), deadline)
    finally:
        for future in ahead:
            future.cancel()


def _result_or_cancel(future: TaskFuture[Any], deadline: float | None) -> Any:
    try:
        return future.result(None if deadline is None else deadline - time.monotonic())
    finally:
        future.cancel()  # which does nothing unless time ran out
        del future  # an exception's traceback names this frame: do not keep the future alive through it


def _flat(chunks: Iterator[list[Any]]) -> Iterator[Any]:
    """The items of the chunks, none of which is kept once it was handed over."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


def _wait(future: Future[Any]) -> None:
    try:
        future.exception()
    except CancelledError:
        pass
