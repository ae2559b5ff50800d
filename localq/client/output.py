# SPDX-License-Identifier: MIT
"""What tasks write, as it arrives at the owner of the queue: kept with each task's future, and shown.

The counterpart of `localq.pool.output`. Read by whoever finishes a future whose task has written something, before it
is done, and by the queue's guard thread while nobody waits. Reading and showing are two steps: a program's own stdout
may be blocked (a pipe to a pager), and that must not keep results from arriving.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import RLock, allocate_lock, get_ident
from collections import deque
from marshal import loads

from localq.pool.output import MOST_BYTES, STDOUT, WAIT, WARNING, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TextIO

    from localq._native import Client, Space
    from localq.client.future import TaskFuture
    from localq.config import QueueConfig

    Lines = tuple[int, str, str]  # kind, name of the task, text

__all__ = ["MOST_KEPT", "Output", "TaskOutput"]

MOST_KEPT = 1 << 20  # characters kept of one task's output, about: the last ones
MOST_BEGUN = 64  # long lines that are on their way in parts at one time; and parts of one
MOST_TOLD_APART = 1000  # lines, or warnings, that are compared with new ones
QUIET_SECONDS = 1.0  # without another repetition: then it is said how many there were
BLOCKED_SECONDS = 1.0  # that somebody who finishes futures waits for another thread which is writing
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
        kept = (piece for kind, piece in list(self._pieces) if stream is None or _stream_of(kind) == stream)
        head = f"... {self._left_out} lines left out ...\n" if self._left_out else ""
        return head + "".join(kept)


def _stream_of(kind: int) -> str:
    return "stdout" if kind == STDOUT else "stderr"


class Output:
    """The owner's end of the socket, for the life of its queue."""

    def __init__(self, space: Space, config: QueueConfig) -> None:
        import _socket

        kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
        self._socket, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
        wait = (int(WAIT), int(WAIT % 1 * 1e6))  # a struct timeval
        theirs.setsockopt(
            _socket.SOL_SOCKET, _socket.SO_SNDTIMEO, b"".join(part.to_bytes(8, sys.byteorder) for part in wait)
        )
        # So many packets at most are there at one time. Who reads no more than that does not read for ever.
        self._most_packets = theirs.getsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF) // ROOM_OF_PACKET + 1
        self._flags = _socket.MSG_DONTWAIT
        self.fd: int = self._socket.fileno()
        self.theirs: int = theirs.detach()
        self._space = space
        self._name = config.name
        self._mode = config.output
        self._client: Callable[[], Client | None] = lambda: None
        self._reading = RLock()  # the collector, or a signal, may come back here from within
        self._begun: dict[tuple[str, int, int, int], list[bytes]] = {}
        self._shown = allocate_lock()
        self._shower = 0  # the thread that shows
        self._queue: deque[Lines] = deque()
        self._warned: dict[str, None] = {}
        self._cells = _cell_events() if config.output == "prefix" else None
        self._repeats = None if self._cells is None else Repeats()
        self._quiet_at: float | None = None
        self._lost = 0
        if self._cells is not None:
            self._cells.register("post_run_cell", self._end_cell)

    def listen(self, client: Callable[[], Client | None]) -> None:
        """From now on lines find the futures of that client, as long as there is one."""
        self._client = client

    def read(self) -> None:
        """Take in all that is there, and show it."""
        self._collect()
        self._show()

    def until_quiet(self) -> float | None:
        """Seconds until `read` should be called though nothing has come."""
        return None if self._quiet_at is None else max(0.0, self._quiet_at - time.monotonic())

    def _end_cell(self, result: object = None) -> None:
        """What was repeated belongs to the cell that ends."""
        self._quiet_at = time.monotonic()
        self.read()

    def close(self) -> None:
        """The workers have ended: show what is left, and let go."""
        if self.fd < 0:
            return
        try:
            self._collect()
            for task, pid, thread, kind in list(self._begun):  # of workers that died in the middle of a long line
                self._take(task, "", pid, thread, kind, b"\n")
            self._end_cell()
        finally:
            if self._cells is not None:
                self._cells.unregister("post_run_cell", self._end_cell)
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
                self._queue.append((WARNING, "", f"localq {self._name}: {more} lines of tasks were lost: {reason}\n"))

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
            if future.output is None:
                future.output = TaskOutput()
            future.output.add(kind, text if text.endswith("\n") else text + "\n")
            name = name or name_of(future._function)
        if self._mode != "off":
            self._queue.append((kind, name or "task", text))

    def _future_of(self, task: str) -> TaskFuture[object] | None:
        client = self._client()
        place = None if client is None else client.parse_id(task)
        return None if client is None or place is None else client.future_of(*place)  # type: ignore[return-value]

    # showing

    def _show(self) -> None:
        is_quiet = self._quiet_at is not None and time.monotonic() >= self._quiet_at
        if not (self._queue or is_quiet) or self._shower == get_ident():
            return
        if not self._shown.acquire(timeout=BLOCKED_SECONDS):
            return  # the other thread will come to these, too
        try:
            self._shower = get_ident()
            while self._queue:
                self._show_some()
            if is_quiet:
                self._quiet_at = None
                for kind, line in () if self._repeats is None else self._repeats.told():
                    _write(kind, line)
        finally:
            self._shower = 0
            self._shown.release()

    def _show_some(self) -> None:
        """As much as goes to the same stream, in one piece."""
        kind = self._queue[0][0]
        text: list[str] = []
        count = 0
        for each, name, lines in list(self._queue):
            if _stream_of(each) != _stream_of(kind):
                break
            count += 1
            text += self._shown_lines(each, name, lines)
        if text:
            _write(kind, "".join(text))
        for _ in range(count):
            self._queue.popleft()

    def _shown_lines(self, kind: int, name: str, text: str) -> Iterable[str]:
        if kind == WARNING:
            if text in self._warned:
                return ()
            self._warned[text] = None
            if len(self._warned) > MOST_TOLD_APART:
                del self._warned[next(iter(self._warned))]
        lines = text[:-1].split("\n") if text.endswith("\n") else text.split("\n")
        # What was overwritten in place, as bars on terminals are, is not shown.
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
        if self._mode == "prefix" and name:
            lines = [f"{name} | {line}" for line in lines]
        if self._repeats is None or kind == WARNING:
            return [f"{line}\n" for line in lines]
        new = [f"{line}\n" for line in lines if self._repeats.is_new(kind, line)]
        if self._repeats.has_any:
            self._quiet_at = time.monotonic() + QUIET_SECONDS
        return new


class Repeats:
    """Lines that were shown a moment ago, and how often they came again since. For notebooks, where a thousand tasks
    that say the same would bury everything else."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], int] = {}
        self.has_any = False

    def is_new(self, kind: int, line: str) -> bool:
        count = self._counts.get((kind, line))
        if count is not None:
            self._counts[kind, line] = count + 1
            self.has_any = True
            return False
        if len(self._counts) >= MOST_TOLD_APART:
            seldom = next((key for key, count in self._counts.items() if not count), None)
            if seldom is None:
                return True
            del self._counts[seldom]
        self._counts[kind, line] = 0
        return True

    def told(self) -> Iterator[tuple[int, str]]:
        """What came again, each once. From then on all lines are new."""
        counts, self._counts, self.has_any = self._counts, {}, False
        for (kind, line), count in counts.items():
            if count:
                yield kind, f"{line} ... repeated {count} time{'s' if count > 1 else ''}\n"


def _cell_events() -> Any:
    """What IPython tells of its cells, where this process is a notebook's kernel; else None."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython import get_ipython

    shell = get_ipython()
    return None if shell is None else shell.events


def _write(kind: int, text: str) -> None:
    """To the stream that the program has now. Whether it takes it is no business of tasks."""
    stream: TextIO | None = sys.stdout if kind == STDOUT else sys.stderr
    if stream is None:
        return
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        if kind != STDOUT:
            stream.flush()
    except Exception:  # noqa: BLE001 - closed, a pipe that nobody reads, or a stream of the program's own
        pass
