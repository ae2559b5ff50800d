# SPDX-License-Identifier: MIT
"""What the supervisor is told when it starts. Made by the client, read by the supervisor and its workers."""

from __future__ import annotations

from marshal import dumps, loads  # both ends are the same interpreter, and it imports nothing

__all__ = ["KILL", "LOOK", "Brief"]

LOOK, KILL = b"!", b"x"  # what the client says on the pipe: look at the phase; end at once


class Brief:
    """Plain values and bytes, so that reading it imports nothing."""

    __slots__ = (
        "client_pid",
        "cwd",
        "initializer",
        "max_memory_per_child",
        "max_tasks_per_child",
        "name",
        "preload",
        "result_ttl",
        "serialization",
        "sys_path",
        "workers",
    )

    client_pid: int
    cwd: str | None
    initializer: tuple[int, bytes, bytes] | None  # kind, function, pickled arguments
    max_memory_per_child: int | None
    max_tasks_per_child: int | None
    name: str
    preload: tuple[str, ...]
    result_ttl: float | None
    serialization: str
    sys_path: list[str]
    workers: int

    def to_bytes(self) -> bytes:
        return dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_bytes(cls, data: bytes) -> Brief:
        brief = cls()
        for name, value in loads(data).items():
            setattr(brief, name, value)
        return brief
