# SPDX-License-Identifier: MIT
"""Make a Snapshot of two raw readings: totals from the later one, rates from what came in between.

Used by the reader. Pure: it is handed readings, and asks neither the clock nor the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from localq._native import PHASE_BROKEN, PHASE_DRAINING, PHASE_OPEN, PHASE_STOPPED
from localq.monitor.buckets import since, spread
from localq.monitor.problems import problems_of
from localq.monitor.snapshot import (
    ArenaReading,
    CachedResults,
    ClientReading,
    Depths,
    Event,
    FunctionReading,
    QueueFacts,
    Rates,
    Restarts,
    RunningTask,
    Snapshot,
    Spread,
    Totals,
    WorkerReading,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from localq.monitor.raw import Calls, Entry, InHand, RawReading, Row

__all__ = ["FAILURES", "PHASES", "PRIORITIES", "UNKNOWN", "About", "snapshot_of"]

PHASES = {PHASE_OPEN: "open", PHASE_DRAINING: "draining", PHASE_STOPPED: "stopped", PHASE_BROKEN: "broken"}
PRIORITIES = ("critical", "high", "normal", "low")
FAILURES = ("failure", "retry", "crash", "timeout")
UNKNOWN = "(unknown)"  # a function whose name was not told

MOST_TASKS = 100  # of those in hand, the longest
MOST_EVENTS = 100  # of each kind, the latest


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change in the life of a queue."""

    name: str
    owner_pid: int
    owner: str
    command: str
    python: str
    version: str
    queues: tuple[str, ...]
    capacity: int
    memory: int
    result_cache_size: int
    result_ttl: float | None
    began: float | None = None  # seconds since the epoch; None: when its owner joined


def snapshot_of(about: About, now: RawReading, before: RawReading | None, last: Snapshot | None = None) -> Snapshot:
    """`before`: None for the first. `last`: the Snapshot that was made of it, for what is wrong."""
    began_ns = _began(about, now)
    seconds = max((now.at_ns - (began_ns if before is None else before.at_ns)) / 1e9, 1e-9)
    made = Snapshot(
        taken_at=now.wall,
        queue=_facts(about, now, began_ns),
        capacity=about.capacity,
        queued=now.slots["queued"],
        delayed=now.slots["delayed"],
        running=now.slots["claimed"] + now.slots["running"],
        depths=_depths(about, now),
        rates=_rates(now, before, seconds),
        totals=_totals(now),
        wait=_spread_between(now, before, "wait"),
        run=_spread_between(now, before, "run"),
        workers=_workers(now, before),
        functions=_functions(now, before, seconds),
        slowest=_slowest(about, now),
        failures=_events(now, FAILURES),
        log=_events(now, ("log",)),
        restarts=_restarts(now),
        results=CachedResults(
            kept=now.slots["cached"],
            unread=now.slots["done"],
            room=about.result_cache_size,
            ttl=about.result_ttl,
        ),
        arena=ArenaReading(size=about.memory, **now.holdings),
        clients=_clients(about, now),
    )
    return msgspec.structs.replace(made, problems=problems_of(made, last))


def _began(about: About, now: RawReading) -> int:
    """When the queue did. Its owner was the first to join, or nearly."""
    if about.began is not None:
        return now.at_ns - int(max(0.0, now.wall - about.began) * 1e9)
    times = [row.joined_ns for row in now.rows if row.joined_ns]
    owners = [row.joined_ns for row in now.rows if row.joined_ns and row.pid == about.owner_pid]
    return min(owners or times, default=now.at_ns)


def _facts(about: About, now: RawReading, began_ns: int) -> QueueFacts:
    uptime = max(0.0, (now.at_ns - began_ns) / 1e9)
    supervisor = next((row for row in now.rows if row.role == "supervisor" and not _is_gone(row)), None)
    return QueueFacts(
        name=about.name,
        owner_pid=about.owner_pid,
        owner=about.owner,
        command=about.command,
        supervisor_pid=supervisor.pid if supervisor else None,
        started_at=now.wall - uptime,
        uptime=uptime,
        python=about.python,
        version=about.version,
        phase=PHASES.get(now.phase, "broken"),
        workers=now.workers,
        queues=about.queues,
        is_supervisor_stopped=supervisor is not None and _is_stopped(supervisor),
    )


def _is_stopped(row: Row) -> bool:
    return row.figures is not None and row.figures.state == "stopped"


def _is_gone(row: Row) -> bool:
    return row.figures is not None and row.figures.state == "ended"


def _depths(about: About, now: RawReading) -> tuple[Depths, ...]:
    return tuple(
        Depths(queue=queue, **dict(zip(PRIORITIES, depths, strict=True)))
        for queue, depths in zip(about.queues, now.depths, strict=False)
    )


# --- what was counted -----------------------------------------------------------------------------------------------


def _rates(now: RawReading, before: RawReading | None, seconds: float) -> Rates:
    def rate(later: int, sooner: int) -> float:
        return max(0, later - sooner) / seconds

    after, then = now.meters, None if before is None else before.meters
    return Rates(
        seconds=seconds,
        done=rate(after.done, then.done if then else 0),
        failed=rate(after.failed, then.failed if then else 0),
        retried=rate(after.retried, then.retried if then else 0),
        items=rate(after.items, then.items if then else 0),
        bytes_in=rate(after.bytes_in, then.bytes_in if then else 0),
        bytes_out=rate(after.bytes_out, then.bytes_out if then else 0),
    )


def _totals(now: RawReading) -> Totals:
    meters = now.meters
    return Totals(
        done=meters.done,
        failed=meters.failed,
        retried=meters.retried,
        cancelled=meters.cancelled,
        items=meters.items,
        bytes_in=meters.bytes_in,
        bytes_out=meters.bytes_out,
        run_seconds=meters.run_ns / 1e9,
        wait_seconds=meters.wait_ns / 1e9,
    )


def _spread_between(now: RawReading, before: RawReading | None, which: str) -> Spread:
    counts = getattr(now.meters, which)
    then = getattr(before.meters, which) if before else ()
    total = getattr(now.meters, f"{which}_ns") - (getattr(before.meters, f"{which}_ns") if before else 0)
    return spread(since(counts, then), now.meter_bounds, total / 1e9)


def _functions(now: RawReading, before: RawReading | None, seconds: float) -> tuple[FunctionReading, ...]:
    then = {calls.name: calls for calls in before.functions} if before else {}
    found = [_function(calls, then.get(calls.name), now.function_bounds, seconds) for calls in now.functions]
    return tuple(sorted(found, key=lambda function: (-function.run_seconds, function.name)))


def _function(calls: Calls, before: Calls | None, bounds: tuple[float, ...], seconds: float) -> FunctionReading:
    more = calls.done + calls.failed - (before.done + before.failed if before else 0)
    return FunctionReading(
        name=calls.name,
        done=calls.done,
        failed=calls.failed,
        retried=calls.retried,
        items=calls.items,
        per_second=max(0, more) / seconds,
        run=spread(calls.run, bounds, calls.run_ns / 1e9, calls.most_ns / 1e9 or None),
        run_seconds=calls.run_ns / 1e9,
    )


# --- who is there ---------------------------------------------------------------------------------------------------


def _workers(now: RawReading, before: RawReading | None) -> tuple[WorkerReading, ...]:
    then = {(row.pid, row.started): row for row in before.rows if row.role == "worker"} if before else {}
    in_hand: dict[int, list[InHand]] = {}
    for task in now.in_hand:
        in_hand.setdefault(task.pid, []).append(task)
    found = []
    for row in now.rows:
        if row.role == "worker":
            last = then.get((row.pid, row.started))
            tasks = sorted(in_hand.get(row.pid, []), key=_began_at)
            found.append(_worker(row, last, tasks, now.at_ns, before.at_ns if before and last else None))
    return tuple(sorted(found, key=lambda worker: worker.pid))


def _began_at(task: InHand) -> tuple[bool, int]:
    """The longest running first, and those before all that are only unpacked."""
    return not task.is_running, task.start_ns if task.is_running else task.submit_ns


def _worker(row: Row, last: Row | None, tasks: list[InHand], at_ns: int, last_ns: int | None) -> WorkerReading:
    longest = tasks[0] if tasks else None
    task_id = longest.task_id if longest else row.task_id
    since_ns = longest.start_ns if longest and longest.is_running else row.task_since_ns
    cpu = None
    if last is not None and last_ns is not None and row.figures and last.figures and at_ns > last_ns:
        used = row.figures.cpu_seconds - last.figures.cpu_seconds
        cpu = max(0.0, used) / ((at_ns - last_ns) / 1e9) * 100
    return WorkerReading(
        pid=row.pid,
        state=_state(row, task_id is not None),
        age=max(0.0, (at_ns - row.joined_ns) / 1e9) if row.joined_ns else 0.0,
        cpu=cpu,
        memory=row.figures.memory if row.figures and row.figures.state != "ended" else None,
        task_id=task_id,
        function=longest.function if longest else None,
        task_seconds=max(0.0, (at_ns - since_ns) / 1e9) if task_id is not None and since_ns else None,
        tasks_in_hand=max(len(tasks), int(task_id is not None)),
        done=row.done,
        failed=row.failed,
        retried=row.retried,
        busy=_busy(row, last, at_ns, last_ns),
        pinned=row.pinned,
    )


def _state(row: Row, has_task: bool) -> str:
    if _is_gone(row):
        return "dead"
    if _is_stopped(row):
        return "stopped"
    if not row.ready:
        return "starting"
    return "running" if has_task else "idle"


def _busy(row: Row, last: Row | None, at_ns: int, last_ns: int | None) -> float | None:
    """Run time is counted when a run has ended: the one that is on its way counts as far as it has come."""
    begin_ns = last_ns if last_ns is not None else row.joined_ns
    if not row.ready or not begin_ns or at_ns <= begin_ns:
        return None
    ran = row.run_ns + _so_far(row, at_ns)
    if last is not None and last_ns is not None:
        ran -= last.run_ns + _so_far(last, last_ns)
    return min(1.0, max(0.0, ran / (at_ns - begin_ns)))


def _so_far(row: Row, at_ns: int) -> int:
    return max(0, at_ns - row.task_since_ns) if row.task_id is not None and row.task_since_ns else 0


def _clients(about: About, now: RawReading) -> tuple[ClientReading, ...]:
    """The owner first: of its process's rows that which was taken first, the others are of clients that attached."""
    rows = [row for row in now.rows if row.role == "client"]
    owner = min((row for row in rows if row.pid == about.owner_pid), key=lambda row: row.joined_ns, default=None)
    return tuple(
        ClientReading(pid=row.pid, is_owner=row is owner, unread=row.unread, pinned=row.pinned)
        for row in sorted(rows, key=lambda row: (row is not owner, row.pid))
    )


# --- what is going on -----------------------------------------------------------------------------------------------


def _slowest(about: About, now: RawReading) -> tuple[RunningTask, ...]:
    running = sorted((task for task in now.in_hand if task.is_running), key=_began_at)
    return tuple(_running(about, task, now.at_ns) for task in running[:MOST_TASKS])


def _running(about: About, task: InHand, at_ns: int) -> RunningTask:
    return RunningTask(
        task_id=task.task_id,
        function=task.function or UNKNOWN,
        worker_pid=task.pid,
        seconds=max(0.0, (at_ns - task.start_ns) / 1e9),
        waited=max(0.0, (task.start_ns - task.submit_ns) / 1e9),
        attempt=task.attempt,
        queue=about.queues[task.queue] if task.queue < len(about.queues) else UNKNOWN,
        priority=PRIORITIES[task.priority] if task.priority < len(PRIORITIES) else UNKNOWN,
        progress=task.note.progress if task.note else None,
        message=task.note.message if task.note else None,
        limit=task.limit_ms / 1000 if task.limit_ms else None,
        items=task.items_begun if task.is_chunk else None,
        arguments=task.arguments,
    )


def _events(now: RawReading, kinds: Iterable[str]) -> tuple[Event, ...]:
    wanted = [entry for entry in now.journal if entry.kind in kinds]
    return tuple(_event(now, entry) for entry in wanted[:MOST_EVENTS])


def _event(now: RawReading, entry: Entry) -> Event:
    return Event(
        at=now.wall - (now.at_ns - entry.at_ns) / 1e9,
        kind=entry.kind,
        pid=entry.pid,
        task_id=entry.task_id,
        function=entry.function,
        text=entry.text,
    )


def _restarts(now: RawReading) -> Restarts:
    return Restarts(**now.tallies, causes=_events(now, ("restart",)))
