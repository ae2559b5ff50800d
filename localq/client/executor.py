# SPDX-License-Identifier: MIT
"""`LocalExecutor`: a `concurrent.futures.Executor` on the workers of a queue, for whoever has a `ProcessPoolExecutor`.

Used by people and by libraries that take an executor. What the standard library promises of one holds here; where this
one does better (a dead worker costs one task, functions of `__main__`, lambdas), nobody has to know. Calls and maps are
`QueueExecutor`'s; here is that it has a queue of its own.
"""

from __future__ import annotations

from _thread import start_new_thread
from operator import index
from sys import modules

from localq.client.queue import LocalQueue
from localq.client.queue_executor import QueueExecutor
from localq.config import from_environment
from localq.errors import SerializationError
from localq.pool.authkey import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import BaseContext
    from types import TracebackType
    from typing import Any

__all__ = ["LocalExecutor"]


class LocalExecutor(QueueExecutor):
    """Takes the place of `concurrent.futures.ProcessPoolExecutor`; everything known of that holds, and:

    - Any function can be submitted, those of `__main__` and lambdas too, without `if __name__ == "__main__"`.
    - A worker that dies costs the task that it ran, whose future has a `WorkerCrashed` (a `BrokenProcessPool`); all
      others, and the executor, go on.
    - Ctrl-C in a `with` block ends it at once, and leaves no process.

        with LocalExecutor() as executor:
            for thumb in executor.map(resize, paths):
                ...

    Args:
        max_workers: worker processes. None: the processors that this process may really use.
        mp_context: a context of `multiprocessing`. One for "fork" has the workers inherit the globals of this process;
            all others, and None, start them from a clean Python.
        initializer, initargs: called in each worker before its first task. If it raises, what is pending fails with
            `InitializerFailed` (a `BrokenProcessPool`), and so does every later `submit`. What can't be sent, such as
            locks of `multiprocessing`, is inherited: without `mp_context` the workers are forked then.
        max_tasks_per_child: replace a worker after so many tasks. None: never.
        queue_options: any other argument of `LocalQueue` but `workers`: `max_retries=`, `memory=`, `preload=`, ...
            `output` is "plain" here: what tasks print looks as it does there. Variables of the environment count as
            they do for `LocalQueue`; LOCALQ_WORKERS stands for `max_workers`.

    Raises:
        ValueError: a number is out of range, or `max_tasks_per_child` meets a "fork" context, as in the standard
            library (without `mp_context`, `start_method="fork"` goes with it).
        TypeError: an argument is of the wrong kind.
        SerializationError: the initializer can't be sent, and `mp_context` is not one for "fork".
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        **queue_options: Any,
    ) -> None:
        if max_workers is not None:
            max_workers = index(max_workers)
            if max_workers <= 0:
                raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            _check_tasks_per_child(max_tasks_per_child)
        start_method = _start_method(mp_context)
        if start_method == "fork" and max_tasks_per_child is not None:
            raise ValueError(
                "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; supply a different"
                " mp_context, or start_method='fork' without one"
            )
        options = {"output": from_environment(()).get("output", "plain"), **queue_options}
        options |= {"initializer": initializer, "initargs": tuple(initargs)}
        if max_workers is not None:  # else a variable of the environment may say it
            options["workers"] = max_workers
        if max_tasks_per_child is not None:
            options["max_tasks_per_child"] = max_tasks_per_child
        if start_method is not None:
            options.setdefault("start_method", start_method)
        try:
            queue = LocalQueue(**_with_authkey(options))
        except SerializationError:
            if "start_method" in options:
                raise
            queue = LocalQueue(start_method="fork", **options)
        self._queue: LocalQueue | None = queue
        super().__init__(queue._executor_view(), queue.config.workers)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the workers when the rest is done. May be called again.

        Args:
            wait: until every task is done and the workers have ended. False: that happens in the background.
            cancel_futures: cancel what has not started.
        """
        queue, self._view = self._queue, None
        if queue is None:
            return
        if cancel_futures:
            _cancel_pending(queue)
        if wait:
            queue.close()
            self._queue = None  # and with it its memory, as soon as nobody has a future of it
        else:
            _close_later(queue)

    def terminate_workers(self) -> None:
        """End the workers at once, whatever they do. What has not started is cancelled, what runs fails with
        `WorkersEnded` (a `BrokenProcessPool`), and the executor takes no more calls."""
        self.kill_workers()

    def kill_workers(self) -> None:
        """The same as `terminate_workers`: workers let go of all they hold however they end."""
        queue, self._queue, self._view = self._queue, None, None
        if queue is not None:
            _cancel_pending(queue)
            queue._connection.end(0.0, make_error=_ended)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for everything; after Ctrl-C for nothing."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.kill_workers()
        else:
            self.shutdown()

    def __del__(self) -> None:
        """Dropped without `shutdown`: what it took is done, then its workers end."""
        queue = getattr(self, "_queue", None)
        if queue is not None and self._view is not None and queue._client.waiting:
            _close_later(queue)


def _cancel_pending(queue: LocalQueue) -> None:
    for future in queue._client.pending_futures():
        future.cancel()


def _close_later(queue: LocalQueue) -> None:
    try:
        # Not by `threading`, whose own locks may be held where the garbage collector runs `__del__`.
        start_new_thread(queue.close, ())
    except RuntimeError:  # the interpreter ends, and has seen to it
        pass


def _start_method(context: BaseContext | None) -> str | None:
    """Of the queue, None: whichever does."""
    if context is None:
        return None
    try:
        asked = context.get_start_method(allow_none=False)
    except AttributeError:
        raise TypeError(
            f'mp_context must be a context such as multiprocessing.get_context("spawn"); got {context!r}'
        ) from None
    return "fork" if asked == "fork" else "clean"


def _with_authkey(options: dict[str, Any]) -> dict[str, Any]:
    """The same for workers that start clean, where this program uses multiprocessing: see `localq.pool.authkey`."""
    process = modules.get("multiprocessing.process")
    if process is None or options.get("start_method") == "fork":
        return options
    key = bytes(process.current_process().authkey)
    return options | {"initializer": enter, "initargs": (key, options["initializer"], *options["initargs"])}


def _check_tasks_per_child(value: object) -> None:
    if not isinstance(value, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if value <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")


def _ended(task_id: str) -> Exception:
    from localq.errors import WorkersEnded  # not before it is made: see `localq.pool_errors`

    return WorkersEnded(task_id=task_id, attempts=1)
