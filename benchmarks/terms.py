# SPDX-License-Identifier: MIT
"""The vocabulary of a run: how much is done (Terms), what is done (Work), and a file of works (Bench)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

QUICK_PACE = 0.06  # a minute of less than twenty


@dataclass(frozen=True, slots=True)
class Terms:
    """How much of everything is done: the same for every subject of a run.

    Attributes:
        rounds: how often each pair of ours and a peer takes its turns, at most.
        long_rounds: the same for benches whose turns are long.
        pace: how much of its share of seconds a bench may take; no round is begun that would end later, but for the
            first two. 0: as long as it takes.
        seconds: within a turn, a work is repeated until that long has passed.
        latency_seconds: the same for round trips, whose p99 wants more samples.
        workers: processes for the works that use all of the machine.
        calls: calls submitted before the first result is fetched; well below the capacity of any queue.
        gap_ms: pause before each call of the sleeping round trip: many times what any peer spins for.
        map_seconds: the same for maps, of which there are many.
        map_items: items of a long map where they cost nothing, many fewer where they cost something.
        map_items_unchunked: items of a short one at most; each may travel alone.
        pending: tasks that wait while the client's memory is read.
        starts: fresh interpreters a turn; of a subject that takes seconds to start, one.
        kills: processes that are killed a turn.
        dependent: tasks that need another's result.
        behind_few: calls that wait while an urgent one comes, where they may have to be waited for...
        behind_many: ...and where they need not.
        mixed_seconds: short calls are made for that long while long ones pass.
        drift_early: calls before the first reading of a queue that is used for long...
        drift_late: ...and before the last.
        interrupts: programs that are interrupted a turn.
        recycle_pause: seconds before each round trip, for whoever makes successors of workers in time...
        recycle_seconds: ...and how long such round trips are made.
        payload_bytes: sizes of the bytes that are sent.
        transfer_bytes: sizes of the arrays that are transferred.
        transfer_seconds: within a turn, a transfer is repeated until that long has passed; a long one once.
        transfer_in_flight: tasks at once where there are many...
        transfer_in_flight_bytes: ...unless their arrays are larger than that together.
        peak_bytes: size of the array whose transfer's peak memory is read.
        scale_calls: calls of one pass of a curve...
        scale_seconds: ...repeated until that long has passed.
        scale_pending, scale_workers, scale_queues, scale_cached, scale_clients: the sizes of the curves, first the one
            that the others are divided by. A queue has a million slots at most, for tasks and results together.
        turn_timeout: seconds after which a turn is taken to hang.
        limits_program: path of the compiled limits.c; empty where there is none.
    """

    rounds: int = 5
    long_rounds: int = 3
    pace: float = 1.0
    seconds: float = 0.3
    latency_seconds: float = 0.5
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    calls: int = 5_000
    gap_ms: float = 3.0
    map_seconds: float = 0.15
    map_items: int = 200_000
    map_items_unchunked: int = 300
    pending: int = 10_000
    starts: int = 3
    kills: int = 40
    dependent: int = 1_000
    behind_few: int = 1_000
    behind_many: int = 100_000
    mixed_seconds: float = 1.5
    drift_early: int = 100_000
    drift_late: int = 10_000_000
    interrupts: int = 3
    recycle_pause: float = 0.02
    recycle_seconds: float = 0.6
    payload_bytes: Sequence[int] = (0, 10**2, 10**4, 10**6, 10**8)
    transfer_bytes: Sequence[int] = (10**3, 10**5, 10**7, 10**8)
    transfer_seconds: float = 0.1
    transfer_in_flight: int = 32
    transfer_in_flight_bytes: int = 200 * 10**6
    peak_bytes: int = 10**8
    scale_calls: int = 4_000
    scale_seconds: float = 0.05
    scale_pending: Sequence[int] = (1, 10, 100, 1_000, 10_000, 100_000, 990_000)
    scale_workers: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    scale_queues: Sequence[int] = (1, 2, 4, 8, 16)
    scale_cached: Sequence[int] = (0, 1_000, 10_000, 100_000, 990_000)
    scale_clients: Sequence[int] = (1, 2, 4, 8)
    turn_timeout: float = 120.0
    limits_program: str = ""

    @classmethod
    def quick(cls) -> Terms:
        """Enough to see that everything runs; too little to quote."""
        return cls(
            rounds=1,
            long_rounds=1,
            pace=QUICK_PACE,
            seconds=0.1,
            latency_seconds=0.1,
            calls=1_000,
            map_seconds=0.02,
            map_items=20_000,
            map_items_unchunked=200,
            pending=5_000,
            starts=1,
            kills=6,
            dependent=100,
            interrupts=1,
            recycle_seconds=0.2,
            mixed_seconds=0.2,
            drift_early=10_000,
            drift_late=200_000,
            behind_few=1_000,
            behind_many=20_000,
            payload_bytes=(0, 10**4, 10**6),
            transfer_bytes=(10**3, 10**6),
            transfer_seconds=0.02,
            transfer_in_flight_bytes=20 * 10**6,
            peak_bytes=10**7,
            scale_calls=2_000,
            scale_seconds=0.02,
            scale_pending=(1, 1_000, 50_000),
            scale_workers=(1, 4, 16),
            scale_queues=(1, 16),
            scale_cached=(0, 1_000, 50_000),
            scale_clients=(1, 4),
            turn_timeout=40.0,
        )


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that is measured, for each subject alike.

    Attributes:
        name: what the table calls it.
        unit: of the values, such as "us" or "calls/s".
        more_is_better: the direction.
        goals: by peer, the ratio ours/peer that we want: at least that where more is better, else at most.
        panel: works of one panel differ in `way` and `size` only, and are drawn into one plot.
        way: how the data is handed over, where a library has several ways; works of one way share a table.
        size: how many of what `axis` says.
        axis: what `size` counts, in the plural.
    """

    name: str
    unit: str
    more_is_better: bool
    goals: Mapping[str, float] = field(default_factory=dict)
    panel: str = ""
    way: str = ""
    size: int = 0
    axis: str = "bytes"


@dataclass(frozen=True, slots=True)
class Bench:
    """A file of works.

    Attributes:
        name: as in `--only`, and the module `benchmarks.bench_<name>`.
        title: one line above its table.
        works: what it measures under these terms.
        turn: measures one subject in this very process; values by the name of the work. A subject may lack some.
        takes_part: whether the peer of that name can do any of it.
        floors: subjects that are no queue: what the machine or the interpreter takes at least. They are compared with
            ours like peers; `turn` knows their names.
        measures_floors: the floors have no turns: one of ours measures them too, in its midst, each work's as
            `aside(work, floor)`.
        is_long: whether a turn takes so long that `Terms.long_rounds` bounds them.
        share: how many seconds of a whole run its rounds may take. All shares together are less than 20 minutes.
    """

    name: str
    title: str
    works: Callable[[Terms], Sequence[Work]]
    turn: Callable[[str, Terms], dict[str, float]]
    takes_part: Callable[[str], bool]
    floors: Sequence[str] = ()
    measures_floors: bool = False
    is_long: bool = False
    share: float = 45.0


def aside(work: str, floor: str) -> str:
    """What a turn calls the value of a floor that it measures itself."""
    return f"{work} / {floor}"


def size_name(size: float, axis: str = "bytes") -> str:
    """`10 kB` for 10,000 bytes; `10 k` for as many of anything else."""
    units = ("B", "kB", "MB", "GB") if axis == "bytes" else ("", "k", "M", "G")
    for unit in units[:-1]:
        if size < 1000:
            return f"{size:g} {unit}".rstrip()
        size /= 1000
    return f"{size:g} {units[-1]}"
