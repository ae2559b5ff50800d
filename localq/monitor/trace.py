# SPDX-License-Identifier: MIT
"""Record what becomes of every task of a queue for a while: into a file for Perfetto, and a summary.

Used by `LocalQueue.trace` and `localq trace`. Workers and clients write a record a task into rings of their own as long
as somebody wants them; that wish is renewed each second and lapses by itself, so a recorder that is killed costs
nothing for long. What is read is written on at once: nothing grows with the length of the recording.
"""

from __future__ import annotations

import os
import select
import time
from threading import Thread
from typing import TYPE_CHECKING

from localq import _native
from localq.errors import LocalqError
from localq.monitor.spent import TimeSpent
from localq.monitor.tracks import Lanes, Record, TraceFile
from localq.pool.processes import ended_by, open_process

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from localq._native import Space
    from localq.monitor.interval import About
    from localq.monitor.spent import TraceSummary

__all__ = ["Trace"]

AHEAD = 3.0  # seconds that records are wanted for beyond now
RENEWED = 1.0  # seconds between two such wishes
PAUSE_LEAST, PAUSE_MOST = 0.001, 0.01  # seconds between two readings: a ring holds some 1,000 records
MANY = 100  # records of one reading after which the next one is made soon
MOST_ON_THEIR_WAY = 50_000  # runs whose client may still say that it has the result
MOST_TEXTS = 1000  # records, that is, before they are written
LATE = 0.005  # seconds: a record is written just after its result was sent


_NO_FAILURES = ("success", "cancelled")


class Trace:
    """One recording. In a `with` block, or by `record`; afterwards `summary` says where the time went."""

    def __init__(self, space: Space, about: About, path: str | os.PathLike[str], concurrency: int = 1) -> None:
        """`space`: mapped for writing. `concurrency`: tasks that one worker may have on their way at once."""
        self.path = os.fsdecode(path)
        self._space = space
        self._about = about
        self._pid = 0  # whose recording it is
        self._has_lanes = concurrency > 1
        self._stop = -1  # an eventfd: a signal's handler may write to it at any moment
        self._thread: Thread | None = None
        self._recording: _Recording | None = None
        self._failure: BaseException | None = None
        self._summary: TraceSummary | None = None

    @property
    def summary(self) -> TraceSummary:
        """Where the time went. Raises LocalqError: the recording has not ended yet."""
        if self._summary is None:
            raise LocalqError("the trace has no summary before its recording has ended")
        return self._summary

    def record(self, seconds: float) -> TraceSummary:
        """Record here and now, for so long, or until `stop`. Ctrl-C leaves the file whole, too.

        Raises:
            OSError: the file can't be written.
        """
        self._begin()
        try:
            self._run(time.monotonic() + seconds)
        finally:
            self._end()
        return self.summary

    def stop(self) -> None:
        """End `record`, from another thread or a signal's handler."""
        if self._stop >= 0:
            os.eventfd_write(self._stop, 1)

    def __enter__(self) -> Self:
        """Record in a thread, until the end of the block. Raises OSError: the file can't be written."""
        self._begin()
        self._thread = Thread(target=self._run_beside, name="localq-trace", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raises OSError: the file could not be written on."""
        if self._pid != os.getpid():
            return  # a fork: the recording is the parent's
        assert self._thread is not None
        self.stop()
        self._thread.join()
        self._end()
        if self._failure is not None and kind is None:
            raise self._failure

    def _begin(self) -> None:
        if self._recording is not None:
            raise LocalqError("this trace was recorded already: ask the queue for another one")
        self._pid = os.getpid()
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._recording = _Recording(self._space, self._about, self.path, self._has_lanes)
        except BaseException:
            self._close()
            raise

    def _run_beside(self) -> None:
        try:
            self._run(float("inf"))
        except OSError as error:  # no room on the disk
            self._failure = error

    def _run(self, until: float) -> None:
        assert self._recording is not None
        stopped = select.poll()
        stopped.register(self._stop, select.POLLIN)
        pause = PAUSE_MOST
        while (left := until - time.monotonic()) > 0 and not stopped.poll(min(pause, left) * 1000):
            if self._recording.is_over:
                return
            many = self._recording.go_on()
            pause = PAUSE_LEAST if many >= MANY else min(pause * 2, PAUSE_MOST)

    def _end(self) -> None:
        assert self._recording is not None
        try:
            self._summary = self._recording.end()
        finally:
            self._close()

    def _close(self) -> None:
        stop, self._stop = self._stop, -1
        os.close(stop)


class _File:
    """A text file without a buffer of the interpreter's: that would be written once more by each process that is forked
    meanwhile, when it ends."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._texts: list[str] = []

    def write(self, text: str) -> int:
        self._texts.append(text)
        if len(self._texts) >= MOST_TEXTS:
            self.flush()
        return len(text)

    def flush(self) -> None:
        left = memoryview("".join(self._texts).encode())
        self._texts.clear()
        while left:
            left = left[os.write(self._fd, left) :]

    def close(self) -> None:
        os.close(self._fd)


class _Recording:
    """Reads the rings, and puts together what belongs together: a run, and that its client has the result."""

    def __init__(self, space: Space, about: About, path: str, has_lanes: bool) -> None:
        self._space = space
        self._about = about
        self._path = path
        self._file = _File(path)
        self._lanes: dict[int, Lanes] | None = {} if has_lanes else None
        self._runs: dict[tuple[int, int], tuple[Record, int]] = {}  # and their lanes; the oldest first
        self._received: dict[tuple[int, int], tuple[int, int]] = {}  # came before its run's: client, when
        self._lost = 0
        self._depth = -1, -1  # as written last: queued, running
        self._cursor = bytearray()
        self._wanted_until = 0.0
        try:
            self._owner = open_process(about.owner_pid, 0)
            space.trace(self._cursor)  # what others had wanted is not ours
            meters = space.meters()
            self._counted = _finished(meters), meters["items"]
            self._want()
        except BaseException:
            self._file.close()
            raise
        self._begin_ns = _native.now_ns()
        self._spent = TimeSpent(self._begin_ns)
        facts: dict[str, object] = {
            "queue": about.name,
            "localq": about.version,
            "python": about.python,
            "started_at": time.time(),
        }
        self._tracks = TraceFile(self._file, about.name, about.owner_pid, self._begin_ns, facts)

    @property
    def is_over(self) -> bool:
        """The queue was closed, or its owner is gone: nothing more will come."""
        return self._space.phase == _native.PHASE_STOPPED or self._owner is None or ended_by(self._owner)

    def go_on(self) -> int:
        """Write what came; how much that was."""
        self._want()
        records, lost = self._space.trace(self._cursor)
        at_ns = _native.now_ns()
        for found in records:
            self._take(Record(*found))
        if lost:
            self._lost += lost
            self._tracks.lost(at_ns, lost)
        slots = self._space.slots()
        depth = slots["queued"], slots["claimed"] + slots["running"]
        if depth != self._depth:
            self._depth = depth
            self._tracks.depth(at_ns, *depth)
        self._file.flush()
        return len(records) + lost

    def end(self) -> TraceSummary:
        """Write the rest, and close the file."""
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None
        try:
            if self.go_on():
                time.sleep(LATE)
                self.go_on()
            end_ns = _native.now_ns()
            self._write_unfinished(end_ns)
            self._tracks.end()
            self._file.flush()
        finally:
            self._file.close()
        meters = self._space.meters()
        tasks, items = self._counted
        return self._spent.summary(
            queue=self._about.name,
            path=self._path,
            seconds=(end_ns - self._begin_ns) / 1e9,
            lost=self._lost,
            tasks=_finished(meters) - tasks,
            items=meters["items"] - items,
            workers=self._space.workers,
        )

    def _want(self) -> None:
        now = time.monotonic()
        if now + AHEAD - RENEWED >= self._wanted_until:
            self._wanted_until = now + AHEAD
            self._space.trace_until(_native.now_ns() + int(AHEAD * 1e9))

    def _take(self, record: Record) -> None:
        key = record.slot, record.generation
        if not record.begun_ns:
            if record.received_ns:
                self._take_pickup(key, record.pid, record.received_ns)
            return
        if record.ended_ns <= self._begin_ns:
            return
        if not record.taken_ns:  # when that was is remembered only while somebody records
            record = record._replace(taken_ns=record.begun_ns)
        lane = 0
        if self._lanes is not None:
            lane = self._lanes.setdefault(record.pid, Lanes()).place(record.taken_ns, record.sent_ns)
        self._tracks.run(record, self._space.task_id(*key), lane)
        self._spent.add(record, record.outcome not in _NO_FAILURES)
        early = self._received.pop(key, None)
        if early is not None and early[1] >= record.ended_ns:
            self._finish(record, lane, *early)
            return
        self._runs[key] = record, lane
        if len(self._runs) > MOST_ON_THEIR_WAY:
            del self._runs[next(iter(self._runs))]

    def _take_pickup(self, key: tuple[int, int], client: int, received_ns: int) -> None:
        found = self._runs.pop(key, None)
        if found is not None:
            self._finish(*found, client, received_ns)
            return
        self._received[key] = client, received_ns
        if len(self._received) > MOST_ON_THEIR_WAY:
            del self._received[next(iter(self._received))]

    def _finish(self, record: Record, lane: int, client: int, received_ns: int) -> None:
        self._tracks.way(record, lane, client, received_ns)
        self._spent.add_pickup(record, received_ns)

    def _write_unfinished(self, end_ns: int) -> None:
        """What still runs: what takes long is what one wants to see."""
        for task in self._space.running():
            if task["state"] == "running" and 0 < task["start_ns"] < end_ns:
                record = Record(
                    task["slot"],
                    task["task_generation"],
                    task["function"],
                    task["kind"],
                    task["pid"],
                    task["submit_ns"],
                    task["start_ns"],
                    task["start_ns"],
                    end_ns,
                    end_ns,
                    0,
                    task["attempt"],
                    task["items_begun"],
                    0,
                    0,
                    None,
                )
                lane = 0
                if self._lanes is not None:
                    lane = self._lanes.setdefault(record.pid, Lanes()).place(record.taken_ns, end_ns)
                self._tracks.run(record, self._space.task_id(record.slot, record.generation), lane, is_ended=False)
                self._spent.add_busy(record.taken_ns, end_ns)


def _finished(meters: _native._Meters) -> int:
    """Runs that have ended, whatever came of them."""
    return meters["succeeded"] + meters["failed"] + meters["retried"]
