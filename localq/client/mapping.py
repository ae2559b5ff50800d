# SPDX-License-Identifier: MIT
"""`map`: many calls of one function, sent in chunks, lazily, with bounded memory.

Used by the queue. Items travel in chunks whose size follows the measured run time, so that a chunk costs much more to
run than to send, and yet is short enough for urgent tasks to get in between. Each item keeps its own outcome: one that
raises, can't be sent, or kills its worker fails alone.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from operator import length_hint
from threading import Lock

from localq import _native
from localq.errors import SerializationError, WorkerCrashed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from localq._native import Client, FunctionEntry, Submitter
    from localq.client.future import TaskFuture
    from localq.monitor.progress import MapProgress

__all__ = ["ChunkSizes", "MapResults", "items_of"]

CHUNK_SECONDS = 0.002  # sending a chunk costs some 10 us: well below a hundredth of that
MOST_ITEMS = 16384  # a chunk's results are decoded in one go
CHUNK_BYTES = 4 << 20  # to and fro: beyond that, copying costs more than sending
GROWTH = 4  # a chunk is at most so many times longer than the last: one measurement may mislead
AHEAD = 2  # chunks sent ahead for each worker


class ChunkSizes:
    """How many items the next chunk should have. Pure arithmetic; knows nothing of tasks.

    `total` is how many items there are (None: unknown); `fixed` a chunksize asked for; `memory` the bytes there are for
    all that is on its way.
    """

    __slots__ = ("_fixed", "_left", "_most", "_most_bytes", "_next", "_workers")

    def __init__(self, total: int | None, workers: int, fixed: int | None, memory: int = 1 << 40) -> None:
        self._fixed = fixed
        self._left = total
        self._workers = workers
        self._most_bytes = min(CHUNK_BYTES, memory // (8 * workers))
        # At least four chunks a worker, so that one slow chunk does not leave the others idle at the end.
        self._most = MOST_ITEMS if total is None else max(1, min(MOST_ITEMS, -(-total // (4 * workers))))
        self._next = fixed or 1

    @property
    def next(self) -> int:
        if self._fixed is not None or self._left is None or self._left <= 0:
            return self._next
        # Towards the end they get smaller, or one worker would be busy with the last while the others have nothing.
        return min(self._next, -(-self._left // (2 * self._workers)))

    def sent(self, items: int) -> None:
        """A chunk of `items` is on its way."""
        if self._left is not None:
            self._left -= items

    def measured(self, items: int, seconds: float, size: int = 0) -> None:
        """A chunk of `items` ran for `seconds`, and `size` bytes travelled for it, to and fro."""
        if self._fixed is None and items:
            fitting = int(CHUNK_SECONDS * items / seconds) if seconds > 0 else MOST_ITEMS
            lean = self._most_bytes * items // size if size else MOST_ITEMS
            self._next = max(1, min(fitting, lean, items * GROWTH, self._most))


class _Chunk:
    """Items on their way. They are kept until the chunk is done: it may have to be taken apart."""

    __slots__ = ("future", "items")

    def __init__(self, future: TaskFuture[list[Any]], items: list[Any]) -> None:
        self.future = future
        self.items = items


class MapResults(_native.Results):
    """The iterator that `map` returns. An item's error is raised in its place; the iteration can go on after it."""

    def __init__(
        self,
        client: Client,
        submitter: Submitter,
        entry: FunctionEntry,
        items: Iterator[Any],
        *,
        star: bool,
        sizes: ChunkSizes,
        workers: int,
        ordered: bool,
        timeout: float | None,
        return_exceptions: bool,
        progress: MapProgress | None,
    ) -> None:
        self._client = client
        self._submitter = submitter
        self._entry = entry
        entry.pending += 1  # as long as the map lives, its function stays published
        self._lock = Lock()  # two threads may share one iterator
        self._items = items
        self._star = star
        self._sizes = sizes
        self._most_ahead = AHEAD * workers + 2
        self._ordered = ordered
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._return_exceptions = return_exceptions
        self._progress = progress
        self._ahead: deque[_Chunk] = deque()
        self._exhausted = False
        self._closed = False
        self._failure: Exception | None = None  # of the iterable
        if progress is not None:
            progress.__enter__()
        try:
            self._send_ahead()
        except BaseException:
            self.close()
            raise

    # sending

    def _send_ahead(self) -> None:
        while not self._exhausted and len(self._ahead) < self._most_ahead:
            items: list[Any] = []
            try:
                items.extend(islice(self._items, self._sizes.next))
            except Exception as error:  # noqa: BLE001 - the iterable's own: raised in its place, after earlier results
                self._failure = error
            self._exhausted = self._failure is not None or not items
            if items:
                self._sizes.sent(len(items))
                self._ahead.extend(self._send(items))

    def _send(self, items: list[Any]) -> list[_Chunk]:
        """One chunk, or, where something in it can't travel, one for each item."""
        future = self._submitter.chunk(self._entry, items, self._star)
        if future._refused and len(items) > 1:
            return [chunk for item in items for chunk in self._send([item])]
        return [_Chunk(future, items)]

    # receiving

    def _next_chunk(self) -> tuple[bool, list[Any]]:
        """Wait for a chunk: (whether it holds (ok, value) pairs, its results)."""
        with self._lock:
            return self._receive()

    def _receive(self) -> tuple[bool, list[Any]]:
        try:
            while True:
                self._send_ahead()
                if not self._ahead:
                    failure, self._failure = self._failure, None
                    self.close()
                    raise failure or StopIteration
                chunk = self._wait()
                if not self._must_come_apart(chunk):
                    return self._open(chunk)
                self._take_apart(chunk)
        except StopIteration:
            raise
        except KeyboardInterrupt:  # whoever pressed that wants an end of it
            for chunk in self._ahead:
                chunk.future.cancel()
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def _wait(self) -> _Chunk:
        if self._ordered:
            chunk = self._ahead[0]
            self._wait_until_done(chunk)
            return self._ahead.popleft()
        while True:
            self._client.reap()
            for at, chunk in enumerate(self._ahead):
                if chunk.future.done():
                    del self._ahead[at]
                    return chunk
            self._client.wait_any(self._left())

    def _wait_until_done(self, chunk: _Chunk) -> None:
        while not chunk.future.done():
            try:
                chunk.future.exception(self._left())
            except TimeoutError:
                self._left()  # raises when it was the map's own time that ran out

    def _left(self) -> float:
        """Seconds to wait at most before looking at the clock and the progress again."""
        if self._progress is not None:
            self._progress.advance(0)
        if self._deadline is None:
            return 0.2 if self._progress is not None else 60.0
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"map was not done within {self._timeout:g} s")
        return min(left, 0.2)

    def _open(self, chunk: _Chunk) -> tuple[bool, list[Any]]:
        future = chunk.future
        self._client.reap()
        error = future.exception()
        if error is not None:
            self._tell(len(chunk.items), len(chunk.items))
            return True, [(False, error)] * len(chunk.items)
        results: list[Any] = future.result()
        if future.run_seconds is not None:
            self._sizes.measured(len(results), future.run_seconds, future.payload_bytes)
        failed = sum(not ok for ok, _ in results) if future.mixed and self._progress is not None else 0
        self._tell(len(results), failed)
        self._send_ahead()  # before the consumer takes its time with these
        return future.mixed, results

    def _tell(self, done: int, failed: int) -> None:
        if self._progress is not None:
            self._progress.advance(done, failed)

    def _unwrap(self, pair: tuple[bool, Any]) -> Any:
        """The result of an item of a chunk in which some failed."""
        ok, value = pair
        if ok:
            return value
        error = value if isinstance(value, BaseException) else self._client.codec.decode_error(value)
        if self._return_exceptions:
            return error
        if isinstance(error, StopIteration):  # raised as it is, it would end the iteration without a word
            raise RuntimeError("the function raised StopIteration") from error
        raise error

    # chunks that failed as a whole

    def _must_come_apart(self, chunk: _Chunk) -> bool:
        """Did one item take the others with it: kill the worker, or spoil what came back?"""
        return len(chunk.items) > 1 and isinstance(chunk.future.exception(), WorkerCrashed | SerializationError)

    def _take_apart(self, chunk: _Chunk) -> None:
        """Send the items again, one by one; the one that a worker died of is not sent again."""
        crashed = isinstance(chunk.future.exception(), WorkerCrashed)
        fatal = max(0, chunk.future.items_begun - 1) if crashed else -1
        apart: list[_Chunk] = []
        for at, item in enumerate(chunk.items):
            apart += [_Chunk(chunk.future, [item])] if at == fatal else self._send([item])
        self._ahead.extendleft(reversed(apart))

    # the end

    def close(self) -> None:
        """Let go: what has not started will not run. Called by itself at the end and when an error ends the
        iteration."""
        if not self._closed:
            self._closed = True
            self._entry.pending -= 1
        self._exhausted = True
        for chunk in self._ahead:
            chunk.future._withdraw()
        self._ahead.clear()
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.__exit__(None, None, None)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()


def items_of(iterables: tuple[Iterable[Any], ...]) -> tuple[Iterator[Any], int | None]:
    """One iterator over all of them in step, and how many items it will give if that is known."""
    hints = [length_hint(iterable, -1) for iterable in iterables]
    known = [hint for hint in hints if hint >= 0]
    total = min(known) if len(known) == len(hints) else None
    return (iter(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)), total
