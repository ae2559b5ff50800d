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
from localq.errors import SerializationError
from localq.model import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self, TypeVar

    from localq._native import Client, FunctionEntry, Submitter
    from localq.client.aio import Feed, News
    from localq.client.future import TaskFuture
    from localq.monitor.progress import MapProgress

    R = TypeVar("R")
else:
    R = None

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
    def left(self) -> int | None:
        """Items that are still to be sent; None: unknown."""
        return self._left

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

    __slots__ = ("first", "future", "is_expected", "items")

    def __init__(self, future: TaskFuture[list[Any]], items: list[Any], first: int) -> None:
        self.future = future
        self.items = items
        self.first = first  # how many items of the map came before these
        self.is_expected = False  # by an event loop


@_native.iterated_natively
class MapResults(_native.Results, Generic[R]):
    """The iterator that `map` returns. An item's error is raised in its place; the iteration can go on after it.

    Both `for` and `async for` read it; the latter suspends where the former waits."""

    def __init__(
        self,
        client: Client,
        submitter: Submitter,
        entry: FunctionEntry,
        items: Iterator[Any],
        *,
        feed: Feed | None,
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
        self._feed = feed
        self._star = star
        self._sizes = sizes
        self._most_ahead = AHEAD * workers + 2
        self._ordered = ordered
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._return_exceptions = return_exceptions
        self._progress = progress
        self._ahead: deque[_Chunk] = deque()
        self._taken = 0  # items, from the iterable
        self._exhausted = False
        self._closed = False
        self._failure: Exception | None = None  # of the iterable
        self._news: News | None = None
        if progress is not None:
            progress.__enter__()
        try:
            self._send_ahead()
        except BaseException:
            self.close()
            raise

    def __length_hint__(self) -> int:
        """How many results are still to come: `list(results)` has room for them from the start."""
        left = self._sizes.left
        if left is None:
            return NotImplemented  # type: ignore[no-any-return]
        return max(left, 0) + sum(len(chunk.items) for chunk in self._ahead) + self._count_here

    # sending

    def _send_ahead(self) -> None:
        while not self._exhausted and len(self._ahead) < self._most_ahead:
            items: list[Any] = []
            if self._feed is not None:
                self._feed.most = self._sizes.next
            try:
                if type(self._items) is Slices:
                    items = self._items.take(self._sizes.next)
                else:
                    items.extend(islice(self._items, self._sizes.next))
            except Exception as error:  # noqa: BLE001 - the iterable's own: raised in its place, after earlier results
                self._failure = error
            self._exhausted = self._failure is not None or not (items or self._may_get_more())
            if not items:
                return
            self._sizes.sent(len(items))
            first, self._taken = self._taken, self._taken + len(items)
            self._ahead.extend(self._send(items, first))

    def _may_get_more(self) -> bool:
        return self._feed is not None and not self._feed.has_ended

    def _send(self, items: list[Any], first: int) -> list[_Chunk]:
        """One chunk, or, where something in it can't travel, one for each item."""
        future = self._submitter.chunk(self._entry, items, self._star)
        if future._refused and len(items) > 1:
            return [chunk for at, item in enumerate(items, first) for chunk in self._send([item], at)]
        return [_Chunk(future, items, first)]

    # receiving

    def _next_chunk(self) -> tuple[bool, list[Any]]:
        """Wait for a chunk: (whether it holds (ok, value) pairs, its results)."""
        if self._feed is not None:
            raise TypeError("a map over an async iterable is read by `async for`")
        with self._lock:
            try:
                while (found := self._take()) is None:
                    self._wait()
            except StopIteration:
                raise
            except KeyboardInterrupt as interrupt:
                self._give_up()
                # Where in here tells nobody anything, and takes a notebook long to show.
                raise interrupt.with_traceback(None) from None
            except BaseException:
                self.close()
                raise
            return found

    async def _next_chunk_async(self) -> tuple[bool, list[Any]]:
        try:
            while (found := self._take()) is None:
                await self._wait_async()
        except StopIteration:
            raise StopAsyncIteration from None
        except Exception:
            self.close()
            raise
        except BaseException:  # cancelled, or Ctrl-C
            self._give_up()
            raise
        return found

    def _take(self) -> tuple[bool, list[Any]] | None:
        """The next chunk, if it is done. Raises StopIteration, or what the iterable raised, at the end."""
        while True:
            self._send_ahead()
            if not self._ahead:
                if self._may_get_more():
                    return None
                failure, self._failure = self._failure, None
                self._close(is_complete=failure is None)
                raise failure or StopIteration
            chunk = self._done_chunk()
            if chunk is None:
                return None
            if not self._must_come_apart(chunk):
                return self._open(chunk)
            self._take_apart(chunk)

    def _done_chunk(self) -> _Chunk | None:
        """Of those that are done, the one whose turn it is."""
        self._client.reap()
        for at, chunk in enumerate(self._ahead):
            if chunk.future.done():
                del self._ahead[at]
                return chunk
            if self._ordered:
                break
        return None

    def _wait(self) -> None:
        left = self._left()
        if not self._ordered:
            self._client.wait_any(left)
            return
        try:
            self._ahead[0].future.exception(left)
        except TimeoutError:
            self._left()  # raises when it was the map's own time that ran out

    async def _wait_async(self) -> None:
        if self._news is None:
            from localq.client.aio import News

            self._news = News()
        if self._feed is not None:
            self._feed.start(self._news)
        for chunk in self._ahead:
            if not chunk.is_expected:
                chunk.is_expected = True
                self._news.expect(chunk.future, self._client)
        await self._news.wait(self._left())
        self._left()

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
        try:
            if isinstance(error, StopIteration):  # raised as it is, it would end the iteration without a word
                raise RuntimeError("the function raised StopIteration") from error
            raise error
        finally:
            # The traceback names this frame. Who leaves the loop by this error lets go of the map, and its bar is put
            # down before the error is shown.
            del self, pair, value, error

    # event loops

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        while not self._is_filled:
            self._fill(await self._next_chunk_async())
        try:
            return next(self)
        finally:
            del self  # as in `_unwrap`

    if TYPE_CHECKING:

        def __next__(self) -> R: ...

    # chunks that failed as a whole

    def _must_come_apart(self, chunk: _Chunk) -> bool:
        """Did one item take the others with it: kill the worker, or spoil what came back?"""
        error = chunk.future.exception() if len(chunk.items) > 1 else None
        return error is not None and (isinstance(error, SerializationError) or _is_crash(error))

    def _take_apart(self, chunk: _Chunk) -> None:
        """Send the items again, one by one; the one that a worker died of is not sent again."""
        crashed = _is_crash(chunk.future.exception())
        fatal = max(0, chunk.future.items_begun - 1) if crashed else -1
        apart: list[_Chunk] = []
        for at, item in enumerate(chunk.items):
            number = chunk.first + at
            apart += [_Chunk(chunk.future, [item], number)] if at == fatal else self._send([item], number)
        self._ahead.extendleft(reversed(apart))

    # the end

    def _give_up(self) -> None:
        """Whoever interrupts it wants an end of it: what runs is stopped as well."""
        for chunk in self._ahead:
            chunk.future.cancel()
        self.close()

    def close(self) -> None:
        """Let go: what has not started will not run. Called by itself at the end and when an error ends the
        iteration."""
        self._close(is_complete=False)

    def _close(self, is_complete: bool) -> None:
        if not self._closed:
            self._closed = True
            self._client.leave_function(self._entry)
        self._exhausted = True
        if self._feed is not None:
            self._feed.close()
        for chunk in self._ahead:
            chunk.future._withdraw()
        self._ahead.clear()
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.__exit__(None if is_complete else GeneratorExit, None, None)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()


def _is_crash(error: BaseException | None) -> bool:
    from localq.errors import WorkerCrashed  # not before something failed: see `localq.pool_errors`

    return isinstance(error, WorkerCrashed)


def items_of(iterables: tuple[Any, ...]) -> tuple[Iterator[Any], int | None, Feed | None]:
    """One iterator over all of them in step; how many items it will give if that is known; itself, if it is a feed."""
    if len(iterables) == 1 and hasattr(iterables[0], "__aiter__") and not hasattr(iterables[0], "__iter__"):
        from localq.client.aio import Feed

        feed = Feed(iterables[0])
        return feed, None, feed
    hints = [length_hint(iterable, -1) for iterable in iterables]
    known = [hint for hint in hints if hint >= 0]
    total = min(known) if len(known) == len(hints) else None
    if len(iterables) > 1:
        return zip(*iterables, strict=False), total, None
    is_sliced = type(iterables[0]) in (list, tuple)
    return (Slices(iterables[0]) if is_sliced else iter(iterables[0])), total, None


class Slices:
    """Iterates over a list or a tuple, and takes many items at once for a tenth of what an iterator's cost. As with a
    list's own iterator, what is appended meanwhile is met as well."""

    __slots__ = ("_at", "_whole")

    def __init__(self, whole: list[Any] | tuple[Any, ...]) -> None:
        self._whole = whole
        self._at = 0

    def take(self, most: int) -> list[Any]:
        """The next ones, at most so many; none at the end."""
        items = self._whole[self._at : self._at + most]
        self._at += len(items)
        return items if type(items) is list else list(items)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._at >= len(self._whole):
            raise StopIteration
        self._at += 1
        return self._whole[self._at - 1]
