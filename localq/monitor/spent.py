# SPDX-License-Identifier: MIT
"""Where the time of tasks went, and what may be done about it.

Used by the recorder, which shows it a record at a time. Keeps sums and histograms by function, no records. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from localq.monitor.buckets import Histogram
from localq.monitor.raw import named
from localq.monitor.snapshot import Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localq.monitor.tracks import Record

__all__ = ["FunctionTime", "TimeSpent", "TraceSummary"]

MOST_FUNCTIONS = 1000  # with sums of their own
OTHERS = "(others)"
UNKNOWN = "(unknown)"

ENOUGH = 20  # tasks from which something may be concluded
SHORT = 50e-6  # seconds: a run below that is not much longer than its way there and back
SHORT_CHUNK = 500e-6  # a chunk of that length has used up what there is to gain
MANY_ITEMS = 100  # of a chunk: more gain nothing
LARGE = 1_000_000  # bytes: from there on copying shows
MUCH = 0.2  # of a task's time in a worker
IDLE = 0.5  # of the workers' time
BUSY = 0.9
OFTEN = 0.1  # of the runs failed
FAR_LONGER = 20.0  # times the median, and so long that it held up the end


class FunctionTime(msgspec.Struct, frozen=True, kw_only=True):
    """All recorded runs of one function; sums in seconds."""

    name: str
    runs: int
    failed: int
    chunks: int  # among the runs: of maps
    items: int  # of these chunks
    per_second: float
    wait: float  # from submission to a worker, of first runs
    transfer: float  # there until its arguments were unpacked
    run: float
    run_of_calls: float  # of it; the rest is of chunks
    returned: float  # until its result was sent
    unread: float  # until its client had it, where that was seen
    shares: dict[str, float]  # of wait, transfer, run and return in their sum
    runs_spread: Spread
    waits_spread: Spread
    bytes_in: int
    bytes_out: int


class TraceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time went while a queue was traced. Times in seconds, sizes in bytes."""

    queue: str
    path: str
    seconds: float
    runs: int  # recorded
    lost: int  # records that came faster than they could be read
    failed: int
    tasks_per_second: float  # of all, also of those whose records were lost
    items_per_second: float
    workers: int
    busy: float  # share of the workers' time in which they had a task in hand, 0 to 1
    shares: dict[str, float]  # of wait, transfer, run and return in the time of all tasks
    functions: tuple[FunctionTime, ...]  # the most time in workers first
    advice: tuple[str, ...]  # sentences; none: nothing stands out


class _Sums:
    """Of one function."""

    def __init__(self) -> None:
        self.runs = self.failed = self.chunks = self.items = self.bytes_in = self.bytes_out = 0
        self.transfer = self.returned = self.unread = self.calls = 0.0
        self.waits, self.lengths = Histogram(), Histogram()

    def add(self, record: Record, has_failed: bool) -> None:
        self.runs += 1
        self.failed += has_failed
        if record.kind:
            self.chunks += 1
            self.items += record.items
        else:
            self.calls += _between(record.begun_ns, record.ended_ns)
        self.bytes_in += record.bytes_in
        self.bytes_out += record.bytes_out
        if record.submit_ns and record.attempt <= 1:
            self.waits.add(_between(record.submit_ns, record.taken_ns))
        self.transfer += _between(record.taken_ns, record.begun_ns)
        self.lengths.add(_between(record.begun_ns, record.ended_ns))
        self.returned += _between(record.ended_ns, record.sent_ns)

    @property
    def in_worker(self) -> float:
        return self.transfer + self.lengths.seconds + self.returned


class TimeSpent:
    """What was seen so far. `begin_ns`: of the trace; what a run had used before does not count as busy."""

    def __init__(self, begin_ns: int) -> None:
        self._begin_ns = begin_ns
        self._by_name: dict[str, _Sums] = {}
        self._known: dict[str | None, _Sums] = {}  # by the names that records have
        self._busy = 0.0

    def add(self, record: Record, has_failed: bool) -> None:
        """A run that has ended."""
        self._sums_of(record.function).add(record, has_failed)
        self._busy += _between(max(record.taken_ns, self._begin_ns), record.sent_ns)

    def add_busy(self, since_ns: int, until_ns: int) -> None:
        """A run that still goes on."""
        self._busy += _between(max(since_ns, self._begin_ns), until_ns)

    def add_pickup(self, record: Record, received_ns: int) -> None:
        """The client of a run that was added has its result."""
        self._sums_of(record.function).unread += _between(record.sent_ns, received_ns)

    def summary(
        self, *, queue: str, path: str, seconds: float, lost: int, tasks: int, items: int, workers: int
    ) -> TraceSummary:
        """`tasks`, `items`: as the queue itself counted in these `seconds`, whether or not they were recorded."""
        seconds = max(seconds, 1e-9)
        functions = [_function(name, sums, seconds) for name, sums in self._by_name.items()]
        functions.sort(key=lambda each: (-(each.transfer + each.run + each.returned), each.name))
        runs = sum(each.runs for each in functions)
        seen = runs / max(tasks, runs) if runs else 1.0
        made = TraceSummary(
            queue=queue,
            path=path,
            seconds=seconds,
            runs=runs,
            lost=lost,
            failed=sum(each.failed for each in functions),
            tasks_per_second=max(tasks, runs) / seconds,
            items_per_second=items / seconds,
            workers=workers,
            busy=min(1.0, self._busy / seen / (seconds * max(workers, 1))),
            shares=_shares(*(sum(getattr(each, part) for each in functions) for part in _PARTS)),
            functions=tuple(functions),
            advice=(),
        )
        return msgspec.structs.replace(made, advice=tuple(_advice(made)))

    def _sums_of(self, function: str | None) -> _Sums:
        sums = self._known.get(function)
        if sums is None:
            name = named(function) or UNKNOWN
            if name not in self._by_name and len(self._by_name) >= MOST_FUNCTIONS:
                name = OTHERS
            sums = self._by_name.setdefault(name, _Sums())
            if len(self._known) < MOST_FUNCTIONS:
                self._known[function] = sums
        return sums


_PARTS = ("wait", "transfer", "run", "returned")


def _between(begin_ns: int, end_ns: int) -> float:
    return max(0, end_ns - begin_ns) / 1e9


def _shares(wait: float, transfer: float, run: float, returned: float) -> dict[str, float]:
    total = wait + transfer + run + returned
    parts = {"wait": wait, "transfer": transfer, "run": run, "return": returned}
    return {name: part / total if total else 0.0 for name, part in parts.items()}


def _function(name: str, sums: _Sums, seconds: float) -> FunctionTime:
    return FunctionTime(
        name=name,
        runs=sums.runs,
        failed=sums.failed,
        chunks=sums.chunks,
        items=sums.items,
        per_second=sums.runs / seconds,
        wait=sums.waits.seconds,
        transfer=sums.transfer,
        run=sums.lengths.seconds,
        run_of_calls=sums.calls,
        returned=sums.returned,
        unread=sums.unread,
        shares=_shares(sums.waits.seconds, sums.transfer, sums.lengths.seconds, sums.returned),
        runs_spread=sums.lengths.spread(),
        waits_spread=sums.waits.spread(),
        bytes_in=sums.bytes_in,
        bytes_out=sums.bytes_out,
    )


# --- advice ---------------------------------------------------------------------------------------------------------


def _advice(summary: TraceSummary) -> Iterator[str]:
    if not summary.runs:
        if summary.busy < IDLE:
            yield "No task ended while the queue was traced, and its workers were idle."
        return
    for function in summary.functions:
        if function.runs >= ENOUGH:
            yield from _of_length(function)
        yield from _of_size(function)
        if function.runs >= ENOUGH:
            yield from _of_shape(function)
    yield from _of_workers(summary)


def _of_length(function: FunctionTime) -> Iterator[str]:
    calls, chunks = function.runs - function.chunks, function.chunks
    way = (function.transfer + function.returned) / function.runs
    if calls >= ENOUGH and function.run_of_calls / calls < SHORT:
        yield (
            f"Tasks of {function.name} run {time_of(function.run_of_calls / calls)} each, and {time_of(way)} more go by"
            " in the worker to unpack and to answer: use map, which sends many of them at a time."
        )
    if chunks >= ENOUGH:
        mean, items = (function.run - function.run_of_calls) / chunks, function.items / chunks
        if mean < SHORT_CHUNK and items < MANY_ITEMS:
            wanted = max(10, round(4 * SHORT_CHUNK * items / mean)) if mean else 1000
            yield (
                f"The chunks of {function.name} have {items:.3g} items and run {time_of(mean)}: larger ones cost less,"
                f" chunksize={wanted} or none for automatic ones."
            )


def _of_size(function: FunctionTime) -> Iterator[str]:
    in_worker = function.transfer + function.run + function.returned
    given, made = function.bytes_in / function.runs, function.bytes_out / function.runs
    if given >= LARGE and function.transfer >= MUCH * in_worker:
        yield (
            f"Arguments of {function.name} have {size_of(given)} each, and unpacking them takes"
            f" {function.transfer / in_worker:.0%} of its time in workers: store what several tasks share with q.put,"
            " or begin with arrays in the queue's memory (q.empty, q.asarray)."
        )
    if made >= LARGE and function.returned >= MUCH * in_worker:
        yield (
            f"Results of {function.name} have {size_of(made)} each, and sending them takes"
            f" {function.returned / in_worker:.0%} of its time in workers: return less, or write into an array of"
            " q.empty (options(out=...))."
        )
    small = given < LARGE and made < LARGE
    is_long = function.run >= SHORT * function.runs
    if small and function.runs >= ENOUGH and is_long and function.transfer >= function.run:
        yield (
            f"Unpacking the arguments of {function.name} takes longer ({time_of(function.transfer / function.runs)})"
            f" than running it ({time_of(function.run / function.runs)}): send less, or simpler objects."
        )


def _of_shape(function: FunctionTime) -> Iterator[str]:
    if function.failed >= OFTEN * function.runs:
        yield f"{function.failed / function.runs:.0%} of the runs of {function.name} failed."
    most, median = function.runs_spread.most, function.runs_spread.p50
    if most and median and most >= FAR_LONGER * median and most >= MUCH * function.run and most >= 0.1:
        yield (
            f"One run of {function.name} took {time_of(most)}, most take {time_of(median)}: submit the longest ones"
            " first (priority), or split them."
        )


def _of_workers(summary: TraceSummary) -> Iterator[str]:
    waits = sum(each.wait for each in summary.functions) / summary.runs
    runs = sum(each.run for each in summary.functions) / summary.runs
    if summary.busy <= 1 - IDLE:
        why = (
            "tasks come more slowly than they are run. Submit more of them before you wait for results, or use map"
            if waits < max(10 * runs, 1e-3)
            else "they wait for processors, or the memory, of the machine"
        )
        yield f"Workers were idle {1 - summary.busy:.0%} of the time: {why}."
    elif summary.busy >= BUSY and waits >= 10 * runs and waits >= 1e-3:
        yield (
            f"All {summary.workers} workers were busy {summary.busy:.0%} of the time, and a task waited"
            f" {time_of(waits)} for one: more workers help if this machine has processors left."
        )


def time_of(seconds: float) -> str:
    """A length of time in words."""
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def size_of(count: float) -> str:
    """A number of bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
