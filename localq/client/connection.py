# SPDX-License-Identifier: MIT
"""What holds a client to its queue: the native client, who publishes its functions, who watches its futures, and what
happens when the supervisor ends.

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
from localq._native import PHASE_BROKEN, PHASE_DRAINING, PHASE_STOPPED
from localq.client import failures
from localq.client.completions import Watcher
from localq.client.future import TaskFuture
from localq.client.publishing import Publisher
from localq.codec import Codec
from localq.errors import InitializerFailed, SupervisorLost
from localq.tasks import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq.config import QueueConfig
    from localq.pool.process import SupervisorProcess

__all__ = ["Connection"]

PATIENCE = (
    2.0  # seconds: idle workers end within milliseconds; one that does not is stopped or stuck, and is killed then
)


class Connection:
    """One process's access to a queue that it owns. `client` submits, `resolve` publishes functions."""

    def __init__(self, space: _native.Space, config: QueueConfig, supervisor: SupervisorProcess) -> None:
        self._publisher = publisher = Publisher(config.queues)
        self._space = space
        self._supervisor = supervisor
        self._watcher = Watcher()
        self._ended = True  # until there is something to end
        # The client must not keep this object alive, or a queue that was dropped would never be collected.
        me = weakref.ref(self)
        self.client = _native.Client(
            space,
            space.join(_native.ROLE_CLIENT, os.getpid()),
            os.getpid(),
            codec=Codec(config.serialization),
            owner=me,
            future_type=TaskFuture,
            resolve=publisher.resolve,
            on_tick=lambda: _call(me, Connection.check),
            on_watched=lambda: _call(me, Connection.watch),
            errors=failures,
            plain=frozenset({str, Task}),
        )
        # Finishes a queue that was never closed before the interpreter ends, as concurrent.futures does.
        self._at_exit = lambda: _call(me, Connection.close_at_exit)
        atexit.register(self._at_exit)
        self._ended = False

    def resolve(self, function: Callable[..., object] | str) -> _native.FunctionEntry:
        """The published form of a function; see `Publisher.resolve`."""
        return self._publisher.resolve(self.client, function)

    def watch(self) -> None:
        """A future is watched now by somebody who does not wait for it."""
        self._watcher.wake(self.client)

    def check(self) -> None:
        """Fail what nobody will run any more. Called now and then by whoever waits."""
        client, supervisor = self.client, self._supervisor
        if self._ended or not client.is_ours:
            return
        if self._space.phase == PHASE_BROKEN and not callable(client.closed):
            story = (supervisor.news() or b"the workers could not be started").decode("utf-8", "replace")
            self._break(lambda: InitializerFailed(story))
        elif client.waiting and not supervisor.is_alive():
            client.reap()
            self._break(lambda: SupervisorLost(supervisor.pid, supervisor.exit_status))

    def _break(self, make_error: Callable[[], Exception]) -> None:
        """It broke: what waits fails with that error, and so does every later call."""
        self.client.closed = make_error
        self.client.fail_all(lambda task_id: make_error())

    def close(self, wait: bool = True, cancel_pending: bool = False, timeout: float | None = None) -> None:
        """See `LocalQueue.close`."""
        client = self.client
        if self._ended or not client.is_ours:
            return  # a fork: the queue is the parent's
        client.closed = client.closed or "it was closed"
        if cancel_pending:
            for future in client.pending_futures():
                future.cancel()
        if not wait:
            self._space.set_phase(PHASE_DRAINING)
            self._supervisor.call()
            return
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while client.waiting and self._space.phase != PHASE_BROKEN:
                left = 1.0 if until is None else until - time.monotonic()
                if left <= 0:
                    break
                client.wait_any(min(left, 1.0))
        except BaseException:  # Ctrl-C while closing: close all the same, without waiting
            self.end(0.0)
            raise
        self.check()  # what can't be done any more fails with its reason, not as cancelled
        self.end(PATIENCE if not client.waiting else 0.0)

    def close_at_exit(self) -> None:
        """The interpreter ends: finish the work, unless it ends because somebody pressed Ctrl-C."""
        if getattr(sys, "last_type", None) is KeyboardInterrupt:
            self.end(0.0)
        else:
            self.close()

    def end(self, patience: float) -> None:
        """End the workers and the supervisor: by their own, or killed after `patience` seconds."""
        if self._ended or not self.client.is_ours:
            return
        client, supervisor = self.client, self._supervisor
        try:
            self._ended = True
            client.closed = client.closed or "it was closed"
            atexit.unregister(self._at_exit)
            self._space.set_phase(PHASE_STOPPED)
            supervisor.stop(patience)
        except BaseException:  # Ctrl-C: no more patience, but nothing is left behind either
            supervisor.stop(0.0)
            raise
        finally:
            client.reap()
            client.fail_all(None)
            supervisor.close()
            self._space.close_fds()

    def __del__(self) -> None:
        """The queue was dropped without being closed, and nothing waits any more: nobody can use it."""
        if not self._ended:
            self.end(PATIENCE)


def _call(me: weakref.ref[Connection], method: object) -> None:
    connection = me()
    if connection is not None:
        method(connection)  # type: ignore[operator]
