# SPDX-License-Identifier: MIT
"""What holds a client to its queue: the native client, who publishes its functions, who watches its futures, and how it
ends. Whether the queue is one's own or another process's is a matter of what holds it (`Ownership`, `Attachment`).

Used by the queue, once the supervisor has been started: what is imported here (concurrent.futures above all) takes
longer than starting an interpreter, and is loaded while the supervisor starts.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref

from localq import _native
from localq._native import PHASE_BROKEN, PHASE_DRAINING, PHASE_STOPPED, ROLE_CLIENT
from localq.client import failures
from localq.client.completions import Watcher
from localq.client.future import TaskFuture
from localq.client.publishing import Publisher
from localq.client.termination import drain_when_terminated, forget
from localq.codec import Codec
from localq.shared import take_part
from localq.tasks import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from localq.client.output import Output
    from localq.config import QueueConfig

    class Hold(Protocol):
        """See `localq.client.ownership` and `localq.client.attachment`."""

        def trouble(self) -> Callable[[], Exception] | None: ...
        def call(self) -> None: ...
        def pause(self) -> None: ...
        def resume(self) -> None: ...
        def end(self, patience: float) -> None: ...

        @property
        def owner_pid(self) -> int: ...
        @property
        def output(self) -> Output | None: ...


__all__ = ["Connection"]

PATIENCE = (
    2.0  # seconds: idle workers end within milliseconds; one that does not is stopped or stuck, and is killed then
)

SHOWING = 1.0  # seconds: a program's stdout takes what it is given, unless it is a pipe that nobody reads

OTHERS_SECONDS = 0.02  # between two looks whether other clients' work is done: it is not for us that they are woken


class Connection:
    """One process's access to a queue. `client` submits, `resolve` publishes functions."""

    def __init__(self, space: _native.Space, label: int, config: QueueConfig, hold: Hold, is_owner: bool) -> None:
        self._publisher = publisher = Publisher(config.queues)
        self._space = space
        self._label = label
        self._is_owner = is_owner
        self.hold = hold
        self.drain_timeout = config.drain_timeout
        self._watcher = Watcher()
        self._ended = True  # until there is something to end
        self._leaves_work = False  # of somebody else's queue: closed without waiting, so nor does the interpreter's end
        # The client must not keep this object alive, or a queue that was dropped would never be collected.
        me = weakref.ref(self)
        self.client = _native.Client(
            space,
            label,
            os.getpid(),
            codec=Codec(config.serialization, buffers=True),
            owner=me,
            future_type=TaskFuture,
            resolve=publisher.resolve,
            let_go=publisher.let_go,
            on_tick=lambda: _call(me, Connection.check),
            on_watched=lambda: _call(me, Connection.watch),
            errors=failures,
            plain=frozenset({str, Task}),
            freeze=_freeze,
        )
        take_part(space.identity, self.client, self.client.codec)
        if hold.output is not None:
            hold.output.listen(lambda: _client_of(me))
            self.client.on_output = hold.output.read
        # Finishes a queue that was never closed before the interpreter ends, as concurrent.futures does.
        self._at_exit = lambda: _call(me, Connection.close_at_exit)
        atexit.register(self._at_exit)
        if is_owner:
            drain_when_terminated(self)
        self._ended = False
        _open.add(self)

    def resolve(self, function: Callable[..., object] | str) -> _native.FunctionEntry:
        """The published form of a function; see `Publisher.resolve`."""
        return self._publisher.resolve(self.client, function)

    def watch(self) -> None:
        """A future is watched now by somebody who does not wait for it."""
        self._watcher.wake(self.client)

    def rest(self) -> None:
        """This process is about to fork: what watches over the queue rests until the queue is used again."""
        if not self._ended and self.client.is_ours:
            self.hold.pause()
            self.client.on_use = self.hold.resume

    def check(self) -> None:
        """Fail what nobody will run any more. Called now and then by whoever waits."""
        client = self.client
        if self._ended or not client.is_ours or callable(client.closed):
            return
        failure = self.hold.trouble()
        if failure is not None:
            client.reap()
            self._break(failure)

    def check_alive(self) -> None:
        """Raises what a call would: the queue was closed here, or is broken. While it is being closed it is alive."""
        self.check()
        if self._ended or callable(self.client.closed):
            raise failures.closed(self.client.closed or "it was closed")

    def _break(self, make_error: Callable[[], Exception]) -> None:
        """It broke: what waits fails with that error, and so does every later call (unless it was closed before)."""
        self.client.closed = self.client.closed or make_error
        self.client.fail_all(lambda task_id: make_error())

    def close(self, wait: bool = True, cancel_pending: bool = False, timeout: float | None = None) -> None:
        """See `LocalQueue.close`."""
        client = self.client
        if self._ended or not client.is_ours:
            return  # a fork: the queue is the parent's
        client.closed = client.closed or "it was closed"
        if cancel_pending:
            for future in client.pending_futures():
                future._withdraw()
        if not wait:
            if self._is_owner:
                # What is parked is still to be sent; only then may workers that find nothing end.
                me = weakref.ref(self)
                client.on_sent = lambda: _call(me, Connection._drain)
                if not client.parked:
                    self._drain()
            self._leaves_work = not self._is_owner
            return
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while client.waiting and self._space.phase != PHASE_BROKEN:
                left = 1.0 if until is None else until - time.monotonic()
                if left <= 0:
                    break
                client.wait_any(min(left, 1.0))
            if self._is_owner and not client.waiting:
                self._wait_for_others(until)
        except BaseException:  # Ctrl-C while closing: close all the same, without waiting
            self.end(0.0)
            raise
        self.check()  # what can't be done any more fails with its reason, not as cancelled
        showing = None if until is None else max(0.0, until - time.monotonic())
        self.end(PATIENCE if not client.waiting else 0.0, showing)

    def _drain(self) -> None:
        self.client.on_sent = None
        if not self._ended:
            self._space.set_phase(PHASE_DRAINING)
            self.hold.call()

    def _wait_for_others(self, until: float | None) -> None:
        """Clients that have attached, workers among them, may have work here as well, also when they are gone: it is
        done like one's own, but no more is taken."""
        if not self._has_others() and not self._is_at_work():
            return
        self._space.set_phase(PHASE_DRAINING)
        self.hold.call()
        while self._space.phase == PHASE_DRAINING and self._is_at_work():
            left = OTHERS_SECONDS if until is None else until - time.monotonic()
            if left <= 0:
                return
            self.client.wait_any(min(left, OTHERS_SECONDS))

    def _has_others(self) -> bool:
        return any(
            row["role"] == ROLE_CLIENT and row["live"] and row["label"] != self._label for row in self._space.rows()
        )

    def _is_at_work(self) -> bool:
        """Whether others' tasks are on their way. One's own may be as well: those that were cancelled, until they have
        ended."""
        slots = self._space.slots()
        own = 0 if self._has_others() else self.client.pending
        return slots["queued"] + slots["claimed"] + slots["running"] + (slots["cancelled"] if own else 0) > own

    def close_at_exit(self) -> None:
        """The interpreter ends: finish the work, unless it ends because somebody pressed Ctrl-C."""
        if getattr(sys, "last_type", None) is KeyboardInterrupt:
            self.end(0.0)
        elif self._leaves_work:
            while self.client.parked and self._space.phase != PHASE_BROKEN:  # what is still to be sent
                self.client.wait_any(1.0)
            self.end(0.0)
        else:
            self.close()

    def end(
        self,
        patience: float,
        showing: float | None = SHOWING,
        *,
        make_error: Callable[[str], Exception] | None = None,
    ) -> None:
        """Of one's own queue, end the workers and the supervisor: by themselves, or killed after `patience` seconds.
        Another's is left, and goes on. What is not done then is cancelled, or fails with `make_error(task_id)`. What
        tasks wrote is shown to its end, unless that is stuck for `showing` seconds (None: however long)."""
        if self._ended or not self.client.is_ours:
            return
        client = self.client
        try:
            self._ended = True
            client.closed = client.closed or "it was closed"
            atexit.unregister(self._at_exit)
            forget(self)
            if self._is_owner:
                self._space.set_phase(PHASE_STOPPED)
                self.hold.end(patience)
        finally:
            if self.hold.output is not None:
                self.hold.output.close(showing)
            client.reap()
            client.fail_all(make_error)
            self._space.call_notes()  # who follows tasks of others
            if self._is_owner:
                client.strip()
            else:
                client.leave()
                self.hold.end(0.0)
            try:
                self._space.close_fds()
            except OSError:
                pass  # somebody has closed them already

    def __del__(self) -> None:
        """The queue was dropped without being closed, and nothing waits any more: nobody can use it."""
        if not self._ended:
            self.end(PATIENCE)


def _freeze(args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[TaskFuture[Any]]) -> object:
    from localq.client.inputs import freeze  # only who has futures among arguments needs it

    return freeze(args, kwargs, inputs)


def _call(me: weakref.ref[Connection], method: object) -> None:
    connection = me()
    if connection is not None:
        method(connection)  # type: ignore[operator]


def _client_of(me: weakref.ref[Connection]) -> _native.Client | None:
    connection = me()
    return None if connection is None else connection.client


# A hook around a fork belongs to the process and can't be taken back, so it is set once, for all queues.
_open: weakref.WeakSet[Connection] = weakref.WeakSet()


def _before_fork() -> None:
    for connection in list(_open):
        connection.rest()


os.register_at_fork(before=_before_fork)
