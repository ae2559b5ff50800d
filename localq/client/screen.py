# SPDX-License-Identifier: MIT
"""Where what tasks write is shown: the program's own stdout and stderr, or a notebook's cell.

Used by `localq.client.output`. Those may be blocked (a pipe to a pager), and that must not keep results, nor other
lines, from arriving: who finishes futures shows by itself, unless somebody is at it, and gives up after a moment; the
guard thread has a thread of its own show, which lives as long as there is something to show.
"""

from __future__ import annotations

import sys
import time
from _thread import allocate_lock, get_ident
from collections import deque
from threading import Thread

from localq.pool.output import STDERR, STDOUT, WARNING
from localq.pool.processes import join_wholly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, TextIO

__all__ = ["Repeats", "Screen", "stream_of"]

MOST_WAITING = 64 << 20  # characters that wait to be shown; more are only kept with their futures
MOST_TOLD_APART = 1000  # lines, or warnings, that are compared with new ones
QUIET_SECONDS = 1.0  # without another repetition: then it is said how many there were
BLOCKED_SECONDS = 1.0  # that somebody who finishes futures waits for another thread which is writing


def stream_of(kind: int) -> str:
    """Where text of that kind goes."""
    return "stdout" if kind == STDOUT else "stderr"


class Screen:
    """Shows lines in the order in which they were put, each stream in whole ones. `mode` as LocalQueue's `output`."""

    def __init__(self, name: str, mode: str) -> None:
        self._name = name
        self._has_names = mode == "prefix"
        self._queue: deque[tuple[int, str, str]] = deque()  # kind, name of the task, text
        self._waiting = 0
        self._left_out = 0
        self._shown = allocate_lock()
        self._shower = 0  # the thread that shows
        self._is_stuck = False
        self._mutex = allocate_lock()  # of the two below
        self._is_asked = False
        self._helper: Thread | None = None
        self._warned: dict[str, None] = {}
        self._cells = _cell_events() if self._has_names else None
        self._repeats = None if self._cells is None else Repeats()
        self._quiet_at: float | None = None
        if self._cells is not None:
            self._cells.register("post_run_cell", self.end_cell)

    def put(self, kind: int, name: str, text: str) -> None:
        """What a task of that name wrote; no name for what is not a task's."""
        if self._waiting > MOST_WAITING:
            self._left_out += text.count("\n")
            return
        self._waiting += len(text)
        self._queue.append((kind, name, text))

    def until_quiet(self) -> float | None:
        """Seconds until there is something to show though nothing has come."""
        return None if self._quiet_at is None else max(0.0, self._quiet_at - time.monotonic())

    def show(self) -> None:
        """Show all that waits, unless another thread is at it for too long."""
        if not self._has_news() or self._shower == get_ident():  # a signal's handler, or the collector, within ours
            return
        if self._shown.acquire(timeout=0 if self._is_stuck else BLOCKED_SECONDS):
            self._show_and_release()
        else:
            self._is_stuck = True

    def show_beside(self) -> None:
        """Have a thread show all that waits."""
        if not self._has_news():
            return
        with self._mutex:
            self._is_asked = True
            if self._helper is None:
                helper = Thread(target=self._help, name="localq-output", daemon=True)
                try:
                    helper.start()
                except RuntimeError:  # the interpreter ends, or no thread can be had: whoever waits or closes shows it
                    return
                self._helper = helper

    def end_cell(self, result: object = None) -> None:
        """What was repeated belongs to the cell that ends."""
        self._quiet_at = time.monotonic()
        self.show()

    def join(self) -> None:
        """Until no thread of ours shows any more, or it is stuck."""
        helper = self._helper
        if helper is not None:
            join_wholly(helper, BLOCKED_SECONDS)

    def close(self, limit: float | None) -> None:
        """Show what is left, as long as that takes, as printing it would; or say how much that is after `limit` seconds
        in which another thread was stuck."""
        if self._cells is not None:
            self._cells.unregister("post_run_cell", self.end_cell)
        self._quiet_at = time.monotonic()
        if self._shower == get_ident():
            return
        if self._shown.acquire(timeout=-1 if limit is None else min(limit, 1e6)):
            self._show_and_release()
            self.join()
        else:
            left = self._left_out + sum(text.count("\n") for _, _, text in list(self._queue))
            _write(sys.stderr, self._complaint(left))

    def _has_news(self) -> bool:
        return bool(self._queue) or (self._quiet_at is not None and time.monotonic() >= self._quiet_at)

    def _help(self) -> None:
        while True:
            self._is_asked = False
            self._shown.acquire()
            self._show_and_release()
            with self._mutex:
                if not self._is_asked:
                    self._helper = None
                    return

    def _show_and_release(self) -> None:
        try:
            self._shower = get_ident()
            while self._queue:
                self._show_some()
            if self._left_out:
                left_out, self._left_out = self._left_out, 0
                self._write(STDERR, self._complaint(left_out))
            if self._quiet_at is not None and time.monotonic() >= self._quiet_at:
                self._quiet_at = None
                for kind, line in () if self._repeats is None else self._repeats.told():
                    self._write(kind, line)
        finally:
            self._shower = 0
            self._shown.release()

    def _complaint(self, lines: int) -> str:
        return f"localq {self._name}: {lines} lines of tasks were not shown: this process's stdout was blocked\n"

    def _show_some(self) -> None:
        """As much as goes to the same stream, in one piece."""
        kind = self._queue[0][0]
        shown: list[str] = []
        count = size = 0
        for each, name, text in list(self._queue):
            if stream_of(each) != stream_of(kind):
                break
            count += 1
            size += len(text)
            shown += self._lines_of(each, name, text)
        if shown:
            self._write(kind, "".join(shown))
        self._waiting -= size
        for _ in range(count):
            self._queue.popleft()

    def _lines_of(self, kind: int, name: str, text: str) -> Iterable[str]:
        if kind == WARNING:
            if text in self._warned:
                return ()
            self._warned[text] = None
            if len(self._warned) > MOST_TOLD_APART:
                del self._warned[next(iter(self._warned))]
        lines = text[:-1].split("\n") if text.endswith("\n") else text.split("\n")
        # What was overwritten in place, as bars on terminals are, is not shown.
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
        if self._has_names and name:
            lines = [f"{name} | {line}" for line in lines]
        if self._repeats is None or kind == WARNING:
            return [f"{line}\n" for line in lines]
        new = [f"{line}\n" for line in lines if self._repeats.is_new(kind, line)]
        if self._repeats.has_any:
            self._quiet_at = time.monotonic() + QUIET_SECONDS
        return new

    def _write(self, kind: int, text: str) -> None:
        _write(sys.stdout if kind == STDOUT else sys.stderr, text)
        self._is_stuck = False


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


def _write(stream: TextIO | None, text: str) -> None:
    """To a stream that the program has now. Whether it takes it is no business of tasks."""
    if stream is None:
        return
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        if stream is sys.stderr:
            stream.flush()
    except Exception:  # noqa: BLE001 - closed, a pipe that nobody reads, or a stream of the program's own
        pass
