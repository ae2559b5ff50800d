# SPDX-License-Identifier: MIT
"""What tasks write, as it arrives at the owner of the queue: kept with each task's future, and shown.

The counterpart of `localq.pool.output`. Read by whoever finishes a future whose task has written something, before it
is done, and by the queue's guard thread while nobody waits.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock
from collections import deque
from marshal import loads

from localq.client.screen import Screen, stream_of
from localq.pool.output import MOST_BYTES, STDERR, WAIT, name_of
from localq.pool.process import keep_clear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq._native import Client, Space
    from localq.client.future import TaskFuture
    from localq.config import QueueConfig


__all__ = ["MOST_KEPT", "Output", "TaskOutput"]

MOST_KEPT = 1 << 20  # characters kept of one task's output, about: the last ones
MOST_BEGUN = 64  # long lines that are on their way in parts at one time; and parts of one
ROOM_OF_PACKET = 512  # bytes that the kernel charges for the smallest packet, at least


class TaskOutput:
    """What one task has written so far, all its runs together."""

    __slots__ = ("_left_out", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, str]] = deque()
        self._size = 0
        self._left_out = 0

    def add(self, kind: int, text: str) -> None:
        self._pieces.append((kind, text))
        self._size += len(text)
        while self._size > MOST_KEPT and len(self._pieces) > 1:
            _, oldest = self._pieces.popleft()
            self._size -= len(oldest)
            self._left_out += oldest.count("\n")

    def text(self, stream: str | None) -> str:
        """All of it, or what went to "stdout" or "stderr"."""
        kept = (piece for kind, piece in list(self._pieces) if stream is None or stream_of(kind) == stream)
        head = f"... {self._left_out} lines left out ...\n" if self._left_out else ""
        return head + "".join(kept)


class Output:
    """The owner's end of the socket, for the life of its queue."""

    def __init__(self, space: Space, config: QueueConfig) -> None:
        import _socket

        kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
        wait = (int(WAIT), int(WAIT % 1 * 1e6))  # a struct timeval
        theirs.setsockopt(
            _socket.SOL_SOCKET, _socket.SO_SNDTIMEO, b"".join(part.to_bytes(8, sys.byteorder) for part in wait)
        )
        # So many packets at most are there at one time. Who reads no more than that does not read for ever.
        self._most_packets = theirs.getsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF) // ROOM_OF_PACKET + 1
        self._socket = _socket.socket(fileno=keep_clear(ours.detach()))
        self._flags = _socket.MSG_DONTWAIT
        self.fd: int = self._socket.fileno()
        self.theirs: int = keep_clear(theirs.detach())
        self._space = space
        self._name = config.name
        self._mode = config.output
        self._client: Callable[[], Client | None] = lambda: None
        self._reading = RLock()  # the collector, or a signal, may come back here from within
        self._begun: dict[tuple[str, int, int, int], list[bytes]] = {}
        self._screen = Screen(config.name, config.output)
        self._lost = 0

    def listen(self, client: Callable[[], Client | None]) -> None:
        """From now on lines find the futures of that client, as long as there is one."""
        self._client = client

    def read(self) -> None:
        """Take in all that is there, and show it. For whoever finishes futures."""
        self._collect()
        self._screen.show()

    def read_beside(self) -> None:
        """Take in all that is there, and have it shown. Never waits."""
        self._collect()
        self._screen.show_beside()

    def until_quiet(self) -> float | None:
        """Seconds until `read_beside` should be called though nothing has come."""
        return self._screen.until_quiet()

    def join(self) -> None:
        """This process is about to fork: until nobody shows any more."""
        self._screen.join()

    def close(self, limit: float | None = 0.0) -> None:
        """The workers have ended: show what is left, and let go. `limit`: see `Screen.close`."""
        if self.fd < 0:
            return
        try:
            self._collect()
            for task, pid, thread, kind in list(self._begun):  # of workers that died in the middle of a long line
                self._take(task, "", pid, thread, kind, b"\n")
            self._screen.close(limit)
        finally:
            with self._reading:
                self.fd = -1
                self._socket.close()
                os.close(self.theirs)

    # reading

    def _collect(self) -> None:
        with self._reading:
            for _ in range(self._most_packets):
                if self.fd < 0:
                    return
                try:
                    packet = self._socket.recv(2 * MOST_BYTES, self._flags)
                except (BlockingIOError, InterruptedError):
                    break
                try:
                    self._take(*loads(packet))
                except (ValueError, EOFError, TypeError):  # a task has written to a descriptor that is not its own
                    continue
            else:
                return
            lost = self._space.tallies["lines_lost"]
            if lost > self._lost:
                more, self._lost = lost - self._lost, lost
                reason = "this process did not read them in time"
                self._screen.put(STDERR, "", f"localq {self._name}: {more} lines of tasks were lost: {reason}\n")

    def _take(self, task: str, name: str, pid: int, thread: int, kind: int, data: bytes) -> None:
        """One packet: whole lines, or part of a long one."""
        author = (task, pid, thread, kind)
        if author in self._begun or not data.endswith(b"\n"):
            begun = self._begun.setdefault(author, [])
            begun.append(data)
            if not data.endswith(b"\n") and len(begun) < MOST_BEGUN:
                while len(self._begun) > MOST_BEGUN:  # their workers have died
                    del self._begun[next(iter(self._begun))]
                return
            data = b"".join(self._begun.pop(author))
        text = data.decode("utf-8", "replace")
        future = self._future_of(task) if task else None
        if future is not None:
            if future._output is None:
                future._output = TaskOutput()
            future._output.add(kind, text if text.endswith("\n") else text + "\n")
            name = name or name_of(future._function)
        if self._mode != "off":
            self._screen.put(kind, name or "task", text)

    def _future_of(self, task: str) -> TaskFuture[object] | None:
        client = self._client()
        place = None if client is None else client.parse_id(task)
        return None if client is None or place is None else client.future_of(*place)  # type: ignore[return-value]
