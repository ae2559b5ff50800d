# SPDX-License-Identifier: MIT
"""The supervisor: one thread that forks workers, sees them die, finishes what they began and replaces them.

   owner --pipe, pidfd--> supervisor --fork, pidfd--> workers
                              ^--socket, pidfd-- clients that attached

Everything it does is an answer to an event: a process's end (pidfds), a call on the pipe, a worker's word on its own, a
visitor at the socket (what those may ask for is in `localq.pool.steering`), a timer. No task passes through it. It ends
when the owner does, and its workers end when it does (PR_SET_PDEATHSIG). It keeps nothing that is needed: killed, it is
replaced over the same Space by the owner, and finds in the roster who is there (`adopt`).
"""

from __future__ import annotations

import _signal as signal  # see localq.pool.process
import gc
import os
import select
import sys
import time

from localq import _native
from localq._native import (
    PHASE_BROKEN,
    PHASE_DRAINING,
    PHASE_STOPPED,
    ROLE_CLIENT,
    ROLE_SPARE,
    ROLE_SUPERVISOR,
    ROLE_WORKER,
    TALLY_SUPERVISORS,
    TALLY_WORKERS,
    TALLY_WORKERS_CRASHED,
    Space,
)
from localq.pool.brief import FOR_CLIENTS, KILL, MODULE_FAILED, Brief
from localq.pool.notices import notice
from localq.pool.processes import is_stopped, open_process, started_at
from localq.pool.recovery import FOR_ANOTHER, WITH_SUPERVISOR, Allowance, recover, signed_by
from localq.pool.story import Story, story_pipe
from localq.pool.visitors import Visitors
from localq.pool.worker import INITIALIZER_FAILED, RECYCLED, STOPPED, run_worker
from localq.tasks import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, NoReturn

    from localq.pool.last_words import LastWords
    from localq.pool.reload import Reload
    from localq.pool.spares import Spares
    from localq.pool.steering import Steering

__all__ = ["Child", "Supervisor", "main", "run_supervisor"]

FAILED_STARTS = 5  # so many workers in a row that died before they were ready: give up, tell the client
BACK_OFF = 0.05  # seconds before the second attempt after a failed start; doubles each time
BACK_OFF_MOST = 5.0
RETRY = 0.01  # seconds until a recovery that met a full ring goes on: a worker empties many cells in that time
RETRY_MOST = 0.5  # ... and at last: what a dead client pinned stays while its tasks need it, for minutes perhaps
IDLE = 5.0  # seconds that memory lies idle until the system gets it back, and at most twice that
WARM_AFTER = 0.5  # seconds: most of those imports take longer than a short script
LOOK_LEAST = 0.002  # seconds between two looks that time itself brings: each reads all slots
LOOK_AGAIN = 0.1  # ... whether a worker that was idle and is to go has taken a task in that moment
SWEEP_LEAST, SWEEP_MOST = 0.05, 1.0  # seconds between two looks for cached results that have expired, or are too many
TIDY_MOST = 30.0  # between two looks for idle memory, when there was none


class Child:
    """A worker, or a spare, as the supervisor sees it."""

    __slots__ = (
        "generation",
        "is_condemned",
        "is_dropped",
        "is_surplus",
        "is_told_to_leave",
        "label",
        "pid",
        "pidfd",
        "story",
        "turn",
    )

    def __init__(self, pid: int, pidfd: int, label: int, story: Story, generation: int, turn: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.label = label
        self.story = story
        self.generation = generation  # reloads that were begun before it was started
        self.is_condemned = False  # killed by us, for a task that did not stop
        self.is_told_to_leave = False  # after the task in hand
        self.is_surplus = False  # ... and nobody takes its place
        self.turn = turn  # of a spare: the pipe that says when it is a worker; else -1
        self.is_dropped = False  # a spare that never will be


class Supervisor:
    """The state of one supervisor process."""

    def __init__(self, space: Space, brief: Brief, hear: int, tell: int, door: int) -> None:
        self.space = space
        self.brief = brief
        self.ear = hear  # the owner calls on it; its end is the owner's
        self.voice = tell  # to the owner
        self.label = space.join(ROLE_SUPERVISOR, os.getpid(), started_at(os.getpid()))
        self.children: dict[int, Child] = {}  # by pidfd
        self.by_story: dict[int, Child] = {}
        self.leased = 0  # workers beside those that the owner wants, as long as somebody else does
        self.tasks: list[dict[str, Any]] | None = None  # what workers can run by name, as the latest of them told
        self.tasks_generation = -1  # ... which was of that
        self.generation = 0  # reloads that were begun
        self.reload: Reload | None = None
        self.is_reload_wanted = False  # another one, after that
        self.strangers: dict[int, int] = {}  # pidfd to label: workers of an earlier supervisor, which are ending
        self.unfinished: list[
            tuple[int, int, int]
        ] = []  # labels, wait statuses, reports of dead, not all recovered yet
        self.failed_starts = 0
        self.allowance = Allowance(brief.workers, time.monotonic())
        self.start_at: float | None = None  # when the next worker may be started, after failed starts
        self.end_at: float | None = None  # when to end whatever still runs, after SIGTERM
        self.is_told_to_end = False  # by SIGTERM
        self.look_at: float | None = None  # when to look through the slots
        self.stops: dict[tuple[int, int, int], float] = {}  # slot, task, worker's label: when it is killed
        self.sweep_every = _sweep_interval(brief.result_ttl)
        self.sweep_at = time.monotonic() + self.sweep_every
        self.tidy_at = time.monotonic() + IDLE
        self.idle: bytearray | None = None  # what was free when `tidy` looked last
        self.retry = RETRY
        self.warm_at: float | None = time.monotonic() + WARM_AFTER
        self.last_words: LastWords | None = None
        self.steering: Steering | None = None  # once somebody has asked for something
        self.recycles = brief.max_tasks_per_child is not None or brief.max_memory_per_child is not None
        self.spares: Spares | None = None  # if it does, once the first workers have started
        self.imports_ahead = True  # a spare does: until one has died of it
        try:
            self.owner = os.pidfd_open(brief.owner_pid)
        except ProcessLookupError:  # gone already
            os._exit(0)
        self.poll = select.epoll()
        self.signalled = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # by the handlers of signals
        self.visitors = Visitors(
            space,
            door,
            self.poll,
            brief.workers,
            self.describe,
            lambda label: self.finish_for(label, 0),
            self.hear_request,
        )

    def run(self) -> NoReturn:
        """Until the owner is gone or has closed the queue and all is done."""
        if os.getppid() != self.brief.owner_pid:
            self.end()  # it died before its pid could be held
        for fd in (self.ear, self.owner, self.signalled):
            self.poll.register(fd, select.EPOLLIN)
        self.listen_to_signals()
        self.preload()
        gc.freeze()  # what is here now is shared with the workers: a collection must not touch its pages
        self.space.tally(TALLY_SUPERVISORS)
        self.space.set_workers(self.brief.workers)
        self.adopt()
        if self.space.tallies["supervisors_started"] > 1:
            self.note(f"supervisor {os.getpid()} takes the place of one that was lost; its workers ended with it")
        self.staff()
        self.space.set_ready(self.label)
        self.look()  # for what was asked before there was anybody to call
        while True:
            is_spare_due = self.spares is not None and self.spares.is_due()
            events = self.poll.poll(0 if is_spare_due else self.until_next_timer())
            for fd, _ in events:
                if fd == self.owner:
                    self.end()
                elif fd == self.ear:
                    self.hear()
                elif fd == self.signalled:
                    self.heed()
                elif fd in self.children:
                    self.bury(self.children[fd])
                elif fd in self.by_story:
                    self.hear_worker(self.by_story[fd])
                    self.staff()  # it may have said that it leaves
                elif self.spares is not None and fd in self.spares.children:
                    self.bury(self.spares.children[fd])
                elif fd in self.strangers:
                    self.bury_stranger(fd)
                elif not self.visitors.handle(fd) and self.steering is not None:
                    self.steering.handle(fd)
            self.keep_time()
            self.staff()
            if not events and self.spares is not None and self.spares.is_due():
                self.fork(is_spare=True)
            if self.is_done():
                self.end()

    def is_done(self) -> bool:
        """Nothing is left to do, now or later."""
        return (
            self.space.phase >= PHASE_DRAINING
            and not self.children
            and not self.strangers
            and self.start_at is None
            and not self.unfinished
            and not (self.space.phase == PHASE_DRAINING and self.space.slots()["delayed"])
        )

    def listen_to_signals(self) -> None:
        """SIGTERM drains, SIGURG says that the slots want to be looked at. Ctrl-C and a terminal's hang-up are for the
        owner, which decides what ends; and a visitor who hangs up while he is answered ends nobody."""
        signal.signal(signal.SIGTERM, self.on_terminate)
        signal.signal(signal.SIGURG, lambda number, frame: os.eventfd_write(self.signalled, 1))
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

    def describe(self) -> dict[str, object]:
        """What somebody who attaches must know."""
        brief = self.brief
        return {
            "owner_pid": brief.owner_pid,
            "owner_started": started_at(brief.owner_pid),
            "supervisor_pid": os.getpid(),
            "began": brief.began,
            "python": ".".join(map(str, sys.version_info[:2])),
            "queues": list(brief.queues),
            **{name: getattr(brief, name) for name in FOR_CLIENTS},
        }

    # events

    def hear(self) -> None:
        """The owner called, or is gone."""
        try:
            heard = os.read(self.ear, 4096)
        except BlockingIOError:
            return
        if not heard or KILL in heard:
            self.end()
        if self.space.phase >= PHASE_STOPPED:
            for child in self.children.values():
                if is_stopped(child.pid):  # it will not end by itself
                    _kill(child.pidfd)

    def on_terminate(self, number: int, frame: object) -> None:
        self.is_told_to_end = True
        os.eventfd_write(self.signalled, 1)

    def heed(self) -> None:
        """A signal came: SIGTERM, or the call of a client or worker."""
        os.eventfd_read(self.signalled)
        if self.is_told_to_end:
            self.drain()
        self.look()

    def look(self) -> None:
        """See to tasks that shall stop, and to those whose time has come. Who does not stop within the grace period is
        killed; recovery then ends the task, and only that."""
        next_at, asked = self.space.look(self.label)
        now = time.monotonic()
        by_label = {child.label: child for child in self.children.values()}
        stops: dict[tuple[int, int, int], float] = {}
        for index, generation, label, _ in asked:
            child = by_label.get(label)
            if child is None:  # of an earlier supervisor; it is being ended as a whole
                continue
            kill_at = self.stops.get((index, generation, label))
            if kill_at is None:
                kill_at = now + self.brief.grace_period
                signal.pidfd_send_signal(child.pidfd, signal.SIGURG)
            if kill_at > now:
                stops[index, generation, label] = kill_at
            elif self.space.condemn(index, generation, label):  # else it has ended since the look
                self.condemn(child)
        self.stops = stops
        times = [*stops.values(), *([] if next_at is None else [max(next_at, now + LOOK_LEAST)])]
        self.look_at = min(times, default=None)

    def drain(self) -> None:
        """Somebody wants us to end (SIGTERM): take nothing more, give what is there a while, then end."""
        self.is_told_to_end = False
        self.space.set_phase(PHASE_DRAINING)
        if self.end_at is None:
            self.end_at = time.monotonic() + self.brief.drain_timeout

    def adopt(self) -> None:
        """Whom an earlier supervisor left: its workers are ending with it, and who died since was buried by nobody."""
        for row in self.space.rows():
            label, pid, started = row["label"], row["pid"], row["started"]
            if label == self.label or (row["role"] == ROLE_CLIENT and pid == self.brief.owner_pid):
                continue
            if not row["live"]:
                self.finish_for(label, WITH_SUPERVISOR)
            elif row["role"] == ROLE_CLIENT:
                self.visitors.adopt(label, pid, started)
            else:
                self.see_end(label, pid, started)

    def see_end(self, label: int, pid: int, started: int) -> None:
        """A worker or supervisor of before. Its parent's death has killed it, unless a task gave up its right to that
        (setuid does); and it may take a moment. A row without a pid had no process yet: the child can't sign in now."""
        signed = signed_by(self.space, label, pid, started)
        if signed is None:
            return
        pidfd = open_process(*signed) if signed[0] else None
        if pidfd is None:
            self.finish_for(label, WITH_SUPERVISOR)
            return
        _kill(pidfd)
        self.strangers[pidfd] = label
        self.poll.register(pidfd, select.EPOLLIN)

    def bury_stranger(self, pidfd: int) -> None:
        self.poll.unregister(pidfd)
        os.close(pidfd)
        self.finish_for(self.strangers.pop(pidfd), WITH_SUPERVISOR)

    def bury(self, child: Child) -> None:
        """A worker has ended: finish what it began, and note why."""
        ended = _reap(child)
        if ended is None:  # that event was for a descriptor closed just before, which had this one's number
            return
        status, peak = ended
        self.hear_worker(child)
        story = child.story.text
        was_ready = self.is_ready(child.label)
        clients = self.clients_in(child.pid)
        self.poll.unregister(child.pidfd)
        is_spare = self.spares is not None and self.spares.forget(child)
        if is_spare and was_ready and not child.story.is_warm and not child.is_dropped:
            self.imports_ahead = False
        self.children.pop(child.pidfd, None)
        os.close(child.pidfd)
        self.close_story(child)
        for label in clients:
            self.finish_for(label, status)
        if self.steering is not None:
            self.steering.bury(child)
        code = os.waitstatus_to_exitcode(status)
        if self.reload is not None and child is self.reload.first:
            self.finish_for(child.label, status)
            if self.is_reload_wanted:
                self.reload, self.is_reload_wanted = None, False
                self.begin_reload()
            else:
                self.end_reload(_why_not(code, story))
            return
        if code in (STOPPED, RECYCLED) or child.is_condemned or child.is_dropped:
            self.finish_for(child.label, FOR_ANOTHER if child.is_condemned else status)
            if child.is_condemned:
                self.note(f"worker {child.pid} was killed: a task in it was told to stop, and did not", child.pid)
            self.failed_starts = 0 if was_ready else self.failed_starts
            self.look_at = time.monotonic()  # it may have wanted a look, and died before it could say so
            return
        self.look_at = time.monotonic()
        report = self.report(child.pid, status, peak, story)
        if was_ready and not is_spare:
            self.space.tally(TALLY_WORKERS_CRASHED)
        self.finish_for(child.label, status, report)
        facts = self.space.read_report(report, child.pid) if report else None
        cause = " (the kernel had no memory left for it)" if facts is not None and facts[1] else ""
        self.note(
            f"{'spare ' if is_spare else ''}worker {child.pid} ended with {_how(code)}{cause}"
            f"{'' if was_ready else ' while it started'}",
            child.pid,
        )
        if was_ready:
            self.failed_starts = 0
            next_start = self.allowance.next_start(time.monotonic())
            self.put_off(next_start, is_spare)
            if next_start is not None and self.allowance.is_first_refusal():
                self.say(f"workers die faster than they may be replaced, {self.allowance.RATE:g} a second")
            return
        self.failed_starts += 1
        self.put_off(time.monotonic() + min(BACK_OFF * 2.0 ** (self.failed_starts - 1), BACK_OFF_MOST), is_spare)
        if code == INITIALIZER_FAILED and not self.has_ready_worker():
            self.give_up(story)
        elif self.failed_starts >= FAILED_STARTS and not self.has_ready_worker():
            reason = f"{self.failed_starts} workers in a row ended with {_how(code)} before they were ready"
            self.give_up(story or reason.encode())
        elif code == INITIALIZER_FAILED and self.reload is not None:  # the files have changed once more
            self.end_reload(_why_not(code, story))
        elif code == INITIALIZER_FAILED:
            self.say(f"a worker can't be started: {_why_not(code, story)}; trying again")

    def clients_in(self, pid: int) -> list[int]:
        """The labels under which a worker has submitted tasks of its own."""
        return [row["label"] for row in self.space.rows() if row["role"] == ROLE_CLIENT and row["pid"] == pid]

    def report(self, pid: int, status: int, peak_bytes: int, story: bytes) -> int:
        """Keep what is known of a worker that died, for the error of its task. Returns the report's number."""
        try:
            if self.last_words is None:
                self.listen_for_last_words()
            assert self.last_words is not None
            return self.last_words.report(pid, status, peak_bytes, story)
        except OSError:  # no descriptor left: the task's error says less then
            return 0

    def listen_for_last_words(self) -> None:
        from localq.pool.last_words import LastWords

        self.last_words = LastWords(self.space, self.label)

    def say(self, what: str) -> None:
        notice(self.brief.name, what)

    def note(self, what: str, pid: int = 0) -> None:
        """Write down what was started anew, and why; `pid`: what ended."""
        self.space.tell(self.label, "restart", what, pid)

    def finish_for(self, label: int, status: int, report: int = 0) -> None:
        """Finish what a dead process began, or note that a full ring has to be emptied by workers first."""
        if not recover(self.space, label, self.label, status, report).is_complete:
            self.unfinished.append((label, status, report))

    def give_up(self, story: bytes) -> None:
        """No worker can be started: waiting would be in vain, so say so, once."""
        if self.space.phase == PHASE_BROKEN:
            return
        try:
            os.write(self.voice, story[:60000] or b"the workers could not be started")
        except OSError:
            pass  # the owner is gone, or does not listen: the phase tells it enough
        self.start_at = None
        self.space.set_phase(PHASE_BROKEN)
        if self.steering is not None:
            self.steering.give_up("its workers could not be started; its owner knows why")

    # timers

    def until_next_timer(self) -> float:
        timers = (self.sweep_at, self.tidy_at, self.start_at, self.warm_at, self.end_at, self.look_at)
        left = max(0.0, min(at for at in timers if at is not None) - time.monotonic())
        for others in (self.visitors, self.steering):
            timer = None if others is None else others.until_next_timer()
            left = left if timer is None else min(left, timer)
        if self.reload is not None:
            left = min(left, LOOK_AGAIN)
        return min(left, self.retry) if self.unfinished else left

    def keep_time(self) -> None:
        now = time.monotonic()
        if self.end_at is not None and now >= self.end_at:
            self.end()
        if self.start_at is not None and now >= self.start_at:
            self.start_at = None
        unfinished, self.unfinished = self.unfinished, []
        for label, status, report in unfinished:
            self.finish_for(label, status, report)
        self.retry = min(2 * self.retry, RETRY_MOST) if self.unfinished else RETRY
        self.visitors.keep_time()
        if self.steering is not None:
            self.steering.keep_time()
        self.go_on_with_reload()
        if self.look_at is not None and now >= self.look_at:
            self.look()
        if self.warm_at is not None and now >= self.warm_at:
            self.warm_at = None
            self.warm_up()
        if self.recycles and self.spares is None and self.warm_at is None and self.is_staffed_and_ready():
            self.begin_spares()
        if now >= self.sweep_at:
            self.sweep()
            self.sweep_at = now + self.sweep_every
        if now >= self.tidy_at:
            self.tidy_at = now + (IDLE if self.tidy() else TIDY_MOST)

    def sweep(self) -> None:
        """Let go of what has expired, and of clients that left half-way: one that leaves recovers itself, if it can."""
        self.space.sweep(self.label)
        self.visitors.prune()
        late = {label for label, _, _ in self.unfinished}
        for row in self.space.rows():
            if not row["live"] and row["label"] not in late:
                self.finish_for(row["label"], WITH_SUPERVISOR)

    def tidy(self) -> bool:
        """Give the system back memory that has lain idle since the last time. Returns whether there will be more."""
        if self.idle is None:
            self.idle = bytearray(8 * self.space.spans)
        _, left = self.space.give_back(self.label, self.idle)
        return left != 0

    # workers

    def preload(self) -> None:
        for name in self.brief.preload:
            try:
                __import__(name)
            except Exception:  # noqa: BLE001 - a module may raise anything; tasks that need this one will say so again
                self.say(f"preload of {name!r} failed")
                sys.excepthook(*sys.exc_info())

    def warm_up(self) -> None:
        """Import what most workers need sooner or later, once the queue has proven not to be gone in a moment. The
        first workers did not wait for it; their successors have it."""
        try:
            for name in (
                "localq.pickling",
                "localq.remote_errors",
                "localq.caller_errors",
                "cloudpickle",
                "_socket",
                "array",
                "_struct",
            ):
                __import__(name)
            if self.last_words is None:
                self.listen_for_last_words()
        except OSError:  # no descriptor left to read a file with
            self.warm_at = time.monotonic() + BACK_OFF_MOST
        gc.freeze()

    def staff(self) -> None:
        """As many workers as there should be, just now."""
        phase = self.space.phase
        if phase >= PHASE_STOPPED:
            self.drop_spares()
            return
        wanted = self.workers
        if phase == PHASE_DRAINING:  # no more than there is still work for
            queued = sum(map(sum, self.space.depths()))
            wanted = min(wanted, queued)
            if not queued:
                self.drop_spares()
        while len(self.staying()) < wanted:
            if self.spares is not None and self.spares.promote():
                continue
            if self.start_at is not None:
                break
            self.fork()

    def staying(self) -> list[Child]:
        """Those that count: not who leaves or is too many, nor the first of a reload, which is beside them."""
        first = None if self.reload is None else self.reload.first
        return [
            child
            for child in self.children.values()
            if not child.is_surplus and not child.story.is_leaving and child is not first
        ]

    def is_staffed_and_ready(self) -> bool:
        staying = self.staying()
        return len(staying) >= self.workers and all(self.is_ready(child.label) for child in staying)

    def begin_spares(self) -> None:
        """From now on there are some."""
        from localq.pool.spares import Spares

        self.spares = Spares(self)
        self.visitors.workers = self.rows

    def drop_spares(self) -> None:
        if self.spares is not None:
            self.spares.drop()

    @property
    def workers(self) -> int:
        """As many as there should be."""
        return self.brief.workers + self.leased

    @property
    def rows(self) -> int:
        """So many of the roster they need, and the spares beside them."""
        return self.workers + (0 if self.spares is None else self.spares.most)

    def tells_tasks(self) -> bool:
        """Whether the next worker is to tell what it can run: the first of each generation, and during a reload all,
        because that is how they say that they can work."""
        if self.reload is not None:
            return True
        return self.tasks_generation != self.generation and bool(self.brief.task_modules or registry)

    def fork(self, is_spare: bool = False) -> Child | None:
        """One more worker, or spare; or, when the system refuses something for it, none for a while."""
        try:
            label = self.space.join(ROLE_SPARE if is_spare else ROLE_WORKER, 0)
        except RuntimeError:  # the roster is full: a row comes back with the next burial
            self.put_off(time.monotonic() + BACK_OFF, is_spare)
            return None
        fds: list[int] = []
        begin = turn = -1
        try:
            tell, story = story_pipe()
            fds += tell, story.fd
            if is_spare:
                turn, begin = os.pipe()
                fds += turn, begin
            # Until the child has a handler of its own, it would take SIGTERM for the supervisor's, and drain the queue.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
            supervisor = os.getpid()  # asked in the child, its parent may be another already
            try:
                pid = os.fork()
                if pid == 0:
                    self.become_worker(label, tell, supervisor, mask, turn, begin)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self.space.sign_in(label, pid)
            child = Child(pid, _pidfd(pid), label, story, self.generation, begin)
            fds = [fd for fd in fds if fd not in (story.fd, begin)]
        except OSError as error:  # out of descriptors, processes or memory
            if not is_spare:
                self.say(f"no worker could be started: {error}; trying again")
            self.finish_for(label, 0)
            self.put_off(time.monotonic() + BACK_OFF_MOST, is_spare)
            return None
        finally:
            for fd in fds:
                os.close(fd)
        self.by_story[story.fd] = child
        if self.spares is not None and is_spare:
            self.spares.children[child.pidfd] = child
        else:
            self.children[child.pidfd] = child
            self.space.tally(TALLY_WORKERS)
        self.poll.register(child.pidfd, select.EPOLLIN)
        self.poll.register(story.fd, select.EPOLLIN)
        return child

    def put_off(self, until: float | None, is_spare: bool) -> None:
        """Start none before. A spare's trouble holds up no worker, nor the end of the queue."""
        if self.spares is not None and is_spare:
            self.spares.not_before = until
        else:
            self.start_at = until

    def hear_worker(self, child: Child) -> None:
        """It tells something."""
        had_tasks = child.story.tasks is not None
        child.story.read()
        if not had_tasks and child.story.tasks is not None:
            if child.generation >= self.tasks_generation:
                self.tasks, self.tasks_generation = child.story.tasks, child.generation
            if self.reload is not None and child is self.reload.first:
                self.end_reload(None)
        if self.steering is not None:
            self.steering.hear(child)
        if child.story.is_leaving and self.recycles and self.spares is None:
            self.begin_spares()
        if child.story.is_over:
            self.close_story(child)

    def close_story(self, child: Child) -> None:
        if self.by_story.pop(child.story.fd, None) is not None:
            self.poll.unregister(child.story.fd)
            child.story.close()

    def condemn(self, child: Child) -> None:
        """Kill it, for a task that must end and has been marked as ended by us."""
        child.is_condemned = True
        _kill(child.pidfd)

    def drain_worker(self, child: Child) -> None:
        """It ends after the task in hand, and is replaced."""
        child.is_told_to_leave = True
        try:
            signal.pidfd_send_signal(child.pidfd, signal.SIGTERM)
        except ProcessLookupError:
            pass  # its burial comes

    # when somebody asks for it

    def hear_request(self, socket: _socket.socket, pid: int, said: bytes) -> None:
        """A visitor wants something else than the memory."""
        try:
            if self.steering is None:
                from localq.pool.steering import Steering

                self.steering = Steering(self)
        except (OSError, ImportError):  # no descriptor left to read a file with
            socket.close()
            return
        self.steering.take(socket, pid, said)

    def set_leased(self, workers: int) -> None:
        """So many beside those that the owner wants. Who is too many ends after the task in hand: the idle ones first,
        those that are only starting before them."""
        self.leased = workers
        self.space.set_workers(self.workers)
        self.visitors.workers = self.rows
        staying = self.staying()
        staying.sort(key=lambda child: (self.is_ready(child.label), self.is_busy(child), -child.pid))
        for child in staying[: max(0, len(staying) - self.workers)]:
            child.is_surplus = True
            self.drain_worker(child)

    def is_busy(self, child: Child) -> bool:
        """Whether it has a task in hand. A reading: it is old when it returns."""
        if self.brief.concurrency > 1:  # its row names one task at most, and none between the steps of coroutines
            return any(each["pid"] == child.pid for each in self.space.running())
        row = self.space.row(child.label & 0xFFF)
        return row is not None and row["task"] is not None

    @property
    def is_reload_due(self) -> bool:
        """Whether the next reload is done now, not after the one that is under way."""
        return self.reload is None or self.reload.first is not None

    def begin_reload(self) -> None:
        """Replace all workers. While old ones go already, it is done once more afterwards."""
        if self.reload is not None:
            self.is_reload_wanted = True
            if self.reload.first is not None:  # it may have read the files before they were changed, or hang
                _kill(self.reload.first.pidfd)
            return
        from localq.pool.reload import Reload

        self.drop_spares()
        self.imports_ahead = True
        self.generation += 1
        self.reload = Reload(self.drain_worker, self.is_busy)
        self.reload.first = self.fork()
        if self.reload.first is None:
            self.end_reload("the system refuses a process for it, just now")

    def end_reload(self, why_not: str | None) -> None:
        """The first new worker can work, and the others are sent home; or it can't, and all stay as they are."""
        assert self.reload is not None
        self.reload.first = None
        if why_not is not None:
            self.say(f"reload failed, the workers stay as they are: {why_not}")
            lines = why_not.splitlines()
            self.note(f"reload failed: {lines[0]}{f': {lines[-1]}' if len(lines) > 1 else ''}")
            self.finish_reload(why_not)

    def finish_reload(self, why_not: str | None) -> None:
        assert self.reload is not None
        replaced, self.reload = self.reload.told, None
        if why_not is None:
            self.note(f"reload: {replaced} {'worker' if replaced == 1 else 'workers'} replaced")
        if self.steering is not None:
            self.steering.reloaded(replaced, why_not)
        if self.is_reload_wanted:
            self.is_reload_wanted = False
            self.begin_reload()

    def go_on_with_reload(self) -> None:
        is_staffed = self.start_at is None and len(self.staying()) >= self.workers
        if self.reload is not None and is_staffed and not self.reload.step([*self.children.values()], self.generation):
            self.finish_reload(None)

    def become_worker(self, label: int, tell: int, supervisor: int, mask: set[int], turn: int, begin: int) -> NoReturn:
        """The rest of a child's life. It keeps nothing of the supervisor's but the Space."""
        try:
            self.poll.close()
            for fd in (self.ear, self.voice, self.owner, self.signalled, *self.strangers):
                os.close(fd)
            for child in self.children.values():
                os.close(child.pidfd)
            for story in self.by_story:
                os.close(story)
            self.visitors.close()
            if self.steering is not None:
                self.steering.close()
            wait = None
            if self.spares is not None:
                self.spares.close()
                wait = None if turn < 0 else self.spares.turn_of(turn, begin)
            run_worker(self.space, label, self.brief, tell, self.tells_tasks(), supervisor, mask, wait)
        except BaseException:  # noqa: BLE001 - shown as an interpreter shows it; this must not become a second supervisor
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)  # run_worker never returns

    def is_ready(self, label: int) -> bool:
        row = self.space.row(label & 0xFFF)
        return row is not None and bool(row["ready"])

    def has_ready_worker(self) -> bool:
        spares = {} if self.spares is None else self.spares.children
        return any(self.is_ready(child.label) for child in [*self.children.values(), *spares.values()])

    def end(self) -> NoReturn:
        """Kill what still runs, and go. The memory goes with the last process that maps it."""
        self.space.set_phase(PHASE_STOPPED)
        if self.brief.socket is not None:
            from localq.pool.doorway import remove_socket

            remove_socket(*self.brief.socket)
        children = {**self.children, **({} if self.spares is None else self.spares.children)}
        for pidfd in children:
            _kill(pidfd)
        for child in children.values():
            os.waitpid(child.pid, 0)
        os._exit(0)


def _reap(child: Child) -> tuple[int, int] | None:
    """(wait status, bytes of memory it had at most) of one that has ended; no memory of one that meant to end. None: it
    lives. `wait4`, which knows that, imports a module when it is first called, and most queues end without a crash."""
    told = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if told is None:
        return None
    if told.si_code == os.CLD_EXITED and told.si_status in (STOPPED, RECYCLED):
        return os.waitpid(child.pid, 0)[1], 0
    _, status, used = os.wait4(child.pid, 0)
    return status, used.ru_maxrss * 1024


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _pidfd(pid: int) -> int:
    """A descriptor of a new child; where there is none left, the child is ended again."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _how(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    from signal import Signals

    try:
        return Signals(-code).name
    except ValueError:  # a real-time signal: only the first and the last have names
        return f"signal {-code}"


def _why_not(code: int, story: bytes) -> str:
    """Why a worker could not start."""
    module, is_of_module, error = story.decode("utf-8", "replace").partition(MODULE_FAILED)
    if is_of_module:
        return f"task module {module!r} could not be imported\n{error.rstrip()}"
    if code == INITIALIZER_FAILED:
        return f"the initializer raised\n{module.rstrip()}"
    return f"a new worker ended with {_how(code)} before it was ready"


def _sweep_interval(result_ttl: float | None) -> float:
    return SWEEP_MOST if result_ttl is None else min(max(result_ttl / 4, SWEEP_LEAST), SWEEP_MOST)


def run_supervisor(space: Space, brief: Brief, hear: int, tell: int, door: int) -> NoReturn:
    """Supervise until the end of this process. `door`: the listening socket, -1 for none."""
    _native.name_process(f"localq:{brief.name}")
    Supervisor(space, brief, hear, tell, door).run()


def main(control: int, payload: int, brief_fd: int, hear: int, tell: int, door: int) -> NoReturn:
    """The program of a supervisor that was executed: six descriptors, nothing else."""
    with open(brief_fd, "rb") as told:
        told.seek(0)
        brief = Brief.from_bytes(told.read())
    _close_all_but({0, 1, 2, control, payload, hear, tell, door, brief.output})
    for fd in (control, payload, hear, tell, door, brief.output):
        if fd >= 0:
            os.set_inheritable(fd, False)
    sys.path[:] = brief.sys_path
    if brief.cwd is not None:
        try:
            os.chdir(brief.cwd)
        except OSError as error:
            notice(brief.name, f"the client's working directory can't be entered: {error}")
    run_supervisor(Space.open(control, payload), brief, hear, tell, door)


def _close_all_but(kept: set[int]) -> None:
    """Descriptors that the client had open without close-on-exec are none of ours."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listdir used itself
