# SPDX-License-Identifier: MIT
"""A map over lines that may come slowly, and for ever: what `localq map` is made of.

Lines come in blocks, which a thread reads, so that results are had while it waits for more. Results come in batches
that know which items they are of.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections import deque
from threading import Condition, Thread

from localq.client.mapping import MapResults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Iterator
    from typing import Any

    from localq.client.aio import News
    from localq.client.mapping import _Chunk
    from localq.client.queue import QueueView
    from localq.monitor.progress import MapProgress
    from localq.pool.lines import LineCall

__all__ = ["Batch", "LineResults", "map_lines"]


class Batch:
    """Results of items that were sent together: of item `first + i` there is `values[i]`, or its error in `errors`."""

    __slots__ = ("errors", "first", "items", "values")

    def __init__(self, first: int, items: list[bytes], values: list[Any], errors: dict[int, BaseException]) -> None:
        self.first = first
        self.items = items
        self.values = values
        self.errors = errors  # by the index in here


class BlockFeed:
    """The items of blocks that a thread reads, for a map: as `localq.client.aio.Feed`, which reads async iterables."""

    def __init__(self, blocks: Iterator[list[bytes]]) -> None:
        self._blocks = blocks
        self.most = 1  # beyond so many that wait here no further block is read; who reads them may change it
        self.has_ended = False  # nothing will come any more
        self._items: deque[bytes] = deque()
        self._failure: Exception | None = None
        self._changed = Condition()
        self._is_full = False  # the thread waits for room
        self._is_closed = False
        self._is_told = False
        self._news: News | None = None
        self._loop: AbstractEventLoop | None = None

    def start(self, news: News) -> None:
        """Tell `news` whenever something has come. On the loop's thread."""
        if self._loop is None:
            self._news, self._loop = news, get_running_loop()
            # Nobody waits for its end: it may be reading from a terminal.
            Thread(target=self._read, name="localq-lines", daemon=True).start()

    def _read(self) -> None:
        try:
            for block in self._blocks:
                self._items.extend(block)
                self._tell()
                with self._changed:
                    while len(self._items) >= self.most and not self._is_closed:
                        self._is_full = True
                        self._changed.wait()
                if self._is_closed:
                    return
        except Exception as error:  # noqa: BLE001 - the source's own: raised where the items are read
            self._failure = error
        finally:
            self.has_ended = True
            self._tell()

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop was closed: nobody waits there any more
                self._is_closed = True

    def _deliver(self) -> None:
        self._is_told = False
        assert self._news is not None
        self._news.tell()

    def __iter__(self) -> BlockFeed:
        return self

    def __next__(self) -> bytes:
        items = self._items
        if self._is_full and len(items) <= self.most // 2:
            with self._changed:
                self._is_full = False
                self._changed.notify()
        if items:
            return items.popleft()
        failure, self._failure = self._failure, None
        raise failure or StopIteration

    def close(self) -> None:
        """Read no more. In any thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()


class LineResults(MapResults["Any"]):
    """Read by `batches`; the way of one result at a time is not for these."""

    async def batches(self) -> AsyncIterator[Batch]:
        """As they are done; in the order of the items where that was asked for. What the source raised comes at the
        end."""
        while True:
            try:
                _, (batch,) = await self._next_chunk_async()
            except StopAsyncIteration:
                return
            yield batch

    def stop(self) -> None:
        """What runs is cancelled, and nothing more will."""
        self._give_up()

    def _open(self, chunk: _Chunk) -> tuple[bool, list[Any]]:
        are_pairs, values = super()._open(chunk)
        errors: dict[int, BaseException] = {}
        if are_pairs:
            errors = {at: self._unwrap(pair) for at, pair in enumerate(values) if not pair[0]}
            values = [value for _, value in values]
        return False, [Batch(chunk.first, chunk.items, values, errors)]


def map_lines(
    view: QueueView,
    call: LineCall,
    blocks: Iterator[list[bytes]],
    *,
    total: int | None = None,
    chunksize: int | None = None,
    ordered: bool = True,
    progress: MapProgress | None = None,
) -> LineResults:
    """`call` over the items of the blocks. `total`: how many they are, if that is known."""
    feed: Any = BlockFeed(blocks)
    made: LineResults = view._results(
        LineResults,
        view._connection.resolve(call),
        feed,
        feed,
        total=total,
        chunksize=chunksize,
        star=False,
        ordered=ordered,
        timeout=None,
        return_exceptions=True,
        progress=progress,
    )
    return made
