# SPDX-License-Identifier: MIT
"""The supervisor: one thread that forks workers, sees them die, finishes what they began and replaces them.

   client --pipe, pidfd--> supervisor --fork, pidfd--> workers

Everything it does is an answer to an event: a worker's or the client's end (pidfds), a call on the pipe, a timer. No
task passes through it. It ends when its client does, and its workers end when it does (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import _signal as signal  # see localq.pool.process
import gc
import os
import select
import sys
import time

from localq import _native
from localq._native import PHASE_BROKEN, PHASE_DRAINING, PHASE_STOPPED, ROLE_SUPERVISOR, ROLE_WORKER, Space
from localq.pool.brief import KILL, Brief
from localq.pool.recovery import recover
from localq.pool.worker import INITIALIZER_FAILED, RECYCLED, STOPPED, run_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main", "run_supervisor"]

FAILED_STARTS = 5  # so many workers in a row that died before they were ready: give up, tell the client
BACK_OFF = 0.05  # seconds before the second attempt after a failed start; doubles each time
BACK_OFF_MOST = 5.0
RETRY = 0.01  # seconds until a recovery that met a full ring goes on: a worker empties many cells in that time
WARM_AFTER = 0.5  # seconds: most of those imports take longer than a short script
SWEEP_LEAST, SWEEP_MOST = 0.05, 30.0  # seconds between two looks for expired results


class _Child:
    """A worker, as the supervisor sees it."""

    __slots__ = ("label", "pid", "pidfd", "story")

    def __init__(self, pid: int, pidfd: int, label: int, story: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.label = label
        self.story = story  # read end of a pipe on which it tells why it could not start


class Supervisor:
    """The state of one supervisor process."""

    def __init__(self, space: Space, brief: Brief, hear: int, tell: int) -> None:
        self.space = space
        self.brief = brief
        self.ear = hear  # the client calls on it; its end is the client's
        self.voice = tell  # to the client
        self.label = space.join(ROLE_SUPERVISOR, os.getpid())
        self.children: dict[int, _Child] = {}  # by pidfd
        self.unfinished: list[tuple[int, int]] = []  # labels and wait statuses of dead processes, not all recovered yet
        self.failed_starts = 0
        self.start_at: float | None = None  # when the next worker may be started, after failed starts
        self.sweep_every = _sweep_interval(brief.result_ttl)
        self.sweep_at = time.monotonic() + self.sweep_every
        self.warm_at: float | None = time.monotonic() + WARM_AFTER
        try:
            self.client = os.pidfd_open(brief.client_pid)
        except ProcessLookupError:  # gone already
            os._exit(0)
        self.poll = select.epoll()

    def run(self) -> NoReturn:
        """Until the client is gone or has closed the queue and all is done."""
        if os.getppid() != self.brief.client_pid:
            self.end()  # it died before its pid could be held
        self.poll.register(self.ear, select.EPOLLIN)
        self.poll.register(self.client, select.EPOLLIN)
        self.preload()
        gc.freeze()  # what is here now is shared with the workers: a collection must not touch its pages
        self.space.set_workers(self.brief.workers)
        self.staff()
        while True:
            for fd, _ in self.poll.poll(self.until_next_timer()):
                if fd == self.client:
                    self.end()
                elif fd == self.ear:
                    self.hear()
                elif fd in self.children:
                    self.bury(self.children[fd])
            self.keep_time()
            self.staff()
            if (
                self.space.phase >= PHASE_DRAINING
                and not self.children
                and self.start_at is None
                and not self.unfinished
            ):
                self.end()

    # events

    def hear(self) -> None:
        """The client called, or is gone."""
        try:
            heard = os.read(self.ear, 4096)
        except BlockingIOError:
            return
        if not heard or KILL in heard:
            self.end()

    def bury(self, child: _Child) -> None:
        """A worker has ended: finish what it began, and note why."""
        _, status = os.waitpid(child.pid, 0)
        try:
            story = os.read(child.story, 1 << 16)
        except BlockingIOError:  # it said nothing, and a process that its initializer started still holds the other end
            story = b""
        was_ready = self.is_ready(child.label)
        self.poll.unregister(child.pidfd)
        del self.children[child.pidfd]
        os.close(child.pidfd)
        os.close(child.story)
        self.finish_for(child.label, status)
        code = os.waitstatus_to_exitcode(status)
        if was_ready or code in (STOPPED, RECYCLED):
            self.failed_starts = 0 if was_ready else self.failed_starts
            return
        self.failed_starts += 1
        self.start_at = time.monotonic() + min(BACK_OFF * 2.0 ** (self.failed_starts - 1), BACK_OFF_MOST)
        if code == INITIALIZER_FAILED and not self.has_ready_worker():
            self.give_up(story)
        elif self.failed_starts >= FAILED_STARTS and not self.has_ready_worker():
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            reason = f"{self.failed_starts} workers in a row ended with {how} before they were ready"
            self.give_up(story or reason.encode())
        elif code == INITIALIZER_FAILED:
            what = "a worker's initializer failed; trying again"
            sys.stderr.write(f"localq {self.brief.name}: {what}\n{story.decode()}\n")

    def finish_for(self, label: int, status: int) -> None:
        """Finish what a dead process began, or note that a full ring has to be emptied by workers first."""
        if not recover(self.space, label, status).is_complete:
            self.unfinished.append((label, status))

    def give_up(self, story: bytes) -> None:
        """No worker can be started: waiting would be in vain, so say so, once."""
        if self.space.phase == PHASE_BROKEN:
            return
        try:
            os.write(self.voice, story[:60000] or b"the workers could not be started")
        except OSError:
            pass  # the client is gone, or does not listen: the phase tells it enough
        self.start_at = None
        self.space.set_phase(PHASE_BROKEN)

    # timers

    def until_next_timer(self) -> float:
        timers = (self.sweep_at, self.start_at, self.warm_at)
        left = max(0.0, min(at for at in timers if at is not None) - time.monotonic())
        return min(left, RETRY) if self.unfinished else left

    def keep_time(self) -> None:
        now = time.monotonic()
        if self.start_at is not None and now >= self.start_at:
            self.start_at = None
        unfinished, self.unfinished = self.unfinished, []
        for label, status in unfinished:
            self.finish_for(label, status)
        if self.warm_at is not None and now >= self.warm_at:
            self.warm_at = None
            self.warm_up()
        if now >= self.sweep_at:
            self.space.sweep(self.label)
            self.sweep_at = now + self.sweep_every

    # workers

    def preload(self) -> None:
        for name in self.brief.preload:
            try:
                __import__(name)
            except Exception:  # noqa: BLE001 - a module may raise anything; tasks that need this one will say so again
                sys.stderr.write(f"localq {self.brief.name}: preload of {name!r} failed\n")
                sys.excepthook(*sys.exc_info())

    def warm_up(self) -> None:
        """Import what most workers need sooner or later, once the queue has proven not to be gone in a moment. The
        first workers did not wait for it; their successors have it."""
        for name in ("localq.pickling", "localq.remote_errors", "cloudpickle"):
            __import__(name)
        gc.freeze()

    def staff(self) -> None:
        """As many workers as there should be, just now."""
        phase = self.space.phase
        if phase >= PHASE_STOPPED or self.start_at is not None:
            return
        wanted = self.brief.workers
        if phase == PHASE_DRAINING:  # no more than there is still work for
            wanted = min(wanted, sum(map(sum, self.space.depths())))
        while len(self.children) < wanted and self.start_at is None:
            self.fork()

    def fork(self) -> None:
        """One more worker; or, when the system refuses something for it, none for a while."""
        try:
            label = self.space.join(ROLE_WORKER, 0)
        except RuntimeError:  # the roster is full: a row comes back with the next burial
            self.start_at = time.monotonic() + BACK_OFF
            return
        fds: list[int] = []
        try:
            tell, story = _story_pipe()
            fds += tell, story
            pid = os.fork()
            if pid == 0:
                self.become_worker(label, tell)
            self.space.sign_in(label, pid)
            child = _Child(pid, _pidfd(pid), label, story)
            fds.remove(story)
        except OSError as error:  # out of descriptors, processes or memory
            sys.stderr.write(f"localq {self.brief.name}: no worker could be started: {error}; trying again\n")
            self.finish_for(label, 0)
            self.start_at = time.monotonic() + BACK_OFF_MOST
            return
        finally:
            for fd in fds:
                os.close(fd)
        self.children[child.pidfd] = child
        self.poll.register(child.pidfd, select.EPOLLIN)

    def become_worker(self, label: int, tell: int) -> NoReturn:
        """The rest of a child's life. It keeps nothing of the supervisor's but the Space."""
        try:
            supervisor = os.getppid()
            self.poll.close()
            os.close(self.ear)
            os.close(self.voice)
            os.close(self.client)
            for child in self.children.values():
                os.close(child.pidfd)
                os.close(child.story)
            run_worker(self.space, label, self.brief, tell, supervisor)
        finally:
            os._exit(1)  # run_worker never returns

    def is_ready(self, label: int) -> bool:
        row = self.space.row(label & 0xFFF)
        return row is not None and bool(row["ready"])

    def has_ready_worker(self) -> bool:
        return any(self.is_ready(child.label) for child in self.children.values())

    def end(self) -> NoReturn:
        """Kill what still runs, and go. The memory goes with the last process that maps it."""
        self.space.set_phase(PHASE_STOPPED)
        for child in self.children.values():
            try:
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for child in self.children.values():
            os.waitpid(child.pid, 0)
        os._exit(0)


def _pidfd(pid: int) -> int:
    """A descriptor of a new child; where there is none left, the child is ended again."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _story_pipe() -> tuple[int, int]:
    story, tell = os.pipe()
    os.set_blocking(story, False)
    return tell, story


def _sweep_interval(result_ttl: float | None) -> float:
    return SWEEP_MOST if result_ttl is None else min(max(result_ttl / 4, SWEEP_LEAST), SWEEP_MOST)


def run_supervisor(space: Space, brief: Brief, hear: int, tell: int) -> NoReturn:
    """Supervise until the end of this process."""
    _native.name_process(f"localq:{brief.name}")
    Supervisor(space, brief, hear, tell).run()


def main(control: int, payload: int, brief_fd: int, hear: int, tell: int) -> NoReturn:
    """The program of a supervisor that was executed: five descriptors, nothing else."""
    _close_all_but({0, 1, 2, control, payload, brief_fd, hear, tell})
    for fd in (control, payload, hear, tell):
        os.set_inheritable(fd, False)
    with open(brief_fd, "rb") as told:
        told.seek(0)
        brief = Brief.from_bytes(told.read())
    sys.path[:] = brief.sys_path
    if brief.cwd is not None:
        try:
            os.chdir(brief.cwd)
        except OSError as error:
            sys.stderr.write(f"localq {brief.name}: the client's working directory can't be entered: {error}\n")
    run_supervisor(Space.open(control, payload), brief, hear, tell)


def _close_all_but(kept: set[int]) -> None:
    """Descriptors that the client had open without close-on-exec are none of ours."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listdir used itself
