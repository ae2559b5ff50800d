# SPDX-License-Identifier: MIT
"""Made-up raw readings: a queue that is open and idle, but for what a test says.

Used where rates, percentiles and words are tried without a queue.
"""

from __future__ import annotations

from math import inf
from typing import Any

import msgspec

from localq._native import PHASE_OPEN
from localq.monitor.interval import About
from localq.monitor.raw import Figures, InHand, Meters, RawReading, Row

SECOND = 1_000_000_000
BEGAN = 1_000 * SECOND  # CLOCK_MONOTONIC
WALL = 1_700_000_000.0  # the same moment
BOUNDS = (0.001, 0.002, 0.004, inf)  # of all histograms here

OWNER, SUPERVISOR, WORKER = 100, 200, 300  # process ids; workers have those from 300 on

ABOUT = About(
    name="thumbnails",
    owner_pid=OWNER,
    owner="ann",
    command="python batch.py",
    python="3.11",
    version="0.1.0",
    queues=("default", "mail"),
    capacity=1000,
    memory=1_000_000,
    result_cache_size=50,
    result_ttl=60.0,
)
SLOTS = dict.fromkeys(
    ("fresh", "writing", "queued", "claimed", "running", "done", "cached", "cancelled", "free", "delayed"), 0
)
TALLIES = dict.fromkeys(
    ("supervisors_started", "workers_started", "workers_crashed", "tasks_requeued", "tasks_crashed", "lines_lost"), 0
)
HOLDINGS = dict.fromkeys(("arguments", "results", "functions", "kept", "pinned", "owned", "idle"), 0)


def worker(number: int = 0, **changes: Any) -> Row:
    """An idle one that is as old as the queue."""
    pid = WORKER + number
    idle = Row(role="worker", pid=pid, started=pid, ready=True, joined_ns=BEGAN, figures=Figures("alive", 0.0, 10_000))
    return msgspec.structs.replace(idle, **changes)


def owner(**changes: Any) -> Row:
    return msgspec.structs.replace(Row(role="client", pid=OWNER, joined_ns=BEGAN), **changes)


def supervisor(**changes: Any) -> Row:
    row = Row(role="supervisor", pid=SUPERVISOR, started=1, ready=True, joined_ns=BEGAN, figures=Figures("alive"))
    return msgspec.structs.replace(row, **changes)


def in_hand(number: int = 0, **changes: Any) -> InHand:
    """A task that was submitted with the queue and began a second later."""
    task = InHand(
        task_id=f"0-{number}-1",
        pid=WORKER + number,
        function="images.shrink",
        is_running=True,
        attempt=1,
        queue=0,
        priority=2,
        submit_ns=BEGAN,
        start_ns=BEGAN + SECOND,
        limit_ms=0,
        is_chunk=False,
        items_begun=0,
    )
    return msgspec.structs.replace(task, **changes)


def raw(after: float, **changes: Any) -> RawReading:
    """A reading `after` so many seconds. `slots`, `tallies` and `holdings` need only have what is not 0; `rows` are the
    owner, the supervisor and two idle workers if not given."""
    at_ns = BEGAN + int(after * SECOND)
    for name, zeros in (("slots", SLOTS), ("tallies", TALLIES), ("holdings", HOLDINGS)):
        changes[name] = {**zeros, **changes.get(name, {})}
    usual: dict[str, Any] = {
        "phase": PHASE_OPEN,
        "workers": 2,
        "rows": (owner(), supervisor(), worker(0), worker(1)),
        "meters": Meters(wait=(0,) * len(BOUNDS), run=(0,) * len(BOUNDS)),
        "functions": (),
        "in_hand": (),
        "journal": (),
        "depths": ((0, 0, 0, 0), (0, 0, 0, 0)),
    }
    return RawReading(
        at_ns=at_ns, wall=WALL + after, meter_bounds=BOUNDS, function_bounds=BOUNDS, **{**usual, **changes}
    )
