# SPDX-License-Identifier: MIT
"""Whether and when a task that raised runs again.

Made by the client from the options of a call or a `@task`, asked by the worker after an exception. It travels with the
call, in place of its metadata (`Terms`), or is an attribute of a task that is found by name.
"""

from __future__ import annotations

from localq.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LONGEST", "Retry", "Terms", "check_retry"]

LONGEST = 60.0  # seconds: pauses double up to here, unless the first one is longer


class Retry:
    """`on`: exceptions that are worth another try; `delay`: seconds before the first one."""

    __slots__ = ("delay", "on")

    def __init__(self, on: tuple[type[BaseException], ...], delay: float) -> None:
        self.on = on
        self.delay = delay

    def __reduce__(self) -> tuple[Any, ...]:
        return Retry, (self.on, self.delay)

    def pause(self, error: BaseException, failures: int) -> float | None:
        """Seconds to wait after that many failures; None: it is not worth another try.

        Doubles each time; and a random part of up to half is taken off, so that what failed together does not come
        back together.
        """
        if not isinstance(error, self.on):
            return None
        if not self.delay:
            return 0.0
        from random import uniform

        whole = min(self.delay * 2.0 ** min(failures - 1, 60), max(LONGEST, self.delay))
        return uniform(whole / 2, whole)


class Terms:
    """What a call brings beside its arguments, where that is more than metadata."""

    __slots__ = ("metadata", "next", "out", "retry")

    def __init__(self, metadata: object, retry: Retry | None, out: Any = None, next: Any = None) -> None:  # noqa: A002
        self.metadata = metadata
        self.retry = retry
        self.out = out  # None, or where the result goes: a `Destination` of `localq.shared`
        self.next = next  # None, or what sends the tasks that shall run next: `localq.client.callbacks.NextTasks`

    def __reduce__(self) -> tuple[Any, ...]:
        return Terms, (self.metadata, self.retry, self.out, self.next)


def check_retry(on: type[BaseException] | tuple[type[BaseException], ...] | None, delay: object) -> Retry | None:
    """From `retry_on` and `retry_delay`; None when neither is given.

    Raises:
        ConfigError: not exception types, or not a number of seconds.
    """
    if on is None and delay is None:
        return None
    kinds = (BaseException,) if on is None else on if isinstance(on, tuple) else (on,)
    if not all(map(_is_exception_type, kinds or (None,))):
        raise ConfigError(f"retry_on must be an exception type or a tuple of them; got {on!r}")
    seconds = 0.0 if delay is None else delay
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= 86400:
        raise ConfigError(f"retry_delay must be a number of seconds from 0 to 86400; got {delay!r}")
    return Retry(kinds, float(seconds))


def _is_exception_type(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)
