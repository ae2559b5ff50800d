# SPDX-License-Identifier: MIT
"""Readings as metrics: the text format that Prometheus reads, and others with it.

Used by `localq metrics`. Pure: it is handed readings and makes text. Base units throughout (seconds, bytes); what only
grows ends in `_total`; `queue` is the name of a LocalQueue, `ring` that of one of its queues.
"""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

from localq.monitor.buckets import coarser

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from localq.monitor.raw import RawReading
    from localq.monitor.snapshot import Snapshot

__all__ = ["CONTENT_TYPE", "text_of"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Name without `localq_`, type, and what it says. In this order.
_FAMILIES = {
    "up": ("gauge", "1 while the queue runs."),
    "info": ("gauge", "Always 1; the labels say which queue it is."),
    "start_time_seconds": ("gauge", "When the queue began, in seconds since the epoch."),
    "capacity_tasks": ("gauge", "Tasks that may be on their way at once."),
    "tasks": ("gauge", "Tasks on their way, by state; done: not picked up by their client yet."),
    "queued_tasks": ("gauge", "Tasks that wait for a worker, by queue and priority."),
    "finished_tasks_total": ("counter", "Tasks that ended, by how."),
    "retries_total": ("counter", "Runs that failed and were begun again."),
    "items_total": ("counter", "Items of maps that were run; a chunk of them is one task."),
    "argument_bytes_total": ("counter", "Bytes of arguments that workers received."),
    "result_bytes_total": ("counter", "Bytes of results that workers sent."),
    "wait_seconds": ("histogram", "From submission (or the time that it was due) to the start of a task."),
    "run_seconds": ("histogram", "How long a run of a task took."),
    "function_tasks_total": ("counter", "Tasks of one function that ended, by how."),
    "function_retries_total": ("counter", "Runs of one function that failed and were begun again."),
    "function_run_seconds": ("histogram", "How long a run of that function took."),
    "workers": ("gauge", "Worker processes, by state."),
    "workers_wanted": ("gauge", "Worker processes that there should be."),
    "workers_memory_bytes": ("gauge", "Resident memory of all workers, without what they share."),
    "workers_started_total": ("counter", "Worker processes that were started."),
    "workers_crashed_total": ("counter", "Worker processes that died."),
    "supervisors_started_total": ("counter", "Supervisor processes that were started."),
    "tasks_requeued_total": ("counter", "Tasks that run again because their worker died."),
    "lines_lost_total": ("counter", "Lines that tasks wrote and nobody read in time."),
    "results": ("gauge", "Finished tasks that are readable by id, by whether their client has picked them up."),
    "results_room": ("gauge", "Results that are kept at most after they were picked up."),
    "memory_bytes": ("gauge", "Memory for large data, by what holds it."),
    "memory_size_bytes": ("gauge", "Memory for large data that there is."),
    "clients": ("gauge", "Processes that submit."),
}

_SLOTS = {"queued": ("queued",), "delayed": ("delayed",), "running": ("claimed", "running"), "done": ("done",)}
_WORKER_STATES = ("starting", "idle", "running", "stopped", "dead")

#: So many buckets become one: of a queue one an octave stays, of a function one for two; scrapers keep each of them.
_STEP = 4

Labels = dict[str, str]


def text_of(readings: Iterable[tuple[Snapshot, RawReading]], ended: Iterable[str] = ()) -> str:
    """All of them, one family after the other, as the format wants it. `ended`: names of queues that are not there."""
    page = _Page()
    for snapshot, raw in readings:
        _write_facts(page, snapshot)
        _write_tasks(page, snapshot, raw)
        _write_functions(page, snapshot, raw)
        _write_processes(page, snapshot)
        _write_memory(page, snapshot)
    for name in ended:
        page.put("up", 0, {"queue": name})
    return page.text()


class _Page:
    """Lines by family: those of one family must stand together, whichever queue they are of."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {name: [] for name in _FAMILIES}

    def put(self, family: str, value: float, labels: Labels, suffix: str = "") -> None:
        told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        self._lines[family].append(f"localq_{family}{suffix}{{{told}}} {_number(value)}")

    def put_histogram(
        self, family: str, counts: Sequence[int], bounds: Sequence[float], step: int, seconds: float, labels: Labels
    ) -> None:
        """`step`: so many buckets become one."""
        if not counts:
            return
        ends, sums = coarser(counts, bounds, step)
        for end, count in zip(ends, sums, strict=True):
            self.put(family, count, {**labels, "le": "+Inf" if isinf(end) else _number(end)}, "_bucket")
        self.put(family, seconds, labels, "_sum")
        self.put(family, sums[-1], labels, "_count")

    def text(self) -> str:
        lines = []
        for name, (kind, says) in _FAMILIES.items():
            if self._lines[name]:
                lines += [f"# HELP localq_{name} {says}", f"# TYPE localq_{name} {kind}", *self._lines[name]]
        return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _write_facts(page: _Page, snapshot: Snapshot) -> None:
    facts = snapshot.queue
    queue = {"queue": facts.name}
    page.put("up", 1, queue)
    page.put(
        "info",
        1,
        {**queue, "version": facts.version, "python": facts.python, "phase": facts.phase, "pid": str(facts.owner_pid)},
    )
    page.put("start_time_seconds", round(facts.started_at, 3), queue)
    page.put("capacity_tasks", snapshot.capacity, queue)


def _write_tasks(page: _Page, snapshot: Snapshot, raw: RawReading) -> None:
    queue = {"queue": snapshot.queue.name}
    for state, names in _SLOTS.items():
        page.put("tasks", sum(raw.slots[name] for name in names), {**queue, "state": state})
    for depths in snapshot.depths:
        for priority in ("critical", "high", "normal", "low"):
            page.put("queued_tasks", getattr(depths, priority), {**queue, "ring": depths.queue, "priority": priority})
    totals = snapshot.totals
    ends = {"succeeded": totals.done, "failed": totals.failed, "cancelled": totals.cancelled}
    for state, count in ends.items():
        page.put("finished_tasks_total", count, {**queue, "state": state})
    page.put("retries_total", totals.retried, queue)
    page.put("items_total", totals.items, queue)
    page.put("argument_bytes_total", totals.bytes_in, queue)
    page.put("result_bytes_total", totals.bytes_out, queue)
    bounds = raw.meter_bounds
    page.put_histogram("wait_seconds", raw.meters.wait, bounds, _STEP, totals.wait_seconds, queue)
    page.put_histogram("run_seconds", raw.meters.run, bounds, _STEP, totals.run_seconds, queue)


def _write_functions(page: _Page, snapshot: Snapshot, raw: RawReading) -> None:
    for calls in raw.functions:
        labels = {"queue": snapshot.queue.name, "function": calls.name}
        page.put("function_tasks_total", calls.done, {**labels, "state": "succeeded"})
        page.put("function_tasks_total", calls.failed, {**labels, "state": "failed"})
        page.put("function_retries_total", calls.retried, labels)
        page.put_histogram("function_run_seconds", calls.run, raw.function_bounds, _STEP, calls.run_ns / 1e9, labels)


def _write_processes(page: _Page, snapshot: Snapshot) -> None:
    queue = {"queue": snapshot.queue.name}
    for state in _WORKER_STATES:
        page.put("workers", sum(each.state == state for each in snapshot.workers), {**queue, "state": state})
    page.put("workers_wanted", snapshot.queue.workers, queue)
    page.put("workers_memory_bytes", sum(each.memory or 0 for each in snapshot.workers), queue)
    restarts = snapshot.restarts
    for name in ("workers_started", "workers_crashed", "supervisors_started", "tasks_requeued", "lines_lost"):
        page.put(f"{name}_total", getattr(restarts, name), queue)
    page.put("clients", len(snapshot.clients), queue)


def _write_memory(page: _Page, snapshot: Snapshot) -> None:
    queue = {"queue": snapshot.queue.name}
    page.put("results", snapshot.results.unread, {**queue, "state": "unread"})
    page.put("results", snapshot.results.kept, {**queue, "state": "kept"})
    page.put("results_room", snapshot.results.room, queue)
    for holder in ("arguments", "results", "functions", "kept", "pinned", "owned", "idle"):
        page.put("memory_bytes", getattr(snapshot.arena, holder), {**queue, "held_by": holder})
    page.put("memory_size_bytes", snapshot.arena.size, queue)
