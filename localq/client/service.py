# SPDX-License-Identifier: MIT
"""A queue as a service: it runs until it is told to end, and then ends in good order.

Used by `localq serve`. SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reloads, unless it comes because the
terminal is gone: that drains, too. Whoever started it hears of it by the protocol of sd_notify, if it wants to
(NOTIFY_SOCKET).
"""

from __future__ import annotations

import os
import select
import signal
import time
from threading import Thread
from typing import TYPE_CHECKING

from localq._native import PHASE_BROKEN, PHASE_STOPPED, ROLE_WORKER
from localq.client.ownership import Ownership
from localq.errors import LocalqError
from localq.pool.control import ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from localq.client.queue import LocalQueue

__all__ = ["Init", "Service", "Signals"]

TICK = 0.5  # seconds between two looks whether the queue has broken
READY_TICK = 0.01  # ... and, in the beginning, whether the workers are there
RELOAD_SECONDS = 3600.0  # importing takes as long as it takes


class Init:
    """Whoever started this process, as far as it wants to be told: systemd, above all."""

    def __init__(self) -> None:
        """Takes NOTIFY_SOCKET out of the environment: tasks and what they start are not the service."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, **words: object) -> None:
        """READY=1 and the like. Never fails: whether anybody hears it changes nothing."""
        if not self._address:
            return
        from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket

        text = "\n".join(f"{word}={value}" for word, value in words.items())
        try:
            with socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | os.O_NONBLOCK) as there:
                there.sendto(text.encode(), self._address)
        except OSError:
            pass


class Signals:
    """SIGTERM, SIGINT and SIGHUP as events at a descriptor. A context manager, for the main thread; it begins before
    the queue, which then leaves SIGTERM alone."""

    NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __enter__(self) -> Signals:
        self.came: list[int] = []
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._has_terminal = _has_terminal()
        self._before = {number: signal.signal(number, self._note) for number in self.NUMBERS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.fd)

    @property
    def is_hung_up(self) -> bool:
        """Whether the terminal in which this process was started has gone, and that shall end it (nohup says no)."""
        return self._has_terminal and self._before[signal.SIGHUP] != signal.SIG_IGN and not _has_terminal()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)
        os.eventfd_write(self.fd, 1)

    def take(self) -> list[int]:
        """Those that came since the last time."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass
        came, self.came = self.came, []
        return came


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class Service:
    """One queue, from its start to its end."""

    def __init__(self, queue: LocalQueue, signals: Signals, init: Init, say: Callable[[str], object]) -> None:
        """`say` tells people a sentence."""
        self._queue = queue
        self._signals = signals
        self._init = init
        self._say = say
        self._space = queue._space
        hold = queue._connection.hold
        assert isinstance(hold, Ownership)
        self._hold = hold

    def run(self) -> bool:
        """Until it was drained, and the queue is closed; whether all that it had taken was done.

        Raises:
            LocalqError: the queue broke: its workers can't start, or its supervisor can't.
        """
        try:
            is_told_to_end = self._wait_until_ready() or self._serve()
            return self._drain() if is_told_to_end else True
        finally:
            self._queue.close(cancel_pending=True, timeout=0.0)

    def _wait_until_ready(self) -> bool:
        """True when told to end before."""
        while self._ready() < self._queue.config.workers:
            if self._is_told_to_end(READY_TICK):
                return True
        workers = self._queue.config.workers
        what = f"{workers} {'worker' if workers == 1 else 'workers'}"
        self._say(f"queue {self._queue.name} is ready: {what} (pid {os.getpid()})")
        self._init.tell(READY=1, STATUS=f"{what}, taking tasks")
        return False

    def _ready(self) -> int:
        return sum(row["role"] == ROLE_WORKER and row["live"] and row["ready"] for row in self._space.rows())

    def _serve(self) -> bool:
        """False when the queue has ended without us: somebody has told its supervisor to."""
        while not self._is_told_to_end(TICK):
            if self._space.phase == PHASE_STOPPED:
                self._say(f"queue {self._queue.name} has ended: its supervisor was told to")
                return False
        return True

    def _is_told_to_end(self, seconds: float) -> bool:
        """Sleep so long, or until a signal comes; see to it. Raises what broke the queue."""
        self._sleep(seconds)
        trouble = self._hold.trouble()
        if trouble is not None and self._space.phase != PHASE_STOPPED:
            raise trouble()
        came = self._signals.take()
        if signal.SIGHUP in came and self._signals.is_hung_up:
            return True
        if signal.SIGHUP in came:
            Thread(target=self._reload, name="localq-reload", daemon=True).start()
        return signal.SIGTERM in came or signal.SIGINT in came

    def _sleep(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        poll.poll(seconds * 1000)

    def _reload(self) -> None:
        self._init.tell(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        self._say("reloading: new workers take the place of the old ones")
        try:
            replaced = ask(self._queue.name, {"do": "reload"}, RELOAD_SECONDS)["workers"]
            what = f"reloaded: {replaced} {'worker' if replaced == 1 else 'workers'} replaced"
        except (LocalqError, OSError) as error:
            what = f"reload failed, the workers stay as they are: {error}"
        self._say(what)
        self._init.tell(READY=1, STATUS=what.splitlines()[0])

    def _drain(self) -> bool:
        """Take nothing more, and give what is there `drain_timeout` seconds. A second signal ends this process."""
        seconds = self._queue.config.drain_timeout
        left = self._left()
        self._init.tell(STOPPING=1, STATUS=f"draining, {left} tasks are left")
        if left:
            self._say(f"draining: {_tasks(left)} left, for at most {seconds:g} s; a second signal ends them at once")
        self._queue.close(wait=False)
        until = time.monotonic() + seconds
        while self._space.phase < PHASE_STOPPED and time.monotonic() < until:
            self._sleep(min(READY_TICK, max(0.0, until - time.monotonic())))
            for number in self._signals.take():
                if number != signal.SIGHUP:
                    self._say("ended at once")
                    signal.signal(number, signal.SIG_DFL)
                    os.kill(os.getpid(), number)  # supervisor and workers end with their owner
        left = 0 if self._space.phase == PHASE_BROKEN else self._left()
        self._say("drained, and ended" if not left else f"ended {_tasks(left)} that took longer than {seconds:g} s")
        return not left

    def _left(self) -> int:
        slots = self._space.slots()
        return slots["queued"] + slots["delayed"] + slots["claimed"] + slots["running"]


def _tasks(count: int) -> str:
    return f"{count} {'task' if count == 1 else 'tasks'}"
