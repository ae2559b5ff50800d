# SPDX-License-Identifier: MIT
"""What the supervisor is told when it starts. Made by the client, read by the supervisor and its workers."""

from __future__ import annotations

import time
from marshal import dumps, loads  # both ends are the same interpreter, and it imports nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # Levels by name, whether to stdout, the handler's level, and format, date format and style of its formatter.
    Logs = tuple[dict[str, int], bool, int, tuple[str | None, str | None, str] | None]

__all__ = ["FOR_CLIENTS", "KILL", "LOOK", "MODULE_FAILED", "Brief"]

#: What clients other than the owner have to know of the configuration, beside the names of the queues.
FOR_CLIENTS = (
    "name",
    "workers",
    "capacity",
    "memory",
    "result_cache_size",
    "result_ttl",
    "max_retries",
    "max_crashes",
    "task_timeout",
    "grace_period",
    "concurrency",
    "serialization",
    "arguments",
    "results",
)

MODULE_FAILED = "\0"  # between the name of a task module and the error of its import, when a worker can't start
LOOK, KILL = b"!", b"x"  # what the client says on the pipe: look at the phase; end at once


class Brief:
    """Plain values and bytes, so that reading it imports nothing."""

    __slots__ = (
        "arguments",
        "began_ns",
        "capacity",
        "concurrency",
        "cwd",
        "drain_timeout",
        "grace_period",
        "initializer",
        "logs",
        "max_crashes",
        "max_memory_per_child",
        "max_retries",
        "max_tasks_per_child",
        "memory",
        "name",
        "output",
        "owner_pid",
        "preload",
        "queues",
        "result_cache_size",
        "result_ttl",
        "results",
        "serialization",
        "socket",
        "sys_path",
        "task_modules",
        "task_timeout",
        "workers",
    )

    arguments: str
    began_ns: int  # when the queue was opened, by CLOCK_MONOTONIC
    capacity: int
    concurrency: int
    cwd: str | None
    drain_timeout: float
    grace_period: float
    initializer: tuple[int, bytes, bytes] | Callable[[], object] | None  # (kind, function, pickled args); or inherited
    logs: Logs | None  # how the owner logs, if it does
    max_crashes: int | None
    max_memory_per_child: int | None
    max_retries: int
    max_tasks_per_child: int | None
    memory: int
    name: str
    output: int  # the socket for what tasks write; -1: to the streams that they inherit
    owner_pid: int
    preload: tuple[str, ...]
    queues: tuple[str, ...]
    result_cache_size: int
    result_ttl: float | None
    results: str
    serialization: str
    socket: tuple[str, int] | None  # where others find the queue, and its inode
    sys_path: list[str]
    task_modules: tuple[str, ...]
    task_timeout: float | None
    workers: int

    @property
    def uptime(self) -> float:
        """Seconds since the queue was opened."""
        return (time.monotonic_ns() - self.began_ns) / 1e9

    @property
    def began(self) -> float:
        """When that was, in seconds since the epoch, for people."""
        return time.time() - self.uptime

    def to_bytes(self) -> bytes:
        return dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_bytes(cls, data: bytes) -> Brief:
        brief = cls()
        for name, value in loads(data).items():
            setattr(brief, name, value)
        return brief
