# SPDX-License-Identifier: MIT
"""`LocalQueue`: run Python functions in parallel on this machine.

The client's half: it makes the shared memory, starts the supervisor, and submits. The work itself is done by the floors
below; here is what a user sees.
"""

from __future__ import annotations

import os

from localq import _native
from localq.client.options import check_seconds, check_whole, make_options
from localq.config import QueueConfig, from_environment, is_name
from localq.errors import ConfigError
from localq.machine import usable_cpus
from localq.pool.doorway import open_doorway
from localq.pool.process import Starter
from localq.pool.processes import started_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
    from datetime import datetime
    from types import TracebackType
    from typing import Any, Literal, ParamSpec, Self, TypeVar, overload

    import numpy as np
    from numpy.typing import ArrayLike, DTypeLike

    from localq._native import Reading
    from localq.client.callbacks import Callback, Callbacks
    from localq.client.connection import Connection
    from localq.client.future import TaskFuture
    from localq.client.mapping import MapResults
    from localq.client.ownership import Ownership
    from localq.client.queue_executor import QueueExecutor
    from localq.client.updates import Updates
    from localq.model import Priority, TaskResult, TaskStatus
    from localq.monitor.interval import About
    from localq.monitor.progress import ProgressCallback
    from localq.monitor.reader import SpaceReader
    from localq.monitor.snapshot import Snapshot
    from localq.monitor.trace import Trace
    from localq.pool.doorway import Doorway
    from localq.pool.process import SupervisorProcess
    from localq.shared import ArrayPlace, SharedRef

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = ["LocalQueue", "QueueView"]


def _filled_from_environment(init: Callable[P, None]) -> Callable[P, None]:
    """`LocalQueue.__init__`, told what variables of the environment say of arguments that are not given. A wrapper, so
    that it can be seen what is given, and yet the defaults stand in the signature."""

    def __init__(self: Any, *args: Any, **given: Any) -> None:
        taken = ("workers", *given) if args else given
        init(self, *args, **given, **from_environment(taken))

    __init__.__wrapped__ = init  # type: ignore[attr-defined]  # where `help` and `inspect` find the signature
    __init__.__qualname__ = init.__qualname__
    __init__.__doc__ = init.__doc__
    return __init__  # type: ignore[return-value]


class QueueView:
    """The calls of a queue with one set of options; made by `LocalQueue.options`. All keyword arguments go to the
    function."""

    def __init__(
        self,
        queue: LocalQueue,
        options: _native.Options,
        into: ArrayPlace | None = None,
        callbacks: Callbacks | None = None,
    ) -> None:
        self._connection = queue._connection
        self._workers = queue.config.workers
        self._memory = queue.config.memory
        self._into = into  # where results go, if not here
        self._callbacks = callbacks
        self._is_limited = bool(options.limit_ms or options.default_limit_ms)
        self._submitter = _native.Submitter(queue._client, options, queue._connection)
        # Bound once: a Python frame less for each call.
        self.delay = self._submitter.delay  # type: ignore[method-assign]
        if callbacks is not None:
            self.delay = callbacks.delay_with(self._submitter, queue._connection)  # type: ignore[method-assign]

    def _pending(self) -> list[_native.Future[Any]]:
        """What was submitted with these very options, and is not done."""
        futures, options = self._connection.client.pending_futures(), self._submitter.options
        return [future for future in futures if future._options is options and not future.done()]

    if TYPE_CHECKING:

        @overload  # a future or a SharedRef stands for its value: checkers can follow that for two arguments
        def delay(
            self,
            fn: Callable[..., Coroutine[Any, Any, R]],
            a: TaskFuture[Any] | SharedRef[Any],
            /,
            *args: Any,
            **kwargs: Any,
        ) -> TaskFuture[R]: ...
        @overload
        def delay(
            self, fn: Callable[..., R], a: TaskFuture[Any] | SharedRef[Any], /, *args: Any, **kwargs: Any
        ) -> TaskFuture[R]: ...
        @overload
        def delay(
            self,
            fn: Callable[..., Coroutine[Any, Any, R]],
            a: Any,
            b: TaskFuture[Any] | SharedRef[Any],
            /,
            *args: Any,
            **kwargs: Any,
        ) -> TaskFuture[R]: ...
        @overload
        def delay(
            self, fn: Callable[..., R], a: Any, b: TaskFuture[Any] | SharedRef[Any], /, *args: Any, **kwargs: Any
        ) -> TaskFuture[R]: ...
        @overload
        def delay(
            self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
        ) -> TaskFuture[R]: ...
        @overload
        def delay(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]: ...
        @overload
        def delay(self, fn: str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]: ...

    def delay(self, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]:
        """Submit `fn(*args, **kwargs)`; see `LocalQueue.delay`."""
        future: TaskFuture[Any] = self._submitter.delay(fn, *args, **kwargs)
        return future

    def map(
        self,
        fn: Callable[..., R] | str,
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        chunksize: int | None = None,
        ordered: bool = True,
        timeout: float | None = None,
        progress: bool | ProgressCallback = False,
        return_exceptions: bool = False,
    ) -> MapResults[R]:
        """`fn` over the items of the iterables; see `LocalQueue.map`."""
        if not iterables:
            raise ConfigError("map() needs at least one iterable")
        return self._map(fn, iterables, len(iterables) > 1, chunksize, ordered, timeout, progress, return_exceptions)

    def starmap(
        self,
        fn: Callable[..., R] | str,
        /,
        iterable: Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]],
        *,
        chunksize: int | None = None,
        ordered: bool = True,
        timeout: float | None = None,
        progress: bool | ProgressCallback = False,
        return_exceptions: bool = False,
    ) -> MapResults[R]:
        """`fn(*item)` for each item; see `LocalQueue.starmap`."""
        return self._map(fn, (iterable,), True, chunksize, ordered, timeout, progress, return_exceptions)

    def _map(
        self,
        fn: Callable[..., R] | str,
        iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...],
        star: bool,
        chunksize: int | None,
        ordered: bool,
        timeout: float | None,
        progress: bool | ProgressCallback,
        return_exceptions: bool,
    ) -> MapResults[R]:
        from localq.client.mapping import MapResults, items_of

        check_whole("chunksize", chunksize, 1)
        check_seconds("timeout", timeout)
        if not isinstance(progress, bool) and not callable(progress):
            raise ConfigError(f"progress must be True, False or a callable(done, failed, total); got {progress!r}")
        if self._callbacks is not None:
            raise ConfigError(
                "on_success and on_failure are for single calls, delay(): a map gives its results one by one, and with"
                " return_exceptions=True the errors as well"
            )
        client = self._connection.client
        client.check_open()
        items, total, feed = items_of(iterables)
        shown = None
        if progress is not False:
            from localq.monitor.progress import MapProgress

            shown = MapProgress(total, _name_of(fn), progress)
        if self._into is not None:
            from functools import partial

            from localq.client.into import IntoRows, RowResults, with_rows

            entry = self._connection.resolve(IntoRows(_callable(fn), self._into))
            items, feed, star = with_rows(self._into.array, items, feed, star)
            make: Any = partial(RowResults, out=self._into.array)
        else:
            entry, make = self._connection.resolve(fn), MapResults
        made: MapResults[R] = self._results(
            make,
            entry,
            items,
            feed,
            total=total,
            chunksize=chunksize,
            star=star,
            ordered=ordered,
            timeout=timeout,
            return_exceptions=return_exceptions,
            progress=shown,
        )
        return made

    def _results(
        self, make: Any, entry: Any, items: Any, feed: Any, *, total: int | None, chunksize: int | None, **how: Any
    ) -> Any:
        """`make`, a kind of MapResults, of items that are sent with the options of this view, `total` of them."""
        from localq.client.mapping import ChunkSizes

        sizes = ChunkSizes(total, self._workers, 1 if self._is_limited else chunksize, self._memory)
        return make(
            self._connection.client, self._submitter, entry, items, feed=feed, sizes=sizes, workers=self._workers, **how
        )


class LocalQueue:
    """Runs Python functions in parallel in worker processes on this machine. No broker, nothing to configure.

        with LocalQueue() as q:
            future = q.delay(resize, "a.jpg", width=640)
            for thumb in q.map(resize, paths):
                ...

    Any function can be submitted: importable ones travel by name, those of `__main__`, lambdas, closures and notebook
    cells by value, so no `if __name__ == "__main__"` is needed. Coroutine functions run too.

    For each argument but `initializer` and `initargs` there is a variable of the environment, which counts where the
    argument is not given: LOCALQ_WORKERS=4, LOCALQ_MEMORY=2GiB, LOCALQ_QUEUES=default,mail (lists with commas),
    LOCALQ_RESULT_TTL=none for None. Where a queue of the name in LOCALQ_NAME runs, this one gets a number behind it.

    Args:
        workers: worker processes. None: the processors that this process may really use (affinity and cgroup quota).
        name: by which others attach, and shown by `ps`; letters, digits, `_`, `.` and `-`; no two running queues of a
            user have the same. None: the script's name and the pid.
        queues: names of the queues, 1 to 16. `options(queue=...)` chooses one; the first is the default. Workers serve
            all.
        capacity: tasks that may be on their way at once. Beyond that, `delay` waits.
        memory: bytes (or "512MB", "2GiB") for arguments and results that do not fit into a slot. Sparse: what is not
            used costs nothing. None: half of the memory that this process may use.
        result_cache_size: results that stay readable by task id after they were consumed; the least recently used go
            first.
        result_ttl: seconds that such a result is kept at most. None: until it is pushed out.
        start_method: "clean" executes a fresh Python for the supervisor; "fork" forks it from this process, so that
            workers inherit its globals.
        preload: modules that the supervisor imports before it forks workers.
        initializer, initargs: called in each worker before its first task.
        max_tasks_per_child: replace a worker after so many tasks (chunks of a map count as one). Its successor waits
            already: with this or the next argument a queue keeps up to four spares (one, where there is an
            `initializer` or `max_memory_per_child`), in which the initializer has run, and which have imported the
            modules of the tasks so far. They count as no workers, and take no tasks until one leaves.
        max_memory_per_child: replace a worker whose own memory has grown beyond that (bytes, or a text as for
            `memory`).
        max_retries: run a task again so many times, at most 15, after it raised.
        max_crashes: the same after its worker died, or was killed because the task did not stop. None: as
            `max_retries`.
        task_timeout: seconds that one run of a task may last: then TaskTimeout is raised in it. None: no limit.
        concurrency: async tasks that one worker has on its way at a time, on one event loop. A function that is none
            stops them all while it runs. If the worker dies, all of them have crashed.
        grace_period: seconds that a task has for its own ending after it was cancelled or ran too long, before its
            worker is killed (and replaced).
        serialization: "msgpack" (what MessagePack carries exactly, pickle for the rest), "pickle" or "json".
        threads_per_worker: limit for BLAS and OpenMP threads, set before anything is imported; variables that are set
            already stay. None: leave the environment alone.
        drain_timeout: seconds that tasks have to end when this process or the supervisor is told to terminate
            (SIGTERM). This process handles that signal only while nobody else does.
        output: what becomes of what tasks write to `sys.stdout` and `sys.stderr`, logging and warnings among it.
            "prefix": whole lines, `name | text`, to this process's `sys.stdout` and `sys.stderr`; "plain": without the
            name; "off": only kept for `TaskFuture.logs`; "inherit": not touched, workers write to the descriptors that
            they inherited. What C code and other programs write goes there in any case. Logging follows what
            `logging.basicConfig` had set up here when the queue was opened, else only warnings and worse are shown.
            The same warning from several workers is shown once; in a notebook lines that repeat are counted. While this
            process reads nothing for more than 2 seconds (stopped, or in C code that keeps the GIL) lines may be lost,
            and it says how many.
        arguments: how tasks see the buffers of their arguments (arrays, columns of frames, bytearrays in them ...),
            which are not copied for them. "copy-on-write": writing works, costs the pages that are touched, and changes
            nobody else's data. "readonly": writing is refused (but in buffers of less than 8 KiB,
            which are copies). "shared": arrays of `empty`, `zeros` and `asarray` are written for everybody; all others
            are copy-on-write.
        results: "views": arrays in results look at the queue's memory, copy-on-write, and keep their part of it as long
            as they live, also after the queue was closed; those beyond an eighth of it, or beyond some 1,500, are
            copied. "copies": they are copied out of it.
        task_modules: modules that each worker imports when it starts, with the current directory on their path: their
            tasks can be called by name, and a reload (`localq serve`, SIGHUP) takes them up as they are then. What
            `preload` or, with start_method="fork", this process has imported is not imported again.

    Raises:
        ConfigError: an argument is not allowed. Nothing was started.
        SerializationError: the initializer can't travel.
        OSError: the system refuses memory or a process.
    """

    @_filled_from_environment
    def __init__(
        self,
        workers: int | None = None,
        *,
        name: str | None = None,
        queues: Iterable[str] = ("default",),
        capacity: int = 65536,
        memory: int | str | None = None,
        result_cache_size: int = 10_000,
        result_ttl: float | None = 3600.0,
        start_method: str = "clean",
        preload: Iterable[str] = (),
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | str | None = None,
        max_retries: int = 0,
        serialization: str = "msgpack",
        threads_per_worker: int | None = 1,
        drain_timeout: float = 5.0,
        max_crashes: int | None = None,
        task_timeout: float | None = None,
        grace_period: float = 2.0,
        concurrency: int = 1,
        output: str = "prefix",
        arguments: str = "copy-on-write",
        results: str = "views",
        task_modules: Iterable[str] = (),
    ) -> None:
        config = QueueConfig.check(
            workers=workers,
            name=name,
            queues=queues,
            capacity=capacity,
            memory=memory,
            result_cache_size=result_cache_size,
            result_ttl=result_ttl,
            start_method=start_method,
            preload=preload,
            initializer=initializer,
            initargs=initargs,
            max_tasks_per_child=max_tasks_per_child,
            max_memory_per_child=max_memory_per_child,
            max_retries=max_retries,
            serialization=serialization,
            threads_per_worker=threads_per_worker,
            drain_timeout=drain_timeout,
            max_crashes=max_crashes,
            task_timeout=task_timeout,
            grace_period=grace_period,
            concurrency=concurrency,
            output=output,
            arguments=arguments,
            results=results,
            task_modules=task_modules,
        )
        self._space = space = _native.Space.create(
            capacity=config.capacity,
            result_cache_size=config.result_cache_size,
            queues=len(config.queues),
            cpus=usable_cpus(),
            memory=config.memory,
            ttl_ms=0 if config.result_ttl is None else max(1, int(config.result_ttl * 1000)),
            identity=int.from_bytes(os.urandom(8), "little"),
        )
        space.set_workers(config.workers)
        door = open_doorway(config.name, name is not None)
        try:
            if door is not None:
                config = config.replace(name=door.name)
            connection = _own(space, config, door)
        except BaseException:
            if door is not None:
                door.close()
            raise
        self._take(config, space, connection)

    def _take(self, config: QueueConfig, space: _native.Space, connection: Connection) -> None:
        self.config = config
        self._space = space
        self._connection = connection
        self._client = connection.client
        self._reader: SpaceReader | None = None  # once somebody looks
        self._options = make_options(config)
        self._view = QueueView(self, self._options)
        self.delay = self._view.delay  # type: ignore[method-assign]  # bound once: a Python frame less for each call

    @classmethod
    def attach(cls, name: str, *, timeout: float = 5.0) -> Self:
        """Become a client of a queue that another process of yours runs: submit to it, read and cancel by task id.

            q = LocalQueue.attach("thumbnails")      # the other one said LocalQueue(name="thumbnails")

        Functions of modules must be importable by the workers over there; all others travel by value. `close` (or the
        end of a `with` block) leaves the queue, which goes on. Whoever owns it waits at its own `close` for work of
        attached clients that is queued by then.

        Args:
            name: of the queue.
            timeout: seconds until its supervisor must have answered.

        Raises:
            AttachError: no queue of that name runs, it is another user's, or it does not answer.
            LayoutMismatch, SpaceCorrupt: it runs another version of localq.
        """
        from localq.client.attachment import attach
        from localq.client.connection import Connection

        check_seconds("timeout", timeout)
        reached, config, hold = attach(_check_name(name), timeout)
        try:
            connection = Connection(reached.space, hold.label, config, hold, is_owner=False)
        except BaseException:
            hold.end(0.0)
            raise
        self = cls.__new__(cls)
        self._take(config, reached.space, connection)
        return self

    @classmethod
    def current(cls) -> LocalQueue:
        """The queue that runs this task, for submitting further tasks to it.

            def index(folder):
                q = LocalQueue.current()
                return sum(q.map(count_words, folder.iterdir()))

        The same as a queue that a task was given as an argument, or that its function refers to. Who waits for a task
        that no worker has begun yet runs it in its own process, so tasks may wait for tasks to any depth.

        Raises:
            QueueClosed: this process is no worker of a queue.
        """
        found = _queue_here(None)
        if found is None:
            from localq.errors import QueueClosed

            raise QueueClosed("this process is no worker: LocalQueue.current() is for tasks")
        return found

    def __reduce__(self) -> tuple[Callable[[int, str], LocalQueue], tuple[int, str]]:
        return _unpickled, (self._space.identity, self.config.name)

    # submitting

    if TYPE_CHECKING:

        @overload  # a future or a SharedRef stands for its value: checkers can follow that for two arguments
        def delay(
            self,
            fn: Callable[..., Coroutine[Any, Any, R]],
            a: TaskFuture[Any] | SharedRef[Any],
            /,
            *args: Any,
            **kwargs: Any,
        ) -> TaskFuture[R]: ...
        @overload
        def delay(
            self, fn: Callable[..., R], a: TaskFuture[Any] | SharedRef[Any], /, *args: Any, **kwargs: Any
        ) -> TaskFuture[R]: ...
        @overload
        def delay(
            self,
            fn: Callable[..., Coroutine[Any, Any, R]],
            a: Any,
            b: TaskFuture[Any] | SharedRef[Any],
            /,
            *args: Any,
            **kwargs: Any,
        ) -> TaskFuture[R]: ...
        @overload
        def delay(
            self, fn: Callable[..., R], a: Any, b: TaskFuture[Any] | SharedRef[Any], /, *args: Any, **kwargs: Any
        ) -> TaskFuture[R]: ...
        @overload
        def delay(
            self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
        ) -> TaskFuture[R]: ...
        @overload
        def delay(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]: ...
        @overload
        def delay(self, fn: str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]: ...

    def delay(self, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]:
        """Submit `fn(*args, **kwargs)` and return its future at once.

        Args:
            fn: any callable, the name of a registered task (see `task`), or "module:function", which only the workers
                have to find.
            args, kwargs: taken as they are now, whatever becomes of them before the task runs. A TaskFuture among them,
                or in a list, a tuple or the values of a dict in them at any depth, stands for its result: the task
                is sent once all of these are done (they may be another queue's), and no worker waits for them. If
                one fails, so does this task, with that same exception; if one is cancelled, so is this task.

        Waits only while the queue is full; `options(full_timeout=...)` bounds that. On the thread of a running event
        loop it never waits: the call is kept in this process and sent as room comes. An argument that can't be sent
        fails the task, not this call: its future has a SerializationError that names the part to blame.

        Raises:
            QueueClosed: the queue was closed, or this process was forked from the one that opened it.
            QueueFull: no room within the `full_timeout` of `options`.
            ConfigError: `fn` is not callable.
            MemoryError: the arguments are larger than `memory`.
        """
        return self._view.delay(fn, *args, **kwargs)

    def options(
        self,
        *,
        priority: Priority | int | str | None = None,
        queue: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        max_crashes: int | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        retry_delay: float | None = None,
        ttl: float | None = None,
        countdown: float | None = None,
        eta: datetime | float | None = None,
        full_timeout: float | None = None,
        metadata: object = None,
        arguments: str | None = None,
        results: str | None = None,
        out: np.ndarray[Any, Any] | None = None,
        on_success: Callback | None = None,
        on_failure: Callback | None = None,
    ) -> QueueView:
        """The same calls with other options: `q.options(priority="high", timeout=5).delay(fn, x)`.

        Args:
            priority: CRITICAL, HIGH, NORMAL or LOW, also as a number from 0 or in lower case. Strict, except that every
                64th time a worker looks at a lower one first, so that nothing starves.
            queue: one of the queue's names.
            timeout: seconds that one run of the task may last; then TaskTimeout is raised in it, and a worker that is
                not done with it after the queue's `grace_period` is killed. Items of a map then travel one by one.
            max_retries: instead of the queue's: run it again so many times after it raised (or took too long).
            max_crashes: the same after its worker died, or had to be killed. None: as `max_retries`.
            retry_on: exception types after which it runs again; None: any.
            retry_delay: seconds before the first time it runs again after it raised; they double each time, up to a
                minute, and up to half of them, by chance, is left out.
            ttl: seconds within which it must have started, or it is dropped: its future has TaskExpired.
            countdown: seconds from the call on before which it does not start.
            eta: the same as a datetime, or in seconds since the epoch.
            full_timeout: seconds that a call waits at most while the queue is full; 0: not at all; None: as long as it
                takes.
            metadata: anything that can be sent; the task reads it as `current_task().metadata`.
            arguments, results: instead of the queue's; see `LocalQueue`.
            out: an array of `empty`, `zeros` or `asarray`, or a contiguous part of one. What the function returns is
                written into it by the worker, converted and broadcast as `numpy.copyto` does; the future's result looks
                at the same memory, copy-on-write. `map` writes the result of item i into `out[i]` and yields `out[i]`.
            on_success, on_failure: what shall happen when a call is done (of `delay`; a `map` refuses them); nothing if
                it was cancelled. A function `f(result: TaskResult)` is called in this process, where callbacks of
                futures are, and what it raises is logged. A `@task`, or the name of one that the workers know, runs
                next, with the queue and the priority of this call: `on_success` with what the call returned as its
                argument, `on_failure` with `(task_id, error)`. The worker submits it before anybody hears of the end,
                so it runs also when this process is gone; if the worker dies right then, it runs though the call has
                crashed, or twice. What no worker lives to tell (a crash, an expired `ttl`) is submitted by this
                process, if that is still there and has not closed the queue. If it can't be submitted, that is logged
                and the call is none the worse.

        Raises:
            ConfigError: an option is not allowed.
        """
        place = destination = None
        if out is not None:
            from localq.client.storage import place_of
            from localq.shared import Destination

            place = place_of(self._space, self._space.identity, out)
            destination = Destination(place._name, place)
        callbacks = None
        if on_success is not None or on_failure is not None:
            from localq.client.callbacks import check_callbacks

            callbacks = check_callbacks(self.config, on_success, on_failure, queue, priority)
        made = make_options(
            self.config,
            priority=priority,
            queue=queue,
            timeout=timeout,
            max_retries=max_retries,
            max_crashes=max_crashes,
            retry_on=retry_on,
            retry_delay=retry_delay,
            ttl=ttl,
            countdown=countdown,
            eta=eta,
            full_timeout=full_timeout,
            metadata=metadata,
            arguments=arguments,
            results=results,
            out=destination,
            next_tasks=None if callbacks is None else callbacks.next_tasks,
        )
        return QueueView(self, made, place, callbacks)

    def submit_task(
        self,
        fn: Callable[..., R] | str,
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        priority: Priority | int | str | None = None,
        timeout: float | None = None,
    ) -> TaskResult[R]:
        """Submit, wait, and return what came of it as data. Never raises the task's own error.

        Args:
            timeout: seconds to wait for the result; None: as long as it takes.

        Raises:
            TimeoutError: it is not done by then; the task goes on.
            QueueClosed, ConfigError, MemoryError: as `delay`.
        """
        from localq.client.reading import result_of
        from localq.errors import TaskCancelled

        check_seconds("timeout", timeout)
        submitter = self._view if priority is None else self.options(priority=priority)
        future: TaskFuture[R] = submitter._submitter.apply(fn, tuple(args), dict(kwargs or {}))
        try:
            error = future.exception(timeout)
        except TaskCancelled as cancelled:
            error = cancelled
        return result_of(future, error)

    def map(
        self,
        fn: Callable[..., R] | str,
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        chunksize: int | None = None,
        ordered: bool = True,
        timeout: float | None = None,
        progress: bool | ProgressCallback = False,
        return_exceptions: bool = False,
    ) -> MapResults[R]:
        """`fn` over the items of the iterables in step, like the built-in `map`, in the workers.

        Lazy: the iterables are read only a little ahead of what was consumed, so they may be endless. Items travel in
        chunks whose size follows the measured run time; still each item has its own outcome. If a worker dies in a
        chunk, the item that it was running fails and the others of that chunk run again; they also do when what came
        back can't be rebuilt here, to find which it was (with chunksize=1 none does). An item that raises is not
        tried again: `max_retries` is for calls, and for time limits and crashes.

        Args:
            iterables: or one async iterable; then only `async for` can read the results.
            chunksize: items sent together; None: automatic.
            ordered: results in the order of the items; False: as they come.
            timeout: seconds for the whole map, from this call on.
            progress: True for a bar, on stderr when that is a terminal or below a notebook's cell; or a callable(done,
                failed, total).
            return_exceptions: True to get a failed item's exception as its result instead of raising it.

        Returns:
            An iterator, for `async for` too. An item's exception is raised in its place; the iterator can be asked on
            after that.

        Raises:
            TimeoutError: from the iterator, when time ran out.
            QueueClosed, ConfigError: as `delay`.
        """
        return self._view.map(
            fn,
            *iterables,
            chunksize=chunksize,
            ordered=ordered,
            timeout=timeout,
            progress=progress,
            return_exceptions=return_exceptions,
        )

    def starmap(
        self,
        fn: Callable[..., R] | str,
        /,
        iterable: Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]],
        *,
        chunksize: int | None = None,
        ordered: bool = True,
        timeout: float | None = None,
        progress: bool | ProgressCallback = False,
        return_exceptions: bool = False,
    ) -> MapResults[R]:
        """`fn(*item)` for each item; everything else as `map`."""
        return self._view.starmap(
            fn,
            iterable,
            chunksize=chunksize,
            ordered=ordered,
            timeout=timeout,
            progress=progress,
            return_exceptions=return_exceptions,
        )

    # large data

    def put(self, value: R, *, keep: bool = False) -> SharedRef[R]:
        """Store a value once, for any number of tasks: see `SharedRef`, which as an argument stands for its value.

        Later calls that are given the same arrays themselves (those of a megabyte, say) send the name of what was
        stored as well, as long as the SharedRef lives and they still hold the same bytes.

        Args:
            keep: the value stays until `SharedRef.delete`, or the end of the queue, also when nobody holds it and when
                this process ends.

        Raises:
            SerializationError: it can't be pickled.
            MemoryError: it is larger than three quarters of the queue's `memory`, or nothing on its way would free
                enough.
            QueueClosed: as `delay`.
        """
        from localq.client.storage import put

        return put(self._client, self._options, self._space.identity, value, keep)

    def empty(
        self, shape: int | tuple[int, ...], dtype: DTypeLike = float, *, order: Literal["C", "F"] = "C"
    ) -> np.ndarray[Any, Any]:
        """An array in the queue's memory; its contents are what happened to be there.

        As an argument it, or a contiguous part of it, travels by name, whatever its size. Unlike other arguments it is
        not taken as it is at the call: tasks see what is in it when they look. They see it as `arguments` says:
        copy-on-write, read only, or shared, so that what they write is seen here. Its memory stays as long as it, a
        part of it, or a task that it was given to; also after the queue was closed. A process that this one forks
        shares it, and only as long as this one has it.

        Args:
            shape, dtype, order: as for `numpy.empty`; no objects.

        Raises:
            ConfigError: one of these is not allowed.
            MemoryError: it is larger than three quarters of the queue's `memory`, or there is no room and nothing on
                its way that would free some, or the system has no memory.
            QueueClosed: as `delay`.
        """
        from localq.client.storage import allocate

        return allocate(self._client, self._options, shape, dtype, order, "any")

    def zeros(
        self,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = float,
        *,
        order: Literal["C", "F"] = "C",
        sparse: bool = False,
    ) -> np.ndarray[Any, Any]:
        """As `empty`, full of zeros. `sparse`: of arrays of a megabyte or more the system's memory is had page by page
        when it is written or read, not now; if there is none then, the process ends by a signal."""
        from localq.client.storage import allocate

        return allocate(self._client, self._options, shape, dtype, order, "sparse" if sparse else "zeros")

    def asarray(self, value: ArrayLike, dtype: DTypeLike | None = None) -> np.ndarray[Any, Any]:
        """A copy of an array (or of what `numpy.asarray` makes one of) in the queue's memory: as `empty`, and
        filled."""
        from localq.client.storage import copied

        return copied(self._client, self._options, value, dtype)

    # by id

    def get_task_result(self, task_id: str) -> TaskResult[Any] | None:
        """What is known of a task, whichever client submitted it: pending, running, or what came of it. Does not wait
        and does not consume.

        A result can be read until newer ones push it out (`result_cache_size`; each reading makes it the newest) or its
        `result_ttl` is over, counted from the end of the task; one that its own client has not taken yet stays in any
        case. If it is gone, the status says which of the two it was as long as that is known, and `unwrap` raises
        ResultGone.

        None when the id is another queue's or was never given, or nothing is known of that task any more.
        """
        from localq.client.reading import result_from, result_gone

        place = self._place(task_id)
        if place is None:
            return None
        reading = self._read(place)
        if reading is None:
            gone = self._space.gone(*place)
            return None if gone is None else result_gone(gone, task_id)
        if reading.state in (_native.SUCCEEDED, _native.FAILED):
            self._client.touch(*place)
        return result_from(reading, task_id, self._client.codec, self._space.notes(*place))

    def get_status(self, task_id: str) -> TaskStatus | None:
        """How far the task is; EVICTED or EXPIRED if its result is not kept any more; None as for
        `get_task_result`."""
        from localq.client.reading import status_of

        place = self._place(task_id)
        if place is None:
            return None
        return status_of(self._read(place), self._space.gone(*place))

    def follow(self, task_id: str, timeout: float | None = None) -> Updates:
        """Follow a task to its end, whichever client submitted it: as `TaskFuture.updates`.

        When its result is pushed out or expires while it is followed, that is the end: status EVICTED or EXPIRED. If
        even that is not known, because its slot serves another task by now, the iterator just ends.

        Raises:
            ConfigError: nothing is known of such a task; or a timeout below zero.
            TimeoutError: from the iterator, when time ran out.
            QueueClosed: from the iterator: the queue was closed or broke, and how the task ended will not be known.
        """
        from localq.client.updates import follow_future, follow_task

        place = self._place(task_id)
        if place is None or self.get_status(task_id) is None:
            raise ConfigError(
                f"nothing is known of task {task_id!r} in queue {self.name!r}: another queue's, or long gone"
            )
        future = self._client.future_of(*place)
        if future is not None:
            return follow_future(future, timeout)  # type: ignore[arg-type]  # of the client's `future_type`
        return follow_task(
            self._client, task_id, place, lambda: self.get_status(task_id), self._connection.check_alive, timeout
        )

    def cancel(self, task_id: str) -> bool:
        """Cancel a task, whichever client submitted it, as `TaskFuture.cancel` does. Returns whether it is
        cancelled."""
        place = self._place(task_id)
        if place is None:
            return False
        future = self._client.future_of(*place)
        return future.cancel() if future is not None else self._client.cancel_other(*place)

    def _place(self, task_id: str) -> tuple[int, int] | None:
        if not isinstance(task_id, str):
            raise ConfigError(f"task_id must be a text, as TaskFuture.task_id is; got {type(task_id).__name__}")
        return self._client.parse_id(task_id)

    def _read(self, place: tuple[int, int]) -> Reading | None:
        self._client.reap()
        return self._client.read(*place)

    # looking

    def snapshot(self) -> Snapshot:
        """One frozen reading of the queue: what is queued, who runs what, how fast, what failed, what is wrong.

        Rates, waits and run times are those since the last call, of the first call since the queue began. It reads
        shared memory and /proc, and slows nobody down; of an attached queue it says the same.

        Raises:
            QueueClosed: the queue was closed, or this process was forked from the one that opened it.
        """
        self._client.check_open()
        if self._reader is None:
            from localq.monitor.reader import SpaceReader

            self._reader = SpaceReader(self._space, self._about())
        return self._reader.read()

    def trace(self, path: str | os.PathLike[str], *, seconds: float | None = None) -> Trace:
        """Record wait, transfer, run and return of every task, of all clients, into a file that Perfetto opens
        (https://ui.perfetto.dev); `summary` of what is returned says where the time went, with advice.

            with q.trace("run.json") as trace:
                list(q.map(work, items))
            print(trace.summary.advice)

        Recording costs each task a little. Where tasks are so short that records come faster than they can be read,
        some are left out; the summary says how many.

        Args:
            path: of the file; one that is there is written over.
            seconds: record now, for so long, before this call returns. None: in a thread, while a `with` block of what
                is returned lasts.

        Raises:
            OSError: the file can't be written.
            QueueClosed: as `snapshot`.
        """
        from localq.monitor.trace import Trace

        check_seconds("seconds", seconds)
        self._client.check_open()
        made = Trace(self._space, self._about(), path, self.config.concurrency)
        if seconds is not None:
            made.record(seconds)
        return made

    def _about(self) -> About:
        from localq.monitor.reader import about_queue

        config = self.config
        return about_queue(
            name=config.name,
            owner_pid=self._connection.hold.owner_pid,
            queues=config.queues,
            capacity=config.capacity,
            memory=config.memory,
            result_cache_size=config.result_cache_size,
            result_ttl=config.result_ttl,
        )

    def executor(self) -> QueueExecutor:
        """A `concurrent.futures.Executor` on the workers of this queue, for libraries that want one. Its `shutdown`
        waits for, or cancels, what was submitted by way of it; the queue lives on."""
        from localq.client.queue_executor import QueueExecutor

        return QueueExecutor(self._executor_view(), self.config.workers)

    def _executor_view(self) -> QueueView:
        """The calls as an executor makes them. What the standard library promises of them goes into the options here:
        they never wait for room, and `cancel()` of their futures leaves a task that runs alone."""
        return QueueView(self, make_options(self.config, overflow=True, keeps_running=True))

    # the end

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def closed(self) -> bool:
        """True once `close` was called, or the queue broke."""
        return self._client.closed is not None

    def close(self, wait: bool = True, cancel_pending: bool = False, timeout: float | None = None) -> None:
        """Take no more calls, and end the workers when the rest is done. May be called again.

        Args:
            wait: until every task is done and the workers have ended. False: return at once; tasks go on in the
                background and their futures still finish. In a queue that another process owns (`attach`) this process
                may then end: its tasks live on, and their results can be read by id.
            cancel_pending: cancel what has not started.
            timeout: seconds to wait at most; then what still runs is killed, and its futures are cancelled.

        Raises:
            ConfigError: a timeout below zero.
        """
        check_seconds("timeout", timeout)
        self._connection.close(wait, cancel_pending, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for everything; after an error, for what runs already; after Ctrl-C, for nothing."""
        if kind is None or issubclass(kind, Exception):
            self.close(cancel_pending=kind is not None)
        else:
            self.close(cancel_pending=True, timeout=0.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """As `__exit__`, while the event loop goes on. Cancelled, it waits for nothing any more."""
        from asyncio import CancelledError

        from localq.client.aio import beside

        try:
            await beside(self.__exit__, kind, error, traceback)
        except CancelledError:
            self.close(cancel_pending=True, timeout=0.0)
            raise

    def _repr_html_(self) -> str:
        """For notebooks."""
        from localq.markup import table

        slots = {} if self.closed else self._space.slots()
        pending = None if self.closed else self._client.waiting
        return table(
            f"LocalQueue {self.name}",
            (
                ("state", "closed" if self.closed else "open"),
                ("workers", self.config.workers),
                ("queues", None if len(self.config.queues) == 1 else ", ".join(self.config.queues)),
                ("queued", slots.get("queued")),
                ("running", slots.get("running")),
                ("waited for here", pending),
            ),
        )

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self._client.waiting} pending"
        return f"<LocalQueue {self.name} {self.config.workers} workers, {state}>"


_here: LocalQueue | None = None  # in a worker: its own queue, once a task has asked for it


def _queue_here(identity: int | None) -> LocalQueue | None:
    global _here
    from localq.pool.context import this_worker

    if this_worker() is None:
        return None
    from localq.client.nested import connect_here

    connected = connect_here(identity)
    if connected is None:
        return None
    if _here is None or _here._connection is not connected[2]:
        _here = LocalQueue.__new__(LocalQueue)
        _here._take(*connected)
    return _here


def _unpickled(identity: int, name: str) -> LocalQueue:
    """In its own worker, the queue itself; elsewhere, a client that attaches."""
    return _queue_here(identity) or LocalQueue.attach(name)


def _own(space: _native.Space, config: QueueConfig, door: Doorway | None) -> Connection:
    """Start the supervisor, and hold on to it."""
    output = None
    if config.output != "inherit":
        from localq.client.output import Output

        output = Output(space, config)
    supervisor: SupervisorProcess | None = None
    hold: Ownership | None = None
    try:
        starter = Starter(space, config, door, -1 if output is None else output.theirs)
        supervisor = starter.start()
        from localq.client.connection import Connection  # while the supervisor starts; see there
        from localq.client.ownership import Ownership

        label = space.join(_native.ROLE_CLIENT, os.getpid(), started_at(os.getpid()))
        hold = Ownership(space, label, starter, supervisor, door, config.name, output)
        return Connection(space, label, config, hold, is_owner=True)
    except BaseException:  # Ctrl-C, above all: nobody would end it
        if hold is not None:  # which would replace a supervisor that is lost
            hold.end(0.0)
        elif supervisor is not None:
            supervisor.abandon()
        if output is not None:
            output.close()
        raise


def _callable(fn: Callable[..., Any] | str) -> Callable[..., Any]:
    """What a registered name calls."""
    if isinstance(fn, str):
        from localq.tasks import known_task

        known = known_task(fn)
        if known is None:
            raise ConfigError(
                f"out needs a function that is known here, and no task {fn!r} is registered in this process"
            )
        return known.fn
    if not callable(fn):
        raise ConfigError(f"a function or the name of a task is needed; got {type(fn).__name__}")
    return fn


def _name_of(fn: object) -> str:
    return fn if isinstance(fn, str) else str(getattr(fn, "__qualname__", type(fn).__name__))


def _check_name(name: object) -> str:
    """Before it becomes part of a path."""
    if isinstance(name, str) and is_name(name):
        return name
    raise ConfigError(f"name must be that of a queue: letters, digits, _ . and -; got {name!r}")
