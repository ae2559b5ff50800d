# SPDX-License-Identifier: MIT
"""Read a running queue: from its memory, which is not written, and from what the kernel says of its processes.

Used by `LocalQueue.snapshot`, `localq top`, the metrics and the trace. A reader takes no place in the queue and keeps
nobody waiting: one that is killed leaves nothing, and the queue does not know that it was there.
"""

from __future__ import annotations

import os
import sys
import time
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from localq import _native
from localq._native import PHASE_STOPPED
from localq.errors import AttachError
from localq.monitor.arguments import summary
from localq.monitor.figures import Kernel, command_of, this_user
from localq.monitor.interval import MOST_EVENTS, MOST_TASKS, About, snapshot_of
from localq.monitor.raw import Calls, Entry, Figures, InHand, Meters, Note, RawReading, Row, named
from localq.pool.attach import reach
from localq.pool.processes import ended_by, open_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self, TypeVar

    from localq._native import Space
    from localq.monitor.snapshot import Snapshot
    from localq.pool.attach import Reached

    T = TypeVar("T")

__all__ = ["QueueReader", "SpaceReader", "about_queue", "open_reader"]

_ROLES = {_native.ROLE_CLIENT: "client", _native.ROLE_SUPERVISOR: "supervisor", _native.ROLE_WORKER: "worker"}


def about_queue(
    *,
    name: str,
    owner_pid: int,
    queues: Sequence[str],
    capacity: int,
    memory: int,
    result_cache_size: int,
    result_ttl: float | None,
    python: str | None = None,
    version: str | None = None,
    began: float | None = None,
    pids_are_ours: bool = True,
) -> About:
    """What does not change in its life. `python`, `version`: of its workers; None: as here. `began`: in
    seconds since the epoch; None: as its owner's row says."""
    return About(
        name=name,
        owner_pid=owner_pid,
        owner=this_user(),  # nobody else's queue is read
        command=command_of(owner_pid) if pids_are_ours else "",
        python=python or ".".join(map(str, sys.version_info[:2])),
        version=version or str(sys.modules["localq"].__version__),  # not imported: it stands above
        queues=tuple(queues),
        capacity=capacity,
        memory=memory,
        result_cache_size=result_cache_size,
        result_ttl=result_ttl,
        began=began,
    )


class SpaceReader:
    """Reads a Space that is mapped here. `pids_are_ours`: its pids mean the same processes here as there."""

    def __init__(self, space: Space, about: About, pids_are_ours: bool = True) -> None:
        self.about = about
        self.raw: RawReading | None = None  # the last
        self._space = space
        self._last: Snapshot | None = None
        self._kernel = Kernel() if pids_are_ours else None
        self._lock = Lock()  # each reading is compared with the last

    def read(self) -> Snapshot:
        """Now; rates, waits and runs are those since the last call, of the first call since the queue began.

        Events that were in the last one are kept, as many as are shown: the journals of workers have little room."""
        with self._lock:
            now = _take(self._space, self._kernel)
            if self.raw is not None:
                now = msgspec.structs.replace(now, journal=merged(now.journal, self.raw.journal))
            made = snapshot_of(self.about, now, self.raw, self._last)
            self.raw, self._last = now, made
            return made


class QueueReader:
    """Reads the queue of another process. Made by `open_reader`; `close` it, or use it in a `with` block."""

    def __init__(self, reached: Reached) -> None:
        """Takes over what was reached. Raises AttachError: its owner has ended meanwhile."""
        told = reached.told
        pids_are_ours = reached.listener == told["owner_pid"]
        names = ("name", "owner_pid", "queues", "capacity", "memory", "result_cache_size", "result_ttl", "python")
        about = about_queue(
            **{name: told[name] for name in names},
            version=told.get("version"),
            began=told.get("began"),
            pids_are_ours=pids_are_ours,
        )
        self.name: str = told["name"]
        self._owner = open_process(told["owner_pid"], told["owner_started"]) if pids_are_ours else -1
        self._reader: SpaceReader | None = SpaceReader(reached.space, about, pids_are_ours)
        self._space: Space | None = reached.space
        reached.space.close_fds()
        reached.let_go()  # the connection: who only looks is not expected to stay
        if self._owner is None:
            self.close()
            raise self._ended()

    @property
    def about(self) -> About:
        return self._open().about

    @property
    def raw(self) -> RawReading | None:
        """What the last Snapshot was made of; None before the first."""
        return self._open().raw

    def read(self) -> Snapshot:
        """Now; see `SpaceReader.read`.

        Raises:
            AttachError: the queue has ended, or this reader was closed.
        """
        reader = self._open()
        if self.has_ended:
            raise self._ended()
        return reader.read()

    @property
    def has_ended(self) -> bool:
        """The queue was closed, or its owner is gone. Its memory can still be read here, but nothing happens there."""
        if self._space is None or self._space.phase == PHASE_STOPPED:
            return True
        return self._owner is not None and self._owner >= 0 and ended_by(self._owner)

    def close(self) -> None:
        """Let go of the memory. May be called again."""
        self._reader = self._space = None
        if self._owner is not None and self._owner >= 0:
            os.close(self._owner)
        self._owner = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_owner", None):
            self.close()

    def _open(self) -> SpaceReader:
        if self._reader is None:
            raise AttachError(f"the reader of queue {self.name!r} was closed")
        return self._reader

    def _ended(self) -> AttachError:
        return AttachError(f"queue {self.name!r} has ended")


def open_reader(name: str, timeout: float = 2.0) -> QueueReader:
    """A reader of the running queue of that name.

    Args:
        timeout: seconds that its supervisor has to answer.

    Raises:
        AttachError: there is no such queue, it is another user's, or it does not answer.
        LayoutMismatch, SpaceCorrupt: it runs another version of localq.
    """
    return QueueReader(reach(name, as_client=False, timeout=timeout))


# --- one raw reading ------------------------------------------------------------------------------------------------


def _take(space: Space, kernel: Kernel | None) -> RawReading:
    at_ns, wall = _native.now_ns(), time.time()
    rows = [row for row in space.rows() if row["live"] and row["role"] != _native.ROLE_SPARE]
    figures: dict[tuple[int, int], Figures] = {}
    if kernel is not None:
        asked = [row for row in rows if row["role"] in (_native.ROLE_WORKER, _native.ROLE_SUPERVISOR) and row["pid"]]
        figures = kernel.look((row["pid"], row["started"]) for row in asked)
    return RawReading(
        at_ns=at_ns,
        wall=wall,
        phase=space.phase,
        workers=space.workers,
        rows=tuple(_row(space, row, figures) for row in rows),
        meters=_meters(space.meters()),
        meter_bounds=_native.METER_BOUNDS,
        functions=tuple(map(_calls, space.functions())),
        function_bounds=_native.FUNCTION_BOUNDS,
        in_hand=_in_hand(space),
        journal=_journal(space),
        slots=space.slots(),
        depths=tuple(map(tuple, space.depths())),
        tallies=space.tallies,
        holdings=space.holdings(),
    )


def _row(space: Space, row: _native._Row, figures: dict[tuple[int, int], Figures]) -> Row:
    task = row["task"] if row["role"] == _native.ROLE_WORKER else None
    return Row(
        role=_ROLES.get(row["role"], "damaged"),
        pid=row["pid"],
        started=row["started"],
        ready=row["ready"],
        joined_ns=row["joined_ns"],
        task_id=None if task is None else space.task_id(*task),
        task_since_ns=0 if task is None else row["task_since_ns"],
        done=row["succeeded"],
        failed=row["failed"],
        retried=row["retried"],
        run_ns=row["run_ns"],
        unread=row["unread"] if row["role"] == _native.ROLE_CLIENT else 0,
        pinned=space.pinned_by(row["row"])[1],
        figures=figures.get((row["pid"], row["started"])),
    )


def _meters(found: _native._Meters) -> Meters:
    return Meters(
        done=found["succeeded"],
        failed=found["failed"],
        retried=found["retried"],
        cancelled=found["cancelled"],
        items=found["items"],
        bytes_in=found["bytes_in"],
        bytes_out=found["bytes_out"],
        run_ns=found["run_ns"],
        wait_ns=found["wait_ns"],
        wait=tuple(found["wait"]),
        run=tuple(found["run"]),
    )


def _calls(found: _native._Calls) -> Calls:
    return Calls(
        name=named(found["name"]) or "",
        done=found["succeeded"],
        failed=found["failed"],
        retried=found["retried"],
        items=found["items"],
        run_ns=found["run_ns"],
        wait_ns=found["wait_ns"],
        most_ns=found["most_ns"],
        run=tuple(found["run"]),
    )


def _in_hand(space: Space) -> tuple[InHand, ...]:
    """All tasks, but what they say of themselves only of those that are shown."""
    found = sorted(space.running(), key=lambda task: task["start_ns"] or task["submit_ns"])
    return tuple(_task(space, task, index < MOST_TASKS) for index, task in enumerate(found))


def _task(space: Space, task: _native._Running, is_shown: bool) -> InHand:
    note = space.notes(task["slot"], task["task_generation"]) if is_shown else None
    told = space.arguments(task["slot"], task["task_generation"]) if is_shown else None
    return InHand(
        task_id=space.task_id(task["slot"], task["task_generation"]),
        pid=task["pid"],
        function=named(task["function"]),
        is_running=task["state"] == "running",
        attempt=task["attempt"],
        queue=task["queue"],
        priority=task["priority"],
        submit_ns=task["submit_ns"],
        start_ns=task["start_ns"],
        limit_ms=task["limit_ms"],
        is_chunk=task["kind"] != 0,
        items_begun=task["items_begun"],
        note=None if note is None else Note(note[1], note[2]),
        arguments=summary(told),
    )


def _journal(space: Space) -> tuple[Entry, ...]:
    """The latest first, as many of each kind as are shown."""
    return tuple(
        Entry(
            at_ns=at_ns,
            kind=kind,
            pid=pid,
            task_id=space.task_id(slot, generation) if generation else None,
            function=named(function or space.name_of(slot, generation)) if generation else None,
            text=text,
        )
        for at_ns, kind, pid, slot, generation, text, function in latest(
            reversed(space.journal()), lambda event: event[1]
        )
    )


def merged(now: tuple[Entry, ...], before: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """What is in either, the latest first. A task's function may be forgotten by now: it was known before."""
    known = {(entry.at_ns, entry.pid, entry.kind, entry.text): entry for entry in (*now, *before)}
    return tuple(latest(sorted(known.values(), key=lambda entry: -entry.at_ns), lambda entry: entry.kind))


def latest(events: Iterable[T], kind_of: Callable[[T], str]) -> Iterator[T]:
    """Of events in their order, the first of each kind, as many as are shown."""
    room: dict[str, int] = {}
    for event in events:
        kind = kind_of(event)
        left = room.get(kind, MOST_EVENTS)
        if left:
            room[kind] = left - 1
            yield event
