# SPDX-License-Identifier: MIT
"""Results of a map that go into the rows of an array: what a worker calls for the function, and what reads them.

Used by the queue, whose `options(out=...)` documents it; a single call has a `Destination` of `localq.shared` instead.
The array lies in the arena, so a worker writes where the client reads.
"""

from __future__ import annotations

from localq import _native
from localq.client.mapping import MapResults
from localq.errors import ConfigError
from localq.shared import write_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

    import numpy as np

    from localq.client.aio import Feed
    from localq.client.mapping import _Chunk
    from localq.shared import ArrayPlace

__all__ = ["IntoRows", "RowResults", "with_rows"]


class IntoRows:
    """Called with an item's number before its arguments, it writes what `fn` returns into that row of the array."""

    def __init__(self, fn: Callable[..., Any], place: ArrayPlace) -> None:
        self.fn = fn
        self.__qualname__ = str(getattr(fn, "__qualname__", type(fn).__name__))
        self._place = place  # in a worker: the array itself

    def __call__(self, row: int, *args: Any) -> Any:
        result = self.fn(*args)
        return self._write_later(row, result) if hasattr(result, "__await__") else self._write(row, result)

    async def _write_later(self, row: int, coroutine: Coroutine[Any, Any, Any]) -> int:
        return self._write(row, await coroutine)

    def _write(self, row: int, result: Any) -> int:
        out: Any = self._place
        if row >= len(out):
            raise IndexError(f"item {row} has no row: out has {len(out)}")
        write_array(out[row, ...], result)  # `...`: of one dimension, too, an array and no number
        return row


@_native.iterated_natively
class RowResults(MapResults["Any"]):
    """What `map(out=...)` returns: the rows of the array, as they are written."""

    def __init__(self, *args: Any, out: np.ndarray[Any, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._out = out

    def _open(self, chunk: _Chunk) -> tuple[bool, list[Any]]:
        pairs, rows = super()._open(chunk)
        if not pairs:
            return False, [self._out[row] for row in rows]
        return True, [(ok, self._out[row] if ok else row) for ok, row in rows]


def with_rows(
    out: np.ndarray[Any, Any], items: Iterator[Any], feed: Feed | None, star: bool
) -> tuple[Iterator[tuple[Any, ...]], Feed | None, bool]:
    """The items with their numbers before them, to be called with `*item`."""
    if out.ndim == 0:
        raise ConfigError("out must have a row for each item of a map; this array has no dimension")
    if feed is not None:
        raise ConfigError("out needs items that are here: an async iterable can't be mapped into an array")
    numbered = ((row, *item) for row, item in enumerate(items)) if star else enumerate(items)
    return numbered, None, True
