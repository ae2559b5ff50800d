# SPDX-License-Identifier: MIT
"""What a live view remembers of a queue: its latest Snapshot, and a point for each one before that.

Used by `localq top`, which draws it. Frozen values: adding a Snapshot makes a new History.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from localq.monitor.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Condition", "History", "Point", "Watched"]

LENGTH = 240  # points: more than the widest sparkline


class Point(msgspec.Struct, frozen=True):
    """One reading in a few figures."""

    at: float
    per_second: float
    run_p95: float | None
    wait_p95: float | None
    queued: int  # in the deepest queue


class History(msgspec.Struct, frozen=True):
    """The latest Snapshot, and what led to it, the oldest first."""

    latest: Snapshot
    points: tuple[Point, ...] = ()

    @staticmethod
    def of(snapshots: Sequence[Snapshot]) -> History:
        history = History(snapshots[0], (_point(snapshots[0]),))
        for snapshot in snapshots[1:]:
            history = history.add(snapshot)
        return history

    def add(self, snapshot: Snapshot) -> History:
        return History(snapshot, (*self.points[1 - LENGTH :], _point(snapshot)))

    @property
    def deepest(self) -> int:
        """The most tasks that were queued in one queue, of all that is remembered."""
        return max(point.queued for point in self.points)


class Condition(StrEnum):
    """How a watched queue is to be reached."""

    COMING = "coming"  # not read yet
    READ = "read"
    SILENT = "silent"  # it is there, and does not answer
    ENDED = "ended"


class Watched(msgspec.Struct, frozen=True):
    """A queue that is watched. `since`: of its condition, seconds since the epoch; `said`: why, where something is
    wrong."""

    name: str
    condition: Condition = Condition.COMING
    since: float = 0.0
    history: History | None = None
    said: str = ""

    @property
    def latest(self) -> Snapshot | None:
        return None if self.history is None else self.history.latest

    def read(self, snapshot: Snapshot) -> Watched:
        """It was read."""
        history = self.history
        same = history is not None and history.latest.queue.started_at == snapshot.queue.started_at
        since = self.since if self.condition is Condition.READ else snapshot.taken_at
        known = history.add(snapshot) if history is not None and same else History.of([snapshot])
        return Watched(self.name, Condition.READ, since, known)

    def lost(self, condition: Condition, said: str, at: float) -> Watched:
        """It could not be read."""
        since = self.since if self.condition is condition else at
        return Watched(self.name, condition, since, self.history, said)


def _point(snapshot: Snapshot) -> Point:
    return Point(
        at=snapshot.taken_at,
        per_second=snapshot.rates.done + snapshot.rates.failed,
        run_p95=snapshot.run.p95,
        wait_p95=snapshot.wait.p95,
        queued=max((depths.total for depths in snapshot.depths), default=0),
    )
