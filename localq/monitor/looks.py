# SPDX-License-Identifier: MIT
"""One look into a running queue: what its words, its rows and the kernel say at one moment, frozen.

Used by whoever examines a queue. It reads memory that it can't write, and judges nothing: what a look means, and which
of several to believe, is for `localq.monitor.diagnosis`.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from localq import _native
from localq.lookup import KIND_NAME, KIND_REFERENCE
from localq.pool.processes import ended_by, is_stopped, open_process

if TYPE_CHECKING:
    from localq._native import Space

__all__ = ["Condition", "Contradiction", "Look", "ProcessSeen", "Role", "condition_of", "take_look"]

MOST_CONTRADICTIONS = 10_000  # a Space in ruins need not be counted to the end


class Condition(StrEnum):
    """How a process is."""

    ALIVE = "alive"
    STOPPED = "stopped"  # by a signal
    ENDED = "ended"  # proven by the kernel
    UNKNOWN = "unknown"  # nobody may look, or pids mean other processes over there


class Role(StrEnum):
    """What a process is to the queue."""

    CLIENT = "client"
    SUPERVISOR = "supervisor"
    WORKER = "worker"
    SPARE = "spare"  # a worker to be
    DAMAGED = "damaged"  # no version writes that


_ROLES = {
    _native.ROLE_CLIENT: Role.CLIENT,
    _native.ROLE_SUPERVISOR: Role.SUPERVISOR,
    _native.ROLE_WORKER: Role.WORKER,
    _native.ROLE_SPARE: Role.SPARE,
}


class Contradiction(msgspec.Struct, frozen=True):
    """What the native audit says of one word. `who`: the label of whose turn it is or was, 0 for nobody's."""

    what: str
    index: int
    word: int
    who: int


class ProcessSeen(msgspec.Struct, frozen=True):
    """One row of the roster, and what the kernel says of its process."""

    label: int
    live: bool  # False: it is buried, and its row not released yet
    role: Role
    pid: int  # 0: it was not told yet
    condition: Condition
    ready: bool = False
    tasks_run: int = 0
    unread: int = 0  # of a client: finished tasks that it has not picked up
    blocks: int = 0  # of the arena that it looks at, and their bytes
    block_bytes: int = 0
    task_id: str | None = None  # in its hands
    task_since_ns: int = 0
    function: str | None = None  # of that task, when it can be known


class Look(msgspec.Struct, frozen=True):
    """All that one look has found. Times are CLOCK_MONOTONIC nanoseconds, sizes bytes."""

    at_ns: int
    phase: int
    workers: int  # as many as there should be
    contradictions: frozenset[Contradiction]
    processes: tuple[ProcessSeen, ...]
    depths: tuple[tuple[int, ...], ...]  # entries of each queue, by priority
    slots: dict[str, int]
    tallies: dict[str, int]
    held: int  # of the arena, by tasks and results
    kept: int  # of the arena, kept warm by processes
    holdings: dict[str, int] = {}  # of the arena, by what holds them: see `Space.holdings`

    def of(self, role: Role) -> list[ProcessSeen]:
        """The rows of that role that nobody has buried."""
        return [process for process in self.processes if process.role is role and process.live]


def condition_of(pid: int, started: int) -> Condition:
    """How that process is. `started`: when it began (see `localq.pool.processes`), 0 when not known."""
    try:
        pidfd = open_process(pid, started)
    except OSError:
        return Condition.UNKNOWN
    if pidfd is None:
        return Condition.ENDED
    try:
        if ended_by(pidfd):
            return Condition.ENDED
    finally:
        os.close(pidfd)
    return Condition.STOPPED if is_stopped(pid) else Condition.ALIVE


def take_look(space: Space, pids_are_ours: bool) -> Look:
    """Look now. `pids_are_ours`: its pids mean the same processes here as there."""
    held, kept, _ = space.arena()
    return Look(
        at_ns=_native.now_ns(),
        phase=space.phase,
        workers=space.workers,
        contradictions=frozenset(Contradiction(*found) for found in space.audit(MOST_CONTRADICTIONS)),
        processes=tuple(_see(space, row, pids_are_ours) for row in space.rows()),
        depths=tuple(map(tuple, space.depths())),
        slots=space.slots(),
        tallies=space.tallies,
        held=held,
        kept=kept,
        holdings=space.holdings(),
    )


def _see(space: Space, row: _native._Row, pids_are_ours: bool) -> ProcessSeen:
    task = row["task"] if row["role"] == _native.ROLE_WORKER else None
    blocks, block_bytes = space.pinned_by(row["row"])
    return ProcessSeen(
        label=row["label"],
        live=row["live"],
        role=_ROLES.get(row["role"], Role.DAMAGED),
        pid=row["pid"],
        condition=condition_of(row["pid"], row["started"]) if pids_are_ours and row["pid"] else Condition.UNKNOWN,
        ready=row["ready"],
        tasks_run=row["succeeded"] + row["failed"],
        blocks=blocks,
        block_bytes=block_bytes,
        unread=row["unread"] if row["role"] == _native.ROLE_CLIENT else 0,
        task_id=None if task is None else space.task_id(*task),
        task_since_ns=0 if task is None else row["task_since_ns"],
        function=None if task is None else _name_of(space.function_of(*task)),
    )


def _name_of(function: tuple[int, bytes] | None) -> str | None:
    """What can be said without running code of the queue's: a function that travels by value is a pickle."""
    if function is None or function[0] not in (KIND_REFERENCE, KIND_NAME):
        return None
    return function[1].decode("utf-8", "replace").replace(":", ".")
