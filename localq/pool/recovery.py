# SPDX-License-Identifier: MIT
"""Finish what a dead process began.

Used by the supervisor, once per process that the kernel has reported dead. The work itself is the native core's; here
is only the order of its steps.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq._native import Space

__all__ = ["Recovered", "recover"]

MOST_PASSES = (
    16  # a pass that finds labels leaves fewer behind, unless a ring is full: then workers have to empty it first
)


class Recovered:
    """What came of a dead process's tasks."""

    __slots__ = ("crashed", "is_complete", "released", "requeued")

    def __init__(self, requeued: int, crashed: int, released: int, is_complete: bool) -> None:
        self.is_complete = is_complete  # False: a ring was full; call again once workers have taken something
        self.requeued = requeued  # run again: user code had not begun, or a retry was left
        self.crashed = crashed  # end with WorkerCrashed
        self.released = released  # slots, blocks and functions given back


def recover(space: Space, label: int, wait_status: int) -> Recovered:
    """Bury the process and take over all that bears its label, until a pass finds nothing; then free its row.

    `wait_status` is what waitpid said; it becomes part of the error of a task that ran in it.
    """
    space.bury(label)
    labels = requeued = crashed = released = 0
    for _ in range(MOST_PASSES):
        labels, again, ended, given_back = space.recover(label, wait_status)
        requeued += again
        crashed += ended
        released += given_back
        if labels == 0:
            space.release(label)
            break
    return Recovered(requeued, crashed, released, is_complete=labels == 0)
