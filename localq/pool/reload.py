# SPDX-License-Identifier: MIT
"""All workers are replaced, so that what they import is what the files hold now. Nothing that runs is disturbed.

Used by the supervisor. One new worker is started beside the others: only when that one can work do the old ones go, the
idle ones first and one after the other, the busy ones each after the task in hand. When it can't, they all stay.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq.pool.supervisor import Child

__all__ = ["Reload"]


class Reload:
    """One reload, from the first new worker to the last old one that was told."""

    def __init__(self, drain: Callable[[Child], None], is_busy: Callable[[Child], bool]) -> None:
        self.first: Child | None = None  # of the new ones, until it is known whether it can work
        self.told = 0  # old ones that go
        self._drain = drain
        self._is_busy = is_busy
        self._leaving: Child | None = None  # an idle one that was told last

    def step(self, workers: list[Child], generation: int) -> bool:
        """Something has changed. Returns whether there will be more to do: if not, no old one takes a task any more."""
        if self.first is not None or not self._is_next_due(workers, generation):
            return True
        old = [worker for worker in workers if worker.generation != generation and not worker.is_told_to_leave]
        idle = [worker for worker in old if not self._is_busy(worker)]
        self._leaving = idle[0] if idle else None
        for worker in idle[:1] or old:
            self._drain(worker)
            self.told += 1
        return self._leaving is not None

    def _is_next_due(self, workers: list[Child], generation: int) -> bool:
        """The one before is gone (or has taken a task in that moment), and whoever takes its place can work."""
        if self._leaving in workers and not self._is_busy(self._leaving):
            return False
        return all(worker.story.tasks is not None for worker in workers if worker.generation == generation)
