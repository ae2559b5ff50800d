# SPDX-License-Identifier: MIT
"""What a worker tells its supervisor, on a pipe of its own: its tasks once it can run them, how far it is, and texts.

Texts are why it could not start, where it crashed (`localq.pool.last_words`), and where it is just now
(`localq.pool.stacks`). The worker's half may meet a full pipe, and goes on; the supervisor's half never waits.
"""

from __future__ import annotations

import os

from localq import _native
from localq.pool.brief import MODULE_FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from localq.tasks import Task

__all__ = ["FATAL", "Story", "file_at", "import_modules", "story_pipe", "tell_leaving", "tell_tasks", "tell_warm"]

FATAL = b"Fatal Python error"  # how faulthandler begins what it says of a crash
MOST_TEXT = 1 << 17  # bytes that are kept; a pipe holds half of that
MOST_TASKS = 1 << 22  # bytes of all descriptions
MOST_READS = 64  # of an event: whoever writes without end does not keep the supervisor from its work
TASKS = b"\0"  # begins what is no text: this, 4 bytes of its length, and a MessagePack list
WARM = b"\1warm\n"  # said at the end of what was said so far: a spare can take its turn
LEAVING = b"\1leaving\n"  # ... and the last word of a worker that takes no more tasks
PATIENCE = 1.0  # seconds that a full pipe may take: then the supervisor was stopped, and has no use for it
LONGEST_DOC, LONGEST_SIGNATURE = 200, 300  # characters


def story_pipe() -> tuple[int, Story]:
    """(the worker's end, the supervisor's)."""
    story, tell = os.pipe()
    os.set_blocking(story, False)
    return tell, Story(story, tell)


class Story:
    """The supervisor's end. `text` is what was said and not taken yet; `tasks` what the worker can run, once told."""

    __slots__ = ("fd", "is_leaving", "is_over", "is_warm", "number", "tasks", "text")

    def __init__(self, fd: int, number: int) -> None:
        self.fd = fd
        self.number = number  # of the worker's descriptor
        self.text = b""
        self.tasks: list[dict[str, Any]] | None = None
        self.is_warm = False  # of a spare
        self.is_leaving = False  # it takes no more tasks, and ends in a moment
        self.is_over = False  # nobody holds the other end any more

    def read(self) -> None:
        """Take in what is there."""
        for _ in range(MOST_READS if self.fd >= 0 else 0):
            try:
                said = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                break
            self.is_over = not said
            self.text += said
            if self.text.startswith(TASKS):
                self._hear_tasks()
            if not self.text.startswith(TASKS):
                self._hear_words()
                self.text = self.text[-MOST_TEXT:]
            if self.is_over:
                break

    def close(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def _hear_words(self) -> None:
        if self.text.endswith(LEAVING):
            self.is_leaving, self.text = True, self.text.removesuffix(LEAVING)
        elif self.text.endswith(WARM):
            self.is_warm, self.text = True, self.text.removesuffix(WARM)

    def _hear_tasks(self) -> None:
        size = int.from_bytes(self.text[1:5], "little") if len(self.text) >= 5 else 0
        if size > MOST_TASKS:
            self.text = b""
        elif len(self.text) >= 5 and 5 + size <= len(self.text):
            told, self.text = self.text[5 : 5 + size], self.text[5 + size :]
            try:
                tasks = _native.decode_value(told)
            except ValueError:
                tasks = []
            self.tasks = [each for each in tasks if isinstance(each, dict)] if isinstance(tasks, list) else []


# --- the worker's half ----------------------------------------------------------------------------------------------


def import_modules(modules: tuple[str, ...]) -> str | None:
    """Import them here, as they are now. What to tell when that fails: the module's name and the error."""
    import sys

    for finder in [*sys.path_importer_cache.values(), *sys.meta_path]:
        forget = getattr(finder, "invalidate_caches", None)  # what folders held when the supervisor looked last
        if forget is not None:
            forget()
    for name in modules:
        try:
            __import__(name)
        except BaseException as error:  # noqa: BLE001 - a module may raise anything, and the client must hear of it
            from traceback import format_exception

            trace = error.__traceback__ and error.__traceback__.tb_next  # without this frame
            return f"{name}{MODULE_FAILED}{''.join(format_exception(type(error), error, trace))}"
    return None


def tell_tasks(pipe: int) -> None:
    """Say what this worker can run by name."""
    from localq.tasks import registry

    told = _native.encode_value([_described(task) for task in registry.values()]) or b"\x90"
    if len(told) > MOST_TASKS:
        told = b"\x90"  # an empty list: they run all the same
    _write(pipe, TASKS + len(told).to_bytes(4, "little") + told)


def tell_warm(pipe: int) -> None:
    """Say that this spare can take its turn."""
    _write(pipe, WARM)


def file_at(pipe: int) -> tuple[int, int]:
    """What that descriptor is of."""
    status = os.fstat(pipe)
    return status.st_dev, status.st_ino


def tell_leaving(pipe: int, file: tuple[int, int]) -> None:
    """Say that this worker takes no more tasks. `file`: what the pipe was; a task may have closed it since, and have
    something of its own there."""
    try:
        if file_at(pipe) == file:
            os.write(pipe, LEAVING)
    except OSError:  # closed, or full: then its end says so, in a moment
        pass


def _write(pipe: int, data: bytes) -> None:
    from select import POLLOUT, poll

    os.set_blocking(pipe, False)
    room = poll()
    room.register(pipe, POLLOUT)
    left = memoryview(data)
    while left and room.poll(PATIENCE * 1000):
        left = left[os.write(pipe, left) :]


def _described(task: Task[..., Any]) -> dict[str, Any]:
    doc = (getattr(task.fn, "__doc__", None) or "").strip().splitlines()
    return {
        "name": task.name,
        "module": str(getattr(task.fn, "__module__", None) or ""),
        "queue": task.queue,
        "priority": None if task.priority is None else task.priority.name.lower(),
        "timeout": task.timeout,
        "max_retries": task.max_retries,
        "doc": doc[0].strip()[:LONGEST_DOC] if doc else "",
        "signature": _signature(task.fn)[:LONGEST_SIGNATURE],
    }


def _signature(fn: Any) -> str:
    from inspect import signature

    try:
        return str(signature(fn))
    except Exception:  # noqa: BLE001 - of C functions it is not known; and the defaults' own code may raise anything
        return "(...)"
