# SPDX-License-Identifier: MIT
"""What it takes to own a queue: its supervisor is watched, and replaced when it is lost.

Used by the connection of whoever opened the queue. A thread sleeps on the supervisor's pidfd, so that a replacement
does not have to wait until somebody waits for a result. It holds nothing of the queue but the shared memory, so a queue
that is dropped is still collected. What the new supervisor does with what the old one left is its own business.
"""

from __future__ import annotations

import _signal as signal  # see localq.pool.process
import os
import select
import time
from threading import Thread, current_thread

from localq._native import PHASE_BROKEN, PHASE_STOPPED, ROLE_SUPERVISOR, ROLE_WORKER
from localq.errors import ConfigError, QueueClosed
from localq.pool.brief import MODULE_FAILED
from localq.pool.notices import notice
from localq.pool.processes import ended_by, is_stopped, join_wholly, open_process
from localq.pool.recovery import WITH_SUPERVISOR, recover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq._native import Space
    from localq.client.output import Output
    from localq.pool.doorway import Doorway
    from localq.pool.process import Starter, SupervisorProcess

__all__ = ["Ownership"]

FAILED_STARTS = 5  # so many in a row that died before they were up: there is no use in trying
LONG_LIFE = 1.0  # seconds: one that lived longer has failed for a reason of its own, and the next starts at once
BACK_OFF, BACK_OFF_MOST = 0.02, 1.0  # seconds before the next one else; doubles each time
PARTING = 1.0  # seconds for the thread to end; it only has to wake up


class Ownership:
    """The supervisor of one's own queue, whichever process that is at the moment."""

    def __init__(
        self,
        space: Space,
        label: int,
        starter: Starter,
        supervisor: SupervisorProcess,
        door: Doorway | None,
        name: str,
        output: Output | None = None,
    ) -> None:
        self._space = space
        self._label = label  # of the client that owns the queue: it recovers where the supervisor can't
        self._starter = starter
        self._supervisor = supervisor
        self._door = door
        self._name = name
        self.owner_pid = os.getpid()
        self.output = output
        self._failure: Callable[[], Exception] | None = None
        self._were_up = 0  # supervisors that came so far as to work, before this one was started
        self._leave = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_paused = False
        try:
            self._start_thread()
        except BaseException:
            os.close(self._leave)
            raise

    def _start_thread(self) -> None:
        self._thread = Thread(target=self._watch, name="localq-guard", daemon=True)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the user's threads
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    @property
    def supervisor_pid(self) -> int:
        return self._supervisor.pid

    def trouble(self) -> Callable[[], Exception] | None:
        """What makes the error for everybody who waits, if nobody will ever do the work; else None. Asked now and then
        while somebody waits, and looks after a supervisor that was stopped."""
        if self._failure is None and self._space.phase == PHASE_BROKEN:
            story = (self._supervisor.news() or b"the workers could not be started").decode("utf-8", "replace")
            self._failure = lambda: _initializer_failed(story)
        if self._failure is None and is_stopped(self._supervisor.pid):
            self._stand_in()
        return self._failure

    def _stand_in(self) -> None:
        """The supervisor was stopped (SIGSTOP). Its workers go on; for those that die, somebody else has to do its
        work: anybody may recover. Once none is left, it must go, for only a supervisor can fork workers."""
        living = 0
        for row in self._space.rows():
            if row["role"] != ROLE_WORKER or not row["live"]:
                continue
            if not row["pid"] and not self._space.bury_unsigned(row["label"]):
                living += 1  # its process came while we looked
                continue
            pidfd = open_process(row["pid"], row["started"]) if row["pid"] else None
            if pidfd is None or ended_by(pidfd):
                recover(self._space, row["label"], self._label, WITH_SUPERVISOR)
            else:
                living += 1
            if pidfd is not None:
                os.close(pidfd)
        if not living:
            self._supervisor.kill()

    def call(self) -> None:
        """Have the supervisor look at the phase of the Space."""
        self._supervisor.call()

    def end(self, patience: float) -> None:
        """See supervisor and workers end, by themselves within `patience` seconds or killed. Nothing is left then."""
        try:
            self._dismiss_thread()
            self._supervisor.stop(patience)
        except BaseException:  # Ctrl-C: no more patience, but nothing is left behind either
            self._dismiss_thread()
            self._supervisor.stop(0.0)
            raise
        finally:
            self._supervisor.close()
            if self._door is not None:
                self._door.close()

    def _dismiss_thread(self) -> None:
        if self._leave < 0:
            return
        os.eventfd_write(self._leave, 1)
        if current_thread() is not self._thread:  # a queue may be collected in any thread
            self._thread.join(PARTING)
        if not self._thread.is_alive():
            os.close(self._leave)
            self._leave = -1

    def pause(self) -> None:
        """This process is about to fork: no thread of ours shall be in the middle of something then. (From 3.12 on
        Python warns of a fork while there are others; 3.13 also of those that begin right after it, so the guard rests
        until the queue is used again.)"""
        if self._leave < 0 or not self._thread.is_alive() or current_thread() is self._thread:
            return
        os.eventfd_write(self._leave, 1)
        if join_wholly(self._thread, PARTING):
            os.eventfd_read(self._leave)
            self._is_paused = True
            if self.output is not None:
                self.output.join()

    def resume(self) -> None:
        """The queue is used again."""
        if self._is_paused and self._leave >= 0:
            try:
                self._start_thread()
            except RuntimeError:  # the interpreter ends, and the queue with it
                return
            self._is_paused = False

    # the thread

    def _watch(self) -> None:
        in_a_row = 0
        while True:
            began = time.monotonic()
            if not self._see_end():
                return
            if self._space.phase == PHASE_BROKEN:
                return  # it has told why
            if self._space.phase == PHASE_STOPPED:
                self._failure = lambda: QueueClosed("its supervisor was told to end (SIGTERM)")
                return
            in_a_row = 0 if time.monotonic() - began > LONG_LIFE else in_a_row + 1
            if in_a_row >= FAILED_STARTS and self._count_of_supervisors() == self._were_up:
                self._give_up()
                return
            if in_a_row > 1 and self._sleep(min(BACK_OFF * 2.0**in_a_row, BACK_OFF_MOST)):
                return
            if not self._replace():
                return

    def _count_of_supervisors(self) -> int:
        return self._space.tallies["supervisors_started"]

    def _see_end(self) -> bool:
        """Sleep until the supervisor has ended; False when told to leave instead. Meanwhile read what tasks write."""
        poll, output = select.poll(), self.output
        poll.register(self._supervisor.pidfd, select.POLLIN)
        poll.register(self._leave, select.POLLIN)
        if output is not None:
            poll.register(output.fd, select.POLLIN)
        while True:
            left = None if output is None else output.until_quiet()
            awake = [fd for fd, _ in poll.poll(None if left is None else left * 1000 + 1)]
            if self._leave in awake:
                return False
            if self._supervisor.pidfd in awake:
                return self._supervisor.wait(None)
            if output is not None:
                output.read_beside()

    def _sleep(self, seconds: float) -> bool:
        """True when told to leave."""
        poll = select.poll()
        poll.register(self._leave, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _replace(self) -> bool:
        """Start another one, however long that takes; False when told to leave."""
        lost = self._supervisor
        notice(
            self._name, f"the supervisor (pid {lost.pid}) was lost: {_ending(lost.exit_status)}; starting another one"
        )
        self._bury(lost)
        self._were_up = self._count_of_supervisors()
        while True:
            try:
                self._supervisor = self._starter.start()
            except ConfigError:  # no interpreter to execute: it was there in the beginning
                self._give_up()
                return False
            except OSError as error:  # no descriptor, process or memory to be had just now
                notice(self._name, f"the supervisor could not be started: {error}; trying again")
                if self._sleep(BACK_OFF_MOST):
                    return False
                continue
            lost.close()
            return True

    def _give_up(self) -> None:
        lost = self._supervisor
        self._failure = lambda: _supervisor_lost(lost.pid, lost.exit_status)
        self._space.set_phase(PHASE_BROKEN)  # wakes everybody who waits

    def _bury(self, lost: SupervisorProcess) -> None:
        """Its row is needed by the next one, where many clients have taken all others. Its workers' are that one's."""
        for row in self._space.rows():
            if row["role"] == ROLE_SUPERVISOR and row["pid"] == lost.pid:
                recover(self._space, row["label"], self._label, 0)


# These errors are imported when they are made; see `localq.pool_errors`.


def _initializer_failed(story: str) -> Exception:
    from localq.errors import InitializerFailed

    module, begins, traceback = story.partition(MODULE_FAILED)
    return InitializerFailed(traceback, module) if begins else InitializerFailed(story)


def _supervisor_lost(pid: int, exit_status: int | None) -> Exception:
    from localq.errors import SupervisorLost

    return SupervisorLost(pid, exit_status)


def _ending(exit_status: int | None) -> str:
    if exit_status is not None and exit_status < 0:
        return f"killed by signal {-exit_status}"
    return f"exit status {exit_status}"
