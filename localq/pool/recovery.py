# SPDX-License-Identifier: MIT
"""Finish what a dead process began.

Used by the supervisor, once per process that the kernel has reported dead. The work itself is the native core's; here
is only the order of its steps, and how many may die in what time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq._native import Space

__all__ = ["FOR_ANOTHER", "WITH_SUPERVISOR", "Allowance", "Recovered", "recover", "signed_by"]

WITH_SUPERVISOR = (
    0x7F  # a wait status of nobody who is dead: it was killed with its supervisor, and nobody could wait for it
)

FOR_ANOTHER = 0x7E  # likewise nobody's: the supervisor killed it, for a task in it that did not stop

MOST_PASSES = (
    16  # a pass that finds labels leaves fewer behind, unless a ring is full: then workers have to empty it first
)


class Recovered:
    """What came of a dead process's tasks."""

    __slots__ = ("crashed", "is_complete", "released", "requeued")

    def __init__(self, requeued: int, crashed: int, released: int, is_complete: bool) -> None:
        self.is_complete = is_complete  # False: a ring was full, or tasks need what it pinned; call again later
        self.requeued = requeued  # run again: user code had not begun, or a retry was left
        self.crashed = crashed  # end with WorkerCrashed
        self.released = released  # slots, blocks and functions given back


def recover(space: Space, label: int, me: int, wait_status: int, report: int = 0) -> Recovered:
    """Bury the process and take over all that bears its label, until a pass finds nothing; then free its row. `me`: who
    does so.

    `wait_status` is what waitpid said, `report` the number of a report that says more; both become part of the error of
    a task that ran in it.
    """
    space.bury(label)
    labels = requeued = crashed = released = 0
    for _ in range(MOST_PASSES):
        labels, again, ended, given_back = space.recover(label, me, wait_status, report)
        requeued += again
        crashed += ended
        released += given_back
        if labels == 0:
            space.release(label)
            break
    return Recovered(requeued, crashed, released, is_complete=labels == 0)


def signed_by(space: Space, label: int, pid: int, started: int) -> tuple[int, int] | None:
    """Whose row that is, and when that process began, for one who has read `pid` and `started` there. (0, 0): nobody's,
    and nobody can sign into it any more, for whoever was to do so was not told. None: another's by now."""
    if pid or space.bury_unsigned(label):
        return pid, started
    row = space.row(label & 0xFFF)  # it was told, and has signed in since
    return None if row is None or row["label"] != label else (row["pid"], row["started"])


class Allowance:
    """How fast dead workers are replaced: at once, as long as not too many die. A poison task then costs some processor
    time, but not the machine."""

    RATE = 50.0  # a second, in the long run: forking one takes a millisecond or two
    BURST = 32  # and so many more for each worker

    def __init__(self, workers: int, now: float) -> None:
        self._most = float(self.BURST * (workers + 1))
        self._left = self._most
        self._since = now
        self._is_refusing = False
        self._was_told = False

    def next_start(self, now: float) -> float | None:
        """One more has died. None: replace it now; else the time at which to do so."""
        self._left = min(self._most, self._left + (now - self._since) * self.RATE) - 1.0
        self._since = now
        if self._left >= 0:
            self._is_refusing = self._is_refusing and self._left < self._most / 2
            return None
        self._was_told, self._is_refusing = self._is_refusing, True
        return now - self._left / self.RATE

    def is_first_refusal(self) -> bool:
        """Whether the last answer was the first refusal after a quiet time."""
        return not self._was_told
