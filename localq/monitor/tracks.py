# SPDX-License-Identifier: MIT
"""What was recorded of tasks as a trace that Perfetto and chrome://tracing open: Chrome's trace event format.

Used by the recorder. A queue is a process there, each worker and each client a track (a worker with coroutines as many
as it had on their way at once). Events are written as they come, and not kept: readers sort them. Knows files and
records, not memory. Times are CLOCK_MONOTONIC nanoseconds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Lanes", "Record", "TraceFile"]

MARK_NS = 100  # how wide moments are drawn: an arrow needs something to begin and end at
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

    def __init__(self, file: TextIO, name: str, pid: int, begin_ns: int, facts: dict[str, object]) -> None:
        self._file = file
        self._pid = pid
        self._begin_ns = begin_ns
        self._tracks: dict[str, int] = {}
        self._arrows = 0
        self._names: dict[str, str] = {}
        file.write(f'{{"displayTimeUnit": "ns",\n"otherData": {json.dumps(facts)},\n"traceEvents": [\n')
        # The first event has no comma before it; whatever is cut off behind one is still read.
        file.write(f'{{"ph":"M","name":"process_name","pid":{pid},"args":{{"name":{json.dumps(f"localq {name}")}}}}}')

    def run(self, record: Record, task_id: str, lane: int, is_ended: bool = True) -> None:
        """A run on its worker's track: transfer, run, return. `is_ended` False: it still went on when this ended."""
        track = self._worker(record.pid, lane)
        name = self._name(record.function)
        self._slice('"transfer"', "transfer", track, record.taken_ns, record.begun_ns)
        args = {
            "task": task_id,
            "attempt": record.attempt,
            "run_us": (record.ended_ns - record.begun_ns) / 1000,
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
            "outcome": record.outcome,
        }
        if record.submit_ns and record.attempt <= 1:  # of a later run the wait began when the last one had failed
            args["wait_us"] = (record.taken_ns - record.submit_ns) / 1000
        if record.kind:
            args["items"] = record.items
        if not is_ended:
            args["outcome"] = "not ended yet"
        self._slice(name, "run", track, record.begun_ns, record.ended_ns, json.dumps(args))
        if is_ended:
            self._slice('"return"', "return", track, record.ended_ns, record.sent_ns)

    def way(self, record: Record, lane: int, client: int, received_ns: int) -> None:
        """Arrows from its client's track to its run, and back. For a run that was written."""
        worker, track = self._worker(record.pid, lane), self._client(client)
        name = self._name(record.function)
        if record.attempt <= 1 and record.submit_ns >= self._begin_ns:
            self._slice(name, "submit", track, record.submit_ns, record.submit_ns + MARK_NS)
            self._arrow("wait", track, record.submit_ns, worker, record.taken_ns)
        self._slice(name, "result", track, received_ns, received_ns + MARK_NS)
        self._arrow("result", worker, max(record.ended_ns, self._begin_ns), track, received_ns)

    def depth(self, at_ns: int, queued: int, running: int) -> None:
        """A point of the counters above the tracks."""
        self._event(f'"ph":"C","name":"tasks","ts":{_us(at_ns)},"args":{{"queued":{queued},"running":{running}}}')

    def lost(self, at_ns: int, count: int) -> None:
        """Records that were written over before they were read."""
        self._event(f'"ph":"i","s":"p","tid":0,"name":"{count} records lost","ts":{_us(at_ns)}')

    def end(self) -> None:
        self._file.write("\n]}\n")

    # one event

    def _slice(self, name: str, category: str, track: int, begin_ns: int, end_ns: int, args: str = "") -> None:
        begin_ns = max(begin_ns, self._begin_ns)
        width = max(end_ns - begin_ns, 1)
        told = f',"args":{args}' if args else ""
        self._event(
            f'"ph":"X","name":{name},"cat":"{category}","tid":{track},"ts":{_us(begin_ns)},"dur":{_us(width)}{told}'
        )

    def _arrow(self, name: str, tail: int, begin_ns: int, head: int, end_ns: int) -> None:
        self._arrows += 1
        same = f'"name":"{name}","cat":"{name}","id":{self._arrows}'
        self._event(f'"ph":"s",{same},"tid":{tail},"ts":{_us(begin_ns)}')
        self._event(f'"ph":"f","bp":"e",{same},"tid":{head},"ts":{_us(max(end_ns, self._begin_ns))}')

    def _worker(self, pid: int, lane: int) -> int:
        return self._track(f"worker {pid}" + (f" ({lane + 1})" if lane else ""), pid, 1)

    def _client(self, pid: int) -> int:
        return self._track(f"client {pid}", pid, 0)

    def _track(self, name: str, pid: int, place: int) -> int:
        """Its number: the process's own, for its first one. `place`: where it is shown, from above."""
        number = self._tracks.get(name)
        if number is None:
            number = pid if pid not in self._tracks.values() else NUMBERS + len(self._tracks)
            self._tracks[name] = number
            self._event(f'"ph":"M","name":"thread_name","tid":{number},"args":{{"name":{json.dumps(name)}}}')
            order = place * NUMBERS + pid
            self._event(f'"ph":"M","name":"thread_sort_index","tid":{number},"args":{{"sort_index":{order}}}')
        return number

    def _name(self, function: str | None) -> str:
        name = function or "(unknown)"
        if name not in self._names:
            self._names[name] = json.dumps(name)
        return self._names[name]

    def _event(self, text: str) -> None:
        self._file.write(f',\n{{"pid":{self._pid},{text}}}')


def _us(ns: int) -> str:
    """Microseconds, exactly."""
    return f"{ns // 1000}.{ns % 1000:03d}"
