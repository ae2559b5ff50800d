# SPDX-License-Identifier: MIT
"""Values and arrays that are stored in the queue's memory ahead of the tasks that use them.

Used by the queue, whose `put`, `empty`, `zeros` and `asarray` document it.
"""

from __future__ import annotations

from localq.errors import ConfigError
from localq.shared import ArrayPlace, SharedRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    import numpy as np
    from numpy.typing import DTypeLike

    from localq import _native

    Shape = int | tuple[int, ...]

__all__ = ["allocate", "copied", "place_of", "put"]


def put(client: _native.Client, options: _native.Options, identity: int, value: Any, keep: bool) -> SharedRef[Any]:
    """Store a value.

    Raises:
        SerializationError, MemoryError, QueueFull: as `LocalQueue.put`.
    """
    from localq.payload import Payload

    if not isinstance(keep, bool):
        raise ConfigError(f"keep must be True or False; got {keep!r}")
    format, packed = client.codec.encode_stored(value)  # noqa: A001 - the word for it everywhere
    payload = Payload([packed]) if isinstance(packed, bytes) else packed
    return SharedRef(identity, format, client.put(options, payload, keep), client.codec)


def allocate(
    client: _native.Client,
    options: _native.Options,
    shape: Shape,
    dtype: DTypeLike,
    order: Literal["C", "F"],
    fill: Literal["any", "zeros", "sparse"],
) -> np.ndarray[Any, Any]:
    """An array in the arena. `fill`: what is in it.

    Raises:
        ConfigError, MemoryError, QueueFull: as `LocalQueue.empty`.
    """
    import math
    import sys

    import numpy as np

    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ConfigError(
            f"an array of {kind} holds Python objects, which can't live in shared memory: use put() for it"
        )
    if order not in ("C", "F"):
        raise ConfigError(f"order must be 'C' or 'F'; got {order!r}")
    sides = _sides(shape)
    length = min(math.prod(sides) * kind.itemsize, sys.maxsize)  # which is refused
    block: Any = client.allocate(options, length, fill == "sparse")
    if fill != "any":
        block.clear(fill == "sparse")
    return np.ndarray(sides, kind, block, order=order)


def _sides(shape: object) -> tuple[int, ...]:
    from operator import index

    try:
        sides = (index(shape),) if not hasattr(shape, "__iter__") else tuple(map(index, shape))  # type: ignore[arg-type]
    except TypeError:
        sides = (-1,)
    if any(side < 0 for side in sides):
        raise ConfigError(f"shape must be a whole number of 0 or more, or a tuple of such; got {shape!r}")
    return sides


def copied(
    client: _native.Client, options: _native.Options, value: Any, dtype: DTypeLike | None
) -> np.ndarray[Any, Any]:
    """The same array in the arena."""
    import numpy as np

    array = np.asarray(value, dtype)
    order: Literal["C", "F"] = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    there = allocate(client, options, array.shape, array.dtype, order, "any")
    there[...] = array
    return there


def place_of(space: _native.Space, identity: int, out: Any) -> ArrayPlace:
    """Where the array lies that results are to be written into.

    Raises:
        ConfigError: it does not lie in the arena of this queue, or not in one piece, or is read-only.
    """
    if not hasattr(out, "__array_interface__") or not hasattr(out, "flags"):
        raise ConfigError(f"out must be an array of q.empty(), q.zeros() or q.asarray(); got {type(out).__name__}")
    if not out.flags.writeable:
        raise ConfigError("out must be an array that can be written; this one is read-only")
    if not (out.flags.c_contiguous or out.flags.f_contiguous):
        raise ConfigError("out must be an array in one piece: contiguous, not every second row of one, say")
    dense = out if out.flags.c_contiguous else out.T
    place = space.find(dense.reshape(-1).view("u1"))  # as bytes: the buffer protocol has no word for dates
    if place is None:
        raise ConfigError("out must lie in this queue's memory: make it by q.empty(), q.zeros() or q.asarray()")
    return ArrayPlace(identity, place, out)
