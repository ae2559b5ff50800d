# SPDX-License-Identifier: MIT
"""Spares: workers that are set up before they are needed, and wait for their turn.

Used by the supervisor as long as workers are replaced as a matter of course (max_tasks_per_child,
max_memory_per_child), and by the spares themselves. A worker that leaves says so; a spare takes its place within a
fraction of a millisecond, and the next spare is forked when nobody waits for anything.

   fork --set up--> READY --imports what tasks have needed--> WARM --a byte on its pipe--> worker
                                                              '------ the end of it ----> leaves

Nothing depends on one. Only a warm one is promoted, so an import that hangs or kills holds up nobody; without a warm
one a worker is forked as ever. A spare has a row in the roster like a worker, so that its death is as well proven, but
its role there is another: it is none of the workers that people see and count.
"""

from __future__ import annotations

import _signal as signal  # see localq.pool.process
import os
import time

from localq._native import PHASE_DRAINING, PHASE_OPEN, TALLY_WORKERS
from localq.lookup import KIND_NAME, KIND_REFERENCE, decode_function
from localq.pool.processes import is_stopped
from localq.pool.story import tell_warm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq._native import Space
    from localq.pool.brief import Brief
    from localq.pool.supervisor import Child, Supervisor

__all__ = ["Spares", "wait_for_turn"]

MOST = 4  # of a queue: workers that began together end together, and the last of them waits for a fork and an import
MOST_FUNCTIONS = 32  # that a spare looks up; the last that were published


class Spares:
    """Those that one supervisor has. A spare that is dropped counts until it has ended."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.most = _most(supervisor.brief)
        self.children: dict[int, Child] = {}  # by pidfd
        self._supervisor = supervisor
        self.not_before: float | None = None  # when the next may be started, after failed starts

    def is_due(self) -> bool:
        """Whether to fork one, when there is nothing else to do."""
        supervisor, phase = self._supervisor, self._supervisor.space.phase
        if len(self.children) >= self.most or supervisor.start_at is not None or supervisor.reload is not None:
            return False
        if self.not_before is not None and time.monotonic() < self.not_before:
            return False
        return phase == PHASE_OPEN or (phase == PHASE_DRAINING and any(map(any, supervisor.space.depths())))

    def promote(self) -> bool:
        """One is a worker from now on, and no spare. False: there is none that can be one at once."""
        space = self._supervisor.space
        for child in [*self.children.values()]:
            if child.is_dropped:
                continue
            if is_stopped(child.pid) or (
                child.story.is_warm and not (space.promote(child.label) and _wake(child.turn))
            ):
                self._drop(child)
            elif child.story.is_warm:
                del self.children[child.pidfd]
                _close_turn(child)
                self._supervisor.children[child.pidfd] = child
                space.tally(TALLY_WORKERS)
                return True
        return False

    def turn_of(self, turn: int, begin: int) -> Callable[[int], bool]:
        """In a child that is a spare, of the two ends of its pipe: how it waits until it is a worker."""
        os.close(begin)
        return lambda tell: wait_for_turn(self._supervisor.space, tell, turn, self._supervisor.imports_ahead)

    def drop(self) -> None:
        """None of these is ever promoted."""
        for child in self.children.values():
            if not child.is_dropped:
                self._drop(child)

    def forget(self, child: Child) -> bool:
        """It has ended. False: it was none of these."""
        if self.children.pop(child.pidfd, None) is None:
            return False
        _close_turn(child)
        return True

    def close(self) -> None:
        """For a worker, which has no part in this: close the descriptors."""
        for child in self.children.values():
            os.close(child.pidfd)
            _close_turn(child)

    def _drop(self, child: Child) -> None:
        """It leaves when it hears of it; who is stopped hears nothing."""
        child.is_dropped = True
        _close_turn(child)
        if is_stopped(child.pid):
            try:
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass


def _most(brief: Brief) -> int:
    """One is enough where memory counts: what an initializer loads, each of them has."""
    is_large = brief.initializer is not None or brief.max_memory_per_child is not None
    return 1 if is_large else min(MOST, brief.workers)


def _wake(turn: int) -> bool:
    try:
        return os.write(turn, b"!") == 1
    except OSError:  # it is gone; its burial comes
        return False


def _close_turn(child: Child) -> None:
    if child.turn >= 0:
        os.close(child.turn)
        child.turn = -1


# --- the spare's half -----------------------------------------------------------------------------------------------


def wait_for_turn(space: Space, tell: int, turn: int, imports: bool) -> bool:
    """Sleep until this spare is a worker. False: it will never be one, its supervisor is gone or has dropped it.
    `imports`: import what tasks have needed before."""
    os.set_blocking(turn, False)
    if imports:
        _import_ahead(space, turn)
    os.set_blocking(turn, True)
    tell_warm(tell)
    is_mine = os.read(turn, 1) != b""
    os.close(turn)
    return is_mine


def _import_ahead(space: Space, turn: int) -> None:
    """What can't be imported is for the task to say; this is only to spare it the time."""
    references = space.published(KIND_REFERENCE, MOST_FUNCTIONS)
    references += [name for name in space.published(KIND_NAME, MOST_FUNCTIONS) if b":" in name]
    for reference in references[:MOST_FUNCTIONS]:
        try:
            decode_function(KIND_REFERENCE, reference)
        except BaseException:  # noqa: BLE001 - a module may raise anything, SystemExit too
            pass
        if _is_dropped(turn):
            return


def _is_dropped(turn: int) -> bool:
    try:
        return os.read(turn, 1) == b""
    except BlockingIOError:
        return False
