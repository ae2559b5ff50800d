# SPDX-License-Identifier: MIT
"""The `@task` decorator and the tasks it registered, by name.

Used by people's modules, by the client (options of a task) and by workers (tasks called by name). Knows nothing
of queues.
"""

from __future__ import annotations

import functools

from localq.errors import ConfigError, FunctionNotFound
from localq.model import Priority
from localq.pickling import by_reference
from localq.retry import check_retry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, ParamSpec, TypeVar, overload

    from localq.retry import Retry

    P = ParamSpec("P")
    R = TypeVar("R")
else:
    from localq.model import Generic

    P = R = None

__all__ = ["Task", "known_task", "registered", "task"]

MAX_RETRIES = 15

registry: dict[str, Task[..., Any]] = {}  # of this process, filled as modules are imported


class Task(Generic[P, R]):
    """A function with the options its calls have in a queue. Calling it runs it here, as if undecorated.

    `timeout` is seconds, `retry` says after which exceptions it runs again, and when. An option that is None is left to
    the queue or to the call.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, R]

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str,
        queue: str | None = None,
        priority: Priority | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        max_crashes: int | None = None,
        retry: Retry | None = None,
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = name
        self.queue = queue
        self.priority = priority
        self.timeout = timeout
        self.max_retries = max_retries
        self.max_crashes = max_crashes
        self.retry = retry

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __reduce__(self) -> str | tuple[Callable[..., Task[..., object]], tuple[object, ...]]:
        if by_reference(self) is not None:
            return self.__qualname__
        options = (self.queue, self.priority, self.timeout, self.max_retries, self.max_crashes, self.retry)
        return _rebuild, (self.fn, self.name, *options)


def _rebuild(
    fn: Callable[..., object],
    name: str,
    queue: str | None,
    priority: Priority | None,
    timeout: float | None,
    max_retries: int | None,
    max_crashes: int | None,
    retry: Retry | None,
) -> Task[..., object]:
    return Task(
        fn,
        name=name,
        queue=queue,
        priority=priority,
        timeout=timeout,
        max_retries=max_retries,
        max_crashes=max_crashes,
        retry=retry,
    )


if TYPE_CHECKING:

    @overload
    def task(fn: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        *,
        name: str | None = None,
        queue: str | None = None,
        priority: Priority | int | str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        max_crashes: int | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        retry_delay: float | None = None,
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(
    fn: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    queue: str | None = None,
    priority: Priority | int | str | None = None,
    timeout: float | None = None,
    max_retries: int | None = None,
    max_crashes: int | None = None,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
    retry_delay: float | None = None,
) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Register a function as a task, with defaults for its calls: `@task` or `@task(priority="high")`.

    The options mean what they mean in `LocalQueue.options`, and a call's own win. `name` is "module.qualname" unless
    given. Decorating the same function again, as a notebook cell does when it is run again, replaces the task.

    Raises:
        ConfigError: an option is not allowed, or another function has that name.
    """
    if fn is None:
        return functools.partial(  # type: ignore[return-value]  # typed by the overloads
            task,
            name=name,
            queue=queue,
            priority=priority,
            timeout=timeout,
            max_retries=max_retries,
            max_crashes=max_crashes,
            retry_on=retry_on,
            retry_delay=retry_delay,
        )
    if not callable(fn):
        raise ConfigError(f"@task is for callables; got {type(fn).__qualname__} (options are keywords)")
    made = Task(
        fn,
        name=_checked_name(fn, name),
        queue=_checked_queue(queue),
        priority=None if priority is None else Priority.parse(priority),
        timeout=_checked_timeout(timeout),
        max_retries=_checked_retries("max_retries", max_retries),
        max_crashes=_checked_retries("max_crashes", max_crashes),
        retry=check_retry(retry_on, retry_delay),
    )
    known = registry.get(made.name)
    if known is not None and _home(known.fn) != _home(fn):
        raise ConfigError(
            f"task name {made.name!r} is taken by {_home(known.fn)}; {_home(fn)} needs a name= of its own"
        )
    registry[made.name] = made
    return made


def known_task(name: str) -> Task[..., Any] | None:
    """The task of that name, None where none is registered in this process."""
    return registry.get(name)


def registered(name: str) -> Task[..., Any]:
    """The task of that name.

    Raises:
        FunctionNotFound: none is registered in this process; close matches are named.
    """
    known = registry.get(name)
    if known is None:
        from difflib import get_close_matches

        close = get_close_matches(name, registry)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "its module may not be imported here"
        raise FunctionNotFound(name, f"no such task is registered; {hint}")
    return known


def _home(fn: Callable[..., object]) -> str:
    return f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def _checked_name(fn: Callable[..., object], name: object) -> str:
    if name is None:
        return _home(fn)
    if isinstance(name, str) and name:
        return name
    raise ConfigError(f"name must be a text that is not empty; got {name!r}")


def _checked_queue(queue: object) -> str | None:
    if queue is None:
        return None
    if isinstance(queue, str) and queue:
        return queue
    raise ConfigError(f"queue must be the name of a queue; got {queue!r}")


def _checked_timeout(timeout: object) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, int | float) and not isinstance(timeout, bool) and 0 < timeout < float("inf"):
        return float(timeout)
    raise ConfigError(f"timeout must be a number of seconds above 0; got {timeout!r}")


def _checked_retries(name: str, times: object) -> int | None:
    if times is None:
        return None
    if isinstance(times, int) and not isinstance(times, bool) and 0 <= times <= MAX_RETRIES:
        return times
    raise ConfigError(f"{name} must be a whole number from 0 to {MAX_RETRIES}; got {times!r}")
