# SPDX-License-Identifier: MIT
"""A Snapshot: one frozen reading of a running queue, for people and programs.

Made by `localq.monitor.reader`; shown by `localq top`, written as JSON and as metrics. Plain data: it knows nothing of
memory, processes or terminals. Times are seconds since the epoch, durations seconds, sizes bytes.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "ArenaReading",
    "CachedResults",
    "ClientReading",
    "Depths",
    "Event",
    "FunctionReading",
    "QueueFacts",
    "Rates",
    "Restarts",
    "RunningTask",
    "Snapshot",
    "Spread",
    "Totals",
    "WorkerReading",
]


class QueueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which queue it is."""

    name: str
    owner_pid: int
    owner: str  # its user's name
    command: str  # of the owner
    supervisor_pid: int | None  # None: there is none just now
    started_at: float
    uptime: float
    python: str
    version: str
    phase: str  # "open", "draining", "stopped" or "broken"
    workers: int  # as many as there should be
    queues: tuple[str, ...]
    is_supervisor_stopped: bool = False  # by a signal


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in figures, as exact as the buckets that they were counted in (a step is some 19 %). None: there were
    none."""

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    most: float | None = None


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Per second, over `seconds`: since the reader's last reading, or, in its first, since the queue began."""

    seconds: float
    done: float
    failed: float
    retried: float
    items: float  # of maps' chunks, each counted
    bytes_in: float
    bytes_out: float


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Since the queue began. A chunk of a map is one task; `items` counts what was in them."""

    done: int = 0  # returned
    failed: int = 0  # raised, timed out, or their worker died, with no try left
    retried: int = 0
    cancelled: int = 0
    items: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    run_seconds: float = 0.0
    wait_seconds: float = 0.0


class Depths(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks are queued in one queue, by priority."""

    queue: str
    critical: int = 0
    high: int = 0
    normal: int = 0
    low: int = 0

    @property
    def total(self) -> int:
        return self.critical + self.high + self.normal + self.low


class WorkerReading(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process."""

    pid: int
    state: str  # "starting", "idle", "running", "stopped" (by a signal), "dead" (and not replaced yet)
    age: float
    cpu: float | None  # percent of one processor since the last reading; None: not known yet
    memory: int | None  # resident, without what it shares with the queue
    task_id: str | None
    function: str | None
    task_seconds: float | None  # how long the task in hand has run
    tasks_in_hand: int  # more than one with concurrency
    done: int
    failed: int
    retried: int
    busy: float | None  # share of the time since the last reading in which it ran tasks, 0 to 1
    pinned: int  # bytes of the arena that it looks at


class FunctionReading(msgspec.Struct, frozen=True, kw_only=True):
    """All calls of one function."""

    name: str
    done: int
    failed: int
    retried: int
    items: int
    per_second: float
    run: Spread
    run_seconds: float  # in sum


class RunningTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a worker's hands."""

    task_id: str
    function: str
    worker_pid: int
    seconds: float  # since its run began
    waited: float  # before that
    attempt: int
    queue: str
    priority: str
    progress: float | None  # 0 to 1, as it says itself
    message: str | None
    limit: float | None  # its time limit
    items: int | None  # of a chunk: begun so far
    arguments: str | None = None  # in a line, cut; None: not known


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened: "failure", "retry", "crash" (a worker died with this task), "timeout", "cancelled",
    "log" (a line that a task wrote), "restart" (of a worker or supervisor, and why)."""

    at: float
    kind: str
    pid: int
    task_id: str | None
    function: str | None
    text: str


class Restarts(msgspec.Struct, frozen=True, kw_only=True):
    """What had to be started again, and what that cost."""

    supervisors_started: int = 0
    workers_started: int = 0
    workers_crashed: int = 0
    tasks_requeued: int = 0
    tasks_crashed: int = 0
    lines_lost: int = 0
    causes: tuple[Event, ...] = ()  # the latest first


class CachedResults(msgspec.Struct, frozen=True, kw_only=True):
    """Results that stay readable by id."""

    kept: int  # consumed, and still there
    unread: int  # not picked up by their clients yet
    room: int  # of those consumed
    ttl: float | None


class ArenaReading(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of large arguments and results, by what holds it; see `Space.holdings`."""

    size: int
    arguments: int = 0
    results: int = 0
    functions: int = 0
    kept: int = 0
    pinned: int = 0
    owned: int = 0
    idle: int = 0

    @property
    def used(self) -> int:
        return self.arguments + self.results + self.functions + self.kept + self.pinned + self.owned


class ClientReading(msgspec.Struct, frozen=True, kw_only=True):
    """A process that submits."""

    pid: int
    is_owner: bool
    unread: int  # finished tasks that it has not picked up
    pinned: int  # bytes of the arena that it looks at


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a queue."""

    taken_at: float
    queue: QueueFacts
    capacity: int  # tasks that may be on their way at once
    queued: int
    delayed: int  # their time has not come
    running: int
    depths: tuple[Depths, ...]
    rates: Rates
    totals: Totals
    wait: Spread  # from submission, or the time that it was due, to the start; over the same time as `rates`
    run: Spread
    workers: tuple[WorkerReading, ...]
    functions: tuple[FunctionReading, ...]  # the most run time first
    slowest: tuple[RunningTask, ...]  # running, the longest first
    failures: tuple[Event, ...]  # the latest first
    log: tuple[Event, ...]  # the latest first
    restarts: Restarts
    results: CachedResults
    arena: ArenaReading
    clients: tuple[ClientReading, ...]
    problems: tuple[str, ...] = ()  # sentences: what is wrong just now, the worst first

    def _repr_html_(self) -> str:
        """For notebooks."""
        from localq.markup import seconds, table

        working = sum(worker.state == "running" for worker in self.workers)
        tasks = f"{self.queued:,} queued, {self.running:,} running" + (
            f", {self.delayed:,} delayed" * bool(self.delayed)
        )
        return table(
            f"Queue {self.queue.name}",
            (
                ("state", f"{self.queue.phase}, for {seconds(self.queue.uptime)}"),
                ("wrong", "\n".join(self.problems)),
                ("workers", f"{working} of {self.queue.workers} at work"),
                ("tasks", tasks),
                ("rate", f"{self.rates.done:,.4g} tasks/s over {seconds(self.rates.seconds)}"),
                ("items", f"{self.rates.items:,.4g} items/s" if self.rates.items else None),
                ("waited", _shown(self.wait)),
                ("ran", _shown(self.run)),
                ("since the start", f"{self.totals.done:,} done, {self.totals.failed:,} failed"),
                ("slowest", "\n".join(f"{task.function} {seconds(task.seconds)}" for task in self.slowest[:5])),
                (
                    "last failure",
                    f"{self.failures[0].function or ''} {self.failures[0].text}" if self.failures else None,
                ),
            ),
        )


def _shown(spread: Spread) -> str | None:
    """The middle and the end of it; None: nothing was counted."""
    from localq.markup import seconds

    if not spread.count:
        return None
    return f"p50 {seconds(spread.p50)}, p99 {seconds(spread.p99)}"
