# SPDX-License-Identifier: MIT
"""A raw reading: all that the shared memory and the kernel say of a queue at one moment, as it stands there.

Made by `localq.monitor.reader`; two of them make a Snapshot (`localq.monitor.interval`), one the metrics. Plain data,
so that both can be tried with made-up ones. Times are CLOCK_MONOTONIC nanoseconds, sizes bytes.
"""

from __future__ import annotations

import msgspec

__all__ = ["Calls", "Entry", "Figures", "InHand", "Meters", "Note", "RawReading", "Row", "named"]


class Figures(msgspec.Struct, frozen=True):
    """What the kernel says of a process."""

    state: str  # "alive", "stopped" (by a signal), "ended"
    cpu_seconds: float = 0.0
    memory: int = 0  # resident, without what others see as well


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A process that uses the queue. What it has counted counts since its row was taken."""

    role: str  # "client", "supervisor", "worker"
    pid: int  # 0: it was not told yet
    started: int = 0
    ready: bool = False
    joined_ns: int = 0  # 0: not known
    task_id: str | None = None  # in its hands
    task_since_ns: int = 0
    done: int = 0
    failed: int = 0
    retried: int = 0
    run_ns: int = 0
    unread: int = 0
    pinned: int = 0
    figures: Figures | None = None  # None: nobody can say; its pid means another process here, perhaps


class Meters(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all workers since the queue began, and histograms of how long tasks waited and ran."""

    done: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    items: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    run_ns: int = 0
    wait_ns: int = 0
    wait: tuple[int, ...] = ()
    run: tuple[int, ...] = ()


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """The same of one function."""

    name: str
    done: int = 0
    failed: int = 0
    retried: int = 0
    items: int = 0
    run_ns: int = 0
    wait_ns: int = 0
    most_ns: int = 0
    run: tuple[int, ...] = ()


class Note(msgspec.Struct, frozen=True):
    """What a task says of itself."""

    progress: float | None
    message: str | None


class InHand(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a worker's hands."""

    task_id: str
    pid: int
    function: str | None
    is_running: bool  # else it is being unpacked
    attempt: int
    queue: int
    priority: int
    submit_ns: int
    start_ns: int
    limit_ms: int
    is_chunk: bool
    items_begun: int
    note: Note | None = None
    arguments: str | None = None  # in a line


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the journal."""

    at_ns: int
    kind: str
    pid: int
    task_id: str | None
    function: str | None
    text: str


class RawReading(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    at_ns: int
    wall: float  # the same moment, in seconds since the epoch
    phase: int
    workers: int  # as many as there should be
    rows: tuple[Row, ...]
    meters: Meters
    meter_bounds: tuple[float, ...]
    functions: tuple[Calls, ...]
    function_bounds: tuple[float, ...]
    in_hand: tuple[InHand, ...]
    journal: tuple[Entry, ...]  # the latest first
    slots: dict[str, int]
    depths: tuple[tuple[int, ...], ...]
    tallies: dict[str, int]
    holdings: dict[str, int]


def named(function: str | None) -> str | None:
    """A function's name as people write it: a dot, not a colon, between the module and the name in there."""
    return None if function is None else function.replace(":", ".")
