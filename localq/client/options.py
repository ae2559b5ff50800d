# SPDX-License-Identifier: MIT
"""What a call may ask for beside its arguments, checked before anything is sent.

Used by the queue, whose `options` documents them.
"""

from __future__ import annotations

import time

from localq import _native
from localq.config import ARGUMENTS, MAX_RETRIES, MOST_SECONDS, RESULTS, QueueConfig
from localq.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from localq.client.callbacks import NextTasks
    from localq.model import Priority
    from localq.shared import Destination

__all__ = ["check_seconds", "check_whole", "make_options"]

VIEWS = {"copy-on-write": 0, "readonly": _native.ARGUMENTS_READ_ONLY, "shared": _native.ARGUMENTS_SHARED}
ENDLESS = 1e9  # seconds: thirty years, and more than that may be infinite, which no clock can count to


def make_options(
    config: QueueConfig,
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
    overflow: bool = False,
    keeps_running: bool = False,
    arguments: str | None = None,
    results: str | None = None,
    out: Destination | None = None,
    next_tasks: NextTasks | None = None,
) -> _native.Options:
    """The options of `LocalQueue.options`, as the native client reads them. `overflow`: a call that finds no room is
    kept in this process, and sent later. `keeps_running`: `cancel()` of its future leaves a task alone once it runs.

    Raises:
        ConfigError: one is not allowed.
    """
    if queue is not None and queue not in config.queues:
        raise ConfigError(f"queue must be one of {', '.join(map(repr, config.queues))}; got {queue!r}")
    check_whole("max_retries", max_retries, 0, MAX_RETRIES)
    check_whole("max_crashes", max_crashes, 0, MAX_RETRIES)
    check_seconds("full_timeout", full_timeout)
    if countdown is not None and eta is not None:
        raise ConfigError("countdown and eta both say when the task may start: give one of them")
    if retry_on is not None or retry_delay is not None or out is not None or next_tasks is not None:
        metadata = _terms(config, metadata, retry_on, retry_delay, out, next_tasks)
    return _native.Options(
        queue=-1 if queue is None else config.queues.index(queue),
        priority=-1 if priority is None else _level(priority),
        max_retries=-1 if max_retries is None else max_retries,
        timeout=-1.0 if full_timeout is None or full_timeout > ENDLESS else float(full_timeout),
        metadata=metadata,
        default_retries=config.max_retries,
        max_crashes=-1 if max_crashes is None else max_crashes,
        default_crashes=-1 if config.max_crashes is None else config.max_crashes,
        limit_ms=_milliseconds("timeout", timeout),
        default_limit_ms=_milliseconds("task_timeout", config.task_timeout),
        ttl_ns=_milliseconds("ttl", ttl) * 1_000_000,
        delay_ns=_nanoseconds("countdown", countdown),
        due_ns=0 if eta is None else _due(eta),
        overflow=overflow,
        keeps_running=keeps_running,
        arguments=VIEWS[_choice("arguments", arguments, ARGUMENTS, config.arguments)],
        copied=_choice("results", results, RESULTS, config.results) == "copies",
    )


def _choice(name: str, value: object, choices: tuple[str, ...], default: str) -> str:
    if value is None:
        return default
    if isinstance(value, str) and value in choices:
        return value
    raise ConfigError(f"{name} must be None or {' or '.join(map(repr, choices))}; got {value!r}")


def _terms(
    config: QueueConfig,
    metadata: object,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] | None,
    retry_delay: float | None,
    out: Destination | None,
    next_tasks: NextTasks | None,
) -> object:
    from localq.retry import Terms, check_retry

    if config.serialization == "json":
        raise ConfigError(
            "retry_on, retry_delay, out and tasks that run next can't travel as JSON: use another serialization"
            " (the first two may be given to @task; on_success and on_failure may be functions)"
        )
    return Terms(metadata, check_retry(retry_on, retry_delay), out, next_tasks)


def _level(priority: Priority | int | str) -> int:
    from localq.model import Priority

    return int(Priority.parse(priority))


def _milliseconds(name: str, seconds: object) -> int:
    """0 for None: no limit."""
    if seconds is None:
        return 0
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= MOST_SECONDS:
        return max(1, round(seconds * 1000))
    raise ConfigError(
        f"{name} must be None or a number of seconds above 0, at most {MOST_SECONDS:_.0f}; got {seconds!r}"
    )


def _nanoseconds(name: str, seconds: object) -> int:
    if seconds is None:
        return 0
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= MOST_SECONDS:
        return int(seconds * 1e9)
    raise ConfigError(f"{name} must be None or a number of seconds from 0 to {MOST_SECONDS:_.0f}; got {seconds!r}")


def _due(eta: object) -> int:
    """On the monotonic clock: what happens to the wall's clock from now on moves nothing."""
    if hasattr(eta, "timestamp"):
        seconds = eta.timestamp() - time.time()
    elif isinstance(eta, int | float) and not isinstance(eta, bool):
        seconds = eta - time.time()
    else:
        raise ConfigError(f"eta must be a datetime, or seconds since the epoch; got {eta!r}")
    if not seconds <= MOST_SECONDS:
        raise ConfigError(f"eta must be at most {MOST_SECONDS / 86400:.0f} days from now; got {eta!r}")
    return max(1, _native.now_ns() + int(max(seconds, -MOST_SECONDS) * 1e9))


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raises ConfigError unless it is None or a whole number from `least` to `most`."""
    if value is None or (
        isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most)
    ):
        return
    allowed = f"from {least} to {most}" if most is not None else f"of {least} or more"
    raise ConfigError(f"{name} must be None or a whole number {allowed}; got {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Raises ConfigError unless it is None or a number of seconds, which may be infinite."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0.0):
        return
    raise ConfigError(f"{name} must be None or a number of seconds of 0 or more; got {value!r}")
