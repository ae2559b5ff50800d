# SPDX-License-Identifier: MIT
"""Finish futures that somebody watches without waiting for them.

Used by the queue. Whoever waits in `result()` finishes futures itself; a thread exists only while callbacks, `wait`,
`as_completed` or an event loop want to be told.
"""

from __future__ import annotations

from threading import Lock, Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq._native import Client

__all__ = ["Watcher"]

NAP_SECONDS = 1.0  # the client's own tick is shorter; this only bounds one call


class Watcher:
    """The thread that reaps for one client, while anything is watched."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running = False

    def wake(self, client: Client) -> None:
        """Something is watched now: see that a thread looks after it."""
        with self._lock:
            if self._running:
                return
            Thread(target=self._watch, args=(client,), name="localq-watcher", daemon=True).start()
            self._running = True  # not before: the system may refuse a thread now and grant the next

    def _watch(self, client: Client) -> None:
        while True:
            while client.watched and client.is_ours:
                try:
                    client.wait_any(NAP_SECONDS)
                except BaseException:  # a callback's own, sys.exit() among them: the others still want to be called
                    from logging import getLogger

                    getLogger("concurrent.futures").exception("a callback ended with an exception")
            with self._lock:
                if not client.watched or not client.is_ours:  # else something came in between
                    self._running = False
                    return
