# SPDX-License-Identifier: MIT
"""What shall happen when a task is done: functions to call in its client, tasks that run next.

Used by the queue, whose `options` documents it. Functions are called by this process, as a future's callbacks are.
Tasks are submitted by the worker, before it tells anybody of the end, so they run also when the client is gone; what no
worker lived to tell, or ever began, the client makes up for, if it is still there.
"""

from __future__ import annotations

from localq._native import Submitter
from localq.client.nested import connect_here
from localq.client.options import make_options
from localq.client.reading import result_of
from localq.errors import ConfigError
from localq.model import Priority
from localq.pool.context import this_worker
from localq.remote_errors import decode_error, encode_error
from localq.tasks import Task, known_task, registered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from localq._native import Client
    from localq.client.future import TaskFuture
    from localq.config import QueueConfig
    from localq.model import TaskResult

    Next = Task[..., Any] | str
    Callback = Callable[[TaskResult[Any]], object] | Next

__all__ = ["Callbacks", "NextTasks", "check_callbacks"]


class NextTasks:
    """The tasks that run next: travels with the call to the worker. `queue` and `priority` are the call's own, None
    where it left them to its function."""

    __slots__ = ("on_failure", "on_success", "priority", "queue")

    def __init__(
        self, on_success: Next | None, on_failure: Next | None, queue: str | None, priority: Priority | int | str | None
    ) -> None:
        self.on_success = on_success
        self.on_failure = on_failure
        self.queue = queue
        self.priority = priority

    def __reduce__(self) -> tuple[Any, ...]:
        return NextTasks, (self.on_success, self.on_failure, self.queue, self.priority)

    def send(self, task_id: str, value: object, error: BaseException | None) -> None:
        """Called by the worker with what came of the task in hand. Does not raise: what is done must not suffer from
        what comes next."""
        next_task = self.on_success if error is None else self.on_failure
        if next_task is None:
            return
        try:
            worker, connected = this_worker(), connect_here(None)
            if worker is None or connected is None:
                raise RuntimeError("this process is no worker")
            config, _space, connection = connected
            if isinstance(next_task, str):
                registered(next_task)  # here it is known whether it is; nobody would hear of it later
            first = worker.worker.function
            args = (value,) if error is None else (task_id, _Sent(error, task_id))
            self._submit(connection.client, connection, config, first, next_task, args)
        except BaseException:  # noqa: BLE001 - SystemExit too, of the user's own code that pickles
            _log(next_task, task_id)

    def send_failure(
        self, client: Client, owner: object, config: QueueConfig, first: object, task_id: str, error: BaseException
    ) -> None:
        """The client's turn: no worker was left, or ever there, to do it."""
        if self.on_failure is None:
            return
        try:
            called = known_task(first) if isinstance(first, str) else first
            self._submit(client, owner, config, called, self.on_failure, (task_id, _Sent(error, task_id)))
        except Exception:  # noqa: BLE001 - the queue may be closed by now
            _log(self.on_failure, task_id)

    def _submit(
        self,
        client: Client,
        owner: object,
        config: QueueConfig,
        first: object,
        next_task: Next,
        args: tuple[object, ...],
    ) -> None:
        """With the queue and the priority of `first`, what was called before. Never waits for
        room: all workers might."""
        queue, priority = self.queue, self.priority
        if isinstance(first, Task):
            queue = first.queue if queue is None else queue
            priority = first.priority if priority is None else priority
        options = make_options(
            config,
            queue=config.queues[0] if queue is None else queue,  # not as the next one's @task says
            priority=Priority.NORMAL if priority is None else priority,
            overflow=True,
        )
        future: TaskFuture[object] = Submitter(client, options, owner).apply(next_task, args, {})
        if future._refused:
            raise future.exception(0) or ConfigError("it was refused")
        if future._is_parked:
            future._tell(_nothing)  # from now on somebody looks whether there is room


class _Sent:
    """An exception as an argument: arrives as itself where it can be rebuilt, as for the client of the task, with the
    traceback from the worker."""

    def __init__(self, error: BaseException, task_id: str) -> None:
        self._bytes = encode_error(error)
        self._task_id = task_id

    def __reduce__(self) -> tuple[Any, ...]:
        return decode_error, (self._bytes, self._task_id, 0)


class Callbacks:
    """What this client does when the calls of one view are done."""

    def __init__(
        self,
        config: QueueConfig,
        on_success: Callable[[TaskResult[Any]], object] | None,
        on_failure: Callable[[TaskResult[Any]], object] | None,
        next_tasks: NextTasks | None,
    ) -> None:
        self._config = config
        self._on_success = on_success
        self._on_failure = on_failure
        self.next_tasks = next_tasks
        self._is_needed = (
            on_success is not None or on_failure is not None or (next_tasks and next_tasks.on_failure) is not None
        )

    def delay_with(self, submitter: Submitter, owner: object) -> Callable[..., TaskFuture[Any]]:
        """`delay` of that submitter, with these callbacks."""
        delay = submitter.delay
        if not self._is_needed:
            return delay

        def delay_and_call(fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]:
            future: TaskFuture[Any] = delay(fn, *args, **kwargs)
            future.add_done_callback(lambda done: self._call(done, fn, owner))
            return future

        return delay_and_call

    def _call(self, future: TaskFuture[Any], fn: Callable[..., Any] | str, owner: object) -> None:
        if future.cancelled():
            return
        error = future.exception(0)
        call = self._on_success if error is None else self._on_failure
        if call is not None:
            call(result_of(future, error))
        elif error is not None and self.next_tasks is not None and not future._sent_next:
            self.next_tasks.send_failure(future._client, owner, self._config, fn, future.task_id, error)


def check_callbacks(
    config: QueueConfig,
    on_success: Callback | None,
    on_failure: Callback | None,
    queue: str | None,
    priority: Priority | int | str | None,
) -> Callbacks:
    """From the options of a call.

    Raises:
        ConfigError: one is neither a function nor a task.
    """
    call, next_task = _check("on_success", on_success)
    call_failed, next_failed = _check("on_failure", on_failure)
    has_next = next_task is not None or next_failed is not None
    next_tasks = NextTasks(next_task, next_failed, queue, priority) if has_next else None
    return Callbacks(config, call, call_failed, next_tasks)


def _check(name: str, given: object) -> tuple[Callable[[TaskResult[Any]], object] | None, Next | None]:
    """(what is to be called, what is to run next), one of them None."""
    if given is None:
        return None, None
    if isinstance(given, Task) or (isinstance(given, str) and given):
        return None, given
    if callable(given):
        return given, None
    raise ConfigError(f"{name} must be a function of one TaskResult, a @task or the name of one; got {given!r}")


def _nothing(future: object) -> None:
    """Somebody waits for it, and that is all."""


def _log(next_task: Next, task_id: str) -> None:
    from logging import getLogger

    name = next_task if isinstance(next_task, str) else next_task.name
    getLogger("localq").exception(
        "task %s is done, and %r, which should run next, could not be submitted", task_id, name
    )
