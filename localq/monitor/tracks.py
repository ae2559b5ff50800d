# SPDX-License-Identifier: MIT
"""What was recorded of tasks as a trace that Perfetto and chrome://tracing open: Chrome's trace event format.

Used by the recorder. A queue is a process there, each worker and each client a track (a worker with coroutines as many
as it had on their way at once). Events are written as they come, and not kept: readers sort them. Knows files and
records, not memory. Times are CLOCK_MONOTONIC nanoseconds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from localq.monitor.raw import named

if TYPE_CHECKING:
    from typing import Protocol

    class Writer(Protocol):
        """As much of a file as is needed."""

        def write(self, text: str, /) -> int: ...


__all__ = ["Lanes", "Record", "TraceFile"]

MARK_NS = 1  # how wide moments are: an arrow needs something to begin and end at, and slices that overlap are dropped
CLIENT = -1  # in place of a lane
NUMBERS = 1 << 23  # of tracks that are not a process's first: process ids are smaller


class Record(NamedTuple):
    """One run of a task, as `Space.trace` tells it; 0: not known."""

    slot: int
    generation: int
    function: str | None
    kind: int
    pid: int
    submit_ns: int
    taken_ns: int
    begun_ns: int
    ended_ns: int
    sent_ns: int
    received_ns: int
    attempt: int
    items: int
    bytes_in: int
    bytes_out: int
    outcome: str | None


class Lanes:
    """Puts runs of one worker that overlap on tracks of their own: as few as there are runs at once, when they come in
    the order in which they ended."""

    def __init__(self) -> None:
        self._ends: list[int] = []

    def place(self, begin_ns: int, end_ns: int) -> int:
        """The number of a track that is free in between: of several the one that was used last."""
        free = [(end, lane) for lane, end in enumerate(self._ends) if end <= begin_ns]
        if not free:
            self._ends.append(end_ns)
            return len(self._ends) - 1
        lane = max(free)[1]
        self._ends[lane] = end_ns
        return lane


class TraceFile:
    """Writes one trace. `begin_ns`: what was before is cut off, so that a task of hours does not hide the rest."""

    def __init__(self, file: Writer, name: str, pid: int, begin_ns: int, facts: dict[str, object]) -> None:
        self._file = file
        self._pid = pid
        self._begin_ns = begin_ns
        self._tracks: dict[tuple[int, int], int] = {}  # by process and lane
        self._arrows = 0
        self._names: dict[str | None, str] = {}
        file.write(f'{{"displayTimeUnit": "ns",\n"otherData": {json.dumps(facts)},\n"traceEvents": [\n')
        # The first event has no comma before it; whatever is cut off behind one is still read.
        file.write(f'{{"ph":"M","name":"process_name","pid":{pid},"args":{{"name":{json.dumps(f"localq {name}")}}}}}')

    def run(self, record: Record, task_id: str, lane: int, is_ended: bool = True) -> None:
        """A run on its worker's track: transfer, run, return. `is_ended` False: it still went on when this ended."""
        track = self._worker(record.pid, lane)
        args = (
            f'"task":"{task_id}","attempt":{record.attempt},"run_us":{(record.ended_ns - record.begun_ns) / 1000}'
            f',"bytes_in":{record.bytes_in},"bytes_out":{record.bytes_out}'
            f',"outcome":"{record.outcome if is_ended else "not ended yet"}"'
        )
        if record.submit_ns and record.attempt <= 1:  # of a later run the wait began when the last one had failed
            args += f',"wait_us":{(record.taken_ns - record.submit_ns) / 1000}'
        if record.kind:
            args += f',"items":{record.items}'
        name = self._name(record.function)
        text = self._slice(name, "run", track, record.begun_ns, record.ended_ns, args)
        if record.begun_ns > max(record.taken_ns, self._begin_ns):
            text += self._slice('"transfer"', "transfer", track, record.taken_ns, record.begun_ns)
        if is_ended and record.sent_ns > record.ended_ns:
            text += self._slice('"return"', "return", track, record.ended_ns, record.sent_ns)
        self._file.write(text)

    def way(self, record: Record, lane: int, client: int, received_ns: int) -> None:
        """Arrows from its client's track to its run, and back. For a run that was written."""
        worker, track = self._worker(record.pid, lane), self._client(client)
        name, text = self._name(record.function), ""
        if record.attempt <= 1 and record.submit_ns >= self._begin_ns:
            text += self._slice(name, "submit", track, record.submit_ns, record.submit_ns + MARK_NS)
            text += self._arrow("wait", track, record.submit_ns, worker, record.taken_ns)
        text += self._slice(name, "result", track, received_ns, received_ns + MARK_NS)
        is_sent_later = record.sent_ns > record.ended_ns  # else it leads from the end of the run, not from its return
        left_ns = record.ended_ns if is_sent_later else max(record.begun_ns, record.ended_ns - 1)
        text += self._arrow("result", worker, max(left_ns, self._begin_ns), track, received_ns)
        self._file.write(text)

    def depth(self, at_ns: int, queued: int, running: int) -> None:
        """A point of the counters above the tracks."""
        self._event(f'"ph":"C","name":"tasks","ts":{_us(at_ns)},"args":{{"queued":{queued},"running":{running}}}')

    def lost(self, at_ns: int, count: int) -> None:
        """Records that were written over before they were read."""
        self._event(f'"ph":"i","s":"p","tid":0,"name":"{count} records lost","ts":{_us(at_ns)}')

    def end(self) -> None:
        self._file.write("\n]}\n")

    # the text of an event

    def _slice(self, name: str, category: str, track: int, begin_ns: int, end_ns: int, args: str = "") -> str:
        """`args`: what stands between the braces."""
        begin_ns = max(begin_ns, self._begin_ns)
        told = f',"args":{{{args}}}' if args else ""
        return (
            f',\n{{"pid":{self._pid},"tid":{track},"ph":"X","name":{name},"cat":"{category}"'
            f',"ts":{_us(begin_ns)},"dur":{_us(max(end_ns - begin_ns, 0))}{told}}}'
        )

    def _arrow(self, name: str, tail: int, begin_ns: int, head: int, end_ns: int) -> str:
        self._arrows += 1
        same = f'"name":"{name}","cat":"{name}","id":{self._arrows}'
        return (
            f',\n{{"pid":{self._pid},"tid":{tail},"ph":"s",{same},"ts":{_us(begin_ns)}}}'
            f',\n{{"pid":{self._pid},"tid":{head},"ph":"f","bp":"e",{same},"ts":{_us(max(end_ns, self._begin_ns))}}}'
        )

    # tracks and names

    def _worker(self, pid: int, lane: int) -> int:
        number = self._tracks.get((pid, lane))
        return number or self._track(pid, lane, f"worker {pid}" + (f" ({lane + 1})" if lane else ""))

    def _client(self, pid: int) -> int:
        number = self._tracks.get((pid, CLIENT))
        return number or self._track(pid, CLIENT, f"client {pid}")

    def _track(self, pid: int, lane: int, name: str) -> int:
        """Its number: the process's own, for its first one."""
        number = pid if pid not in self._tracks.values() else NUMBERS + len(self._tracks)
        self._tracks[pid, lane] = number
        self._event(f'"ph":"M","name":"thread_name","tid":{number},"args":{{"name":{json.dumps(name)}}}')
        order = pid + (0 if lane == CLIENT else NUMBERS)  # clients above workers
        self._event(f'"ph":"M","name":"thread_sort_index","tid":{number},"args":{{"sort_index":{order}}}')
        return number

    def _name(self, function: str | None) -> str:
        text = self._names.get(function)
        if text is None:
            text = self._names[function] = json.dumps(named(function) or "(unknown)")
        return text

    def _event(self, text: str) -> None:
        self._file.write(f',\n{{"pid":{self._pid},{text}}}')


def _us(ns: int) -> str:
    """Microseconds, exactly."""
    return f"{ns // 1000}.{ns % 1000:03d}"
