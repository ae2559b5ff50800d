# SPDX-License-Identifier: MIT
"""Steer a running queue from any process of the same user: the asking half of `localq.pool.requests`.

Used by the command line and by `localq top`. One request is one connection; a lease keeps its own.
"""

from __future__ import annotations

import os
import select
import time
from socket import SHUT_RDWR
from threading import Event, Thread

from localq import _native
from localq.errors import AttachError
from localq.pool.attach import AGAIN, HungUp, NoAnswer, connect, exchange, understand
from localq.pool.visitors import ASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

__all__ = ["Lease", "ask", "lease"]

MOST_BYTES = 1 << 24  # of an answer
LEASE_TRY = 1.0  # seconds for one try to have a lease again
LEASE_PAUSE = 0.1  # seconds between two


def ask(name: str, request: dict[str, Any], timeout: float = 5.0) -> dict[str, Any]:
    """Have the supervisor of a queue do something, and return its answer.

    Requests, by their word `do`; task and process ids are those of `localq top`, of a snapshot or of a future:

        {"do": "stack", "pid": P}        {"stack": text}: where the threads of that worker are, in at most a second
        {"do": "drain", "pid": P}        {}: that worker ends after the task in hand, and is replaced
        {"do": "kill", "task_id": T}     {"killed": bool}: that task is cancelled, and its worker killed at once;
                                         False: it does not run
        {"do": "tasks"}                  {"tasks": [...]}: what can be called by name
        {"do": "reload"}                 {"workers": n}: so many are replaced, each after its task in hand: told once
                                         they take no others, which lasts as long as new ones take to start
        {"do": "facts"}                  {"name", "owner_pid", "command", "started_at", "workers", "queued", ...}

    Workers for a while are asked for with `lease`.

    Raises:
        AttachError: there is no such queue, it refuses, or it does not answer within `timeout` seconds.
    """
    answer, connection = _ask(name, request, timeout)
    connection.close()
    return answer


def lease(name: str, count: int, timeout: float = 5.0) -> Lease:
    """Have `count` more workers in a queue until the lease is closed, or this process ends.

    Raises:
        AttachError: as `ask`; or there is no room for so many.
    """
    return Lease(name, count, timeout)


class Lease:
    """Workers that a queue has as long as this is open, also after its supervisor was replaced. A context manager."""

    def __init__(self, name: str, count: int, timeout: float = 5.0) -> None:
        self._request = {"do": "workers", "count": count}
        answer, connection = _ask(name, self._request, timeout)
        self.name = name
        self.count = count
        self.workers: int = answer["workers"]  #: of the queue, when it was asked last
        self.ended: str | None = None  #: why it has ended by itself, in a sentence
        self._queue = answer["queue"]
        self._over = Event()
        self._leave = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._thread = Thread(target=self._watch, args=(connection,), name="localq-lease", daemon=True)
            self._thread.start()
        except BaseException:
            connection.close()
            os.close(self._leave)
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the lease has ended, `timeout` seconds at most. True when it has; `ended` says why."""
        return self._over.wait(timeout)

    def close(self) -> None:
        """Give them back: as many workers end, each after its task in hand."""
        if self._leave >= 0:
            os.eventfd_write(self._leave, 1)
            self._thread.join()
            os.close(self._leave)
            self._leave = -1

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # the thread

    def _watch(self, connection: socket.socket) -> None:
        while not self._is_left(connection):
            connection.close()
            again = self._have_again()
            if again is None:
                break
            connection = again
        try:
            connection.shutdown(SHUT_RDWR)  # a child that was forked meanwhile may hold it still
        except OSError:
            pass
        connection.close()
        self._over.set()

    def _is_left(self, connection: socket.socket | None, timeout: float | None = None) -> bool:
        """Sleep until told to leave (True), or the connection has ended, or for some time."""
        poll = select.poll()
        poll.register(self._leave, select.POLLIN)
        if connection is not None:
            poll.register(connection, select.POLLIN)
        return any(fd == self._leave for fd, _ in poll.poll(None if timeout is None else timeout * 1000))

    def _have_again(self) -> socket.socket | None:
        """The supervisor is gone, and its successor knows of no lease. None: there is none to be had any more."""
        while True:
            try:
                answer, connection = _ask(self.name, self._request, LEASE_TRY)
            except NoAnswer:
                if self._is_left(None, LEASE_PAUSE):
                    return None
                continue
            except AttachError as error:
                self.ended = str(error)
                return None
            if answer["queue"] != self._queue:
                connection.close()
                self.ended = f"queue {self.name!r} has ended, and another one has its name"
                return None
            self.workers = answer["workers"]
            return connection


def _ask(name: str, request: dict[str, Any], timeout: float) -> tuple[dict[str, Any], socket.socket]:
    """The answer, and the connection. A supervisor that dies meanwhile is replaced: then its successor is asked."""
    said = _native.encode_value(request)
    if said is None:
        raise AttachError("a request has whole numbers and texts only")
    until = time.monotonic() + timeout
    while True:
        connection = connect(name, timeout)
        try:
            answer, fds = exchange(connection, ASK + said, name, max(0.001, round(until - time.monotonic(), 3)))
            return understand(_read(fds) if fds else answer, name), connection
        except HungUp:
            connection.close()
            if time.monotonic() + AGAIN > until:
                raise
            time.sleep(AGAIN)
        except BaseException:
            connection.close()
            raise


def _read(fds: list[int]) -> bytes:
    """A long answer. The supervisor has written all of it."""
    try:
        return os.pread(fds[0], MOST_BYTES, 0)
    finally:
        for fd in fds:
            os.close(fd)
