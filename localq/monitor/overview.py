# SPDX-License-Identifier: MIT
"""The running queues of this user in a line each, and the tasks that they can run.

Used by `localq ls` and `localq list`. Asks each supervisor, all at once and for a short time; who does not answer is
told apart from who is not there.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from localq.addresses import address_of, make_runtime_dir, queue_names, runtime_dir
from localq.config import is_name
from localq.errors import AttachError
from localq.monitor.census import State
from localq.pool.attach import NoAnswer, listener_at
from localq.pool.control import ask
from localq.pool.doorway import is_stale

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QueueLine", "TaskLine", "lines_of_queues", "tasks_of_queue", "tasks_of_queues"]

SEVERAL = 16  # queues asked at once


class QueueLine(msgspec.Struct, frozen=True, kw_only=True):
    """One queue. What is None is not known: it did not answer."""

    name: str
    state: State
    pid: int | None  # of the owner
    command: str | None  # of the owner
    uptime: float | None = None  # seconds
    phase: str | None = None
    workers: int | None = None  # as many as there should be
    workers_alive: int | None = None
    workers_busy: int | None = None
    leased: int | None = None  # of `workers`: by `localq worker`
    queued: dict[str, int] | None = None  # by the names of its queues
    delayed: int | None = None
    running: int | None = None
    problem: str | None = None  # why it did not answer


class TaskLine(msgspec.Struct, frozen=True, kw_only=True):
    """A task that workers of a queue can run by its name. What is None is left to the queue or to the call."""

    name: str
    module: str
    signature: str
    doc: str  # the first line
    queue: str | None = None
    priority: str | None = None
    timeout: float | None = None
    max_retries: int | None = None


def lines_of_queues(timeout: float) -> list[QueueLine]:
    """All of this user's, by name. `timeout`: seconds that each has to answer.

    Raises:
        AttachError: the folder is not this user's alone.
    """
    return [line for line in _of_each(_names(), lambda name: _line_of(name, timeout)) if line is not None]


def tasks_of_queue(name: str, timeout: float) -> list[TaskLine]:
    """What a queue can run by name. `timeout`: seconds that it has to answer.

    Raises:
        AttachError: it is not there, or does not answer.
    """
    told = ask(name, {"do": "tasks"}, timeout)["tasks"]
    return sorted(msgspec.convert(told, list[TaskLine]), key=lambda task: task.name)


def tasks_of_queues(timeout: float) -> tuple[dict[str, list[TaskLine]], list[str]]:
    """What each running queue can run by name, and in sentences which of them did not answer."""
    names = [name for name in _names() if os.path.lexists(address_of(name))]

    def ask_one(name: str) -> list[TaskLine] | AttachError:
        try:
            return tasks_of_queue(name, timeout)
        except AttachError as error:
            return error

    answers = dict(zip(names, _of_each(names, ask_one), strict=True))
    found = {name: answer for name, answer in answers.items() if not isinstance(answer, AttachError)}
    return found, [str(answer) for answer in answers.values() if isinstance(answer, AttachError)]


def _names() -> list[str]:
    if os.path.exists(runtime_dir()):
        make_runtime_dir()  # which looks whose it is
    return [name for name in queue_names() if is_name(name)]


def _of_each(names: list[str], do: Callable[[str], Any]) -> list[Any]:
    if not names:
        return []
    with ThreadPoolExecutor(min(SEVERAL, len(names))) as several:
        return list(several.map(do, names))


def _line_of(name: str, timeout: float) -> QueueLine | None:
    """None: it is gone."""
    try:
        facts = ask(name, {"do": "facts"}, timeout)
        known = {key: facts[key] for key in QueueLine.__struct_fields__ if key in facts}
        return msgspec.convert(
            {**known, "state": State.RUNNING, "pid": facts["owner_pid"], "command": facts["command"]}, QueueLine
        )
    except NoAnswer as error:
        state, problem = State.SILENT, str(error)
    except (AttachError, KeyError, msgspec.ValidationError) as error:
        state, problem = State.FOREIGN, str(error)
    path = address_of(name)
    try:
        if is_stale(path):
            if not os.path.lexists(path):
                return None
            state, problem = State.STALE, "its owner was killed; `localq doctor --clean` removes what it left"
    except AttachError as error:
        problem = str(error)
    owner = listener_at(path) or None
    return QueueLine(name=name, state=state, pid=owner, command=_command_of(owner), problem=problem)


def _command_of(pid: int | None) -> str | None:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            return line.read().rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace") or None
    except OSError:
        return None
