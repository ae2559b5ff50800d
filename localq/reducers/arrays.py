# SPDX-License-Identifier: MIT
"""Arrays of numpy: plain ones, subclasses, masked ones; those that map a file are in `localq.reducers.files`.

Used by `localq.reducers` when there is one, or one arrives. What pickle would bring comes back: the same type, dtype,
shape and order, read-only where the sender's was. Dense arrays keep their strides and are not copied; others become
contiguous, in a copy, unless that memory is in the arena.
"""

from __future__ import annotations

from _pickle import PickleBuffer
from copyreg import dispatch_table

import numpy as np

from localq.reducers.spans import shared_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Memory = bytes | bytearray | memoryview | PickleBuffer

__all__ = ["Array", "has_plain_memory", "reduce_array"]

NOT_PLAIN = 0x01 | 0x02 | 0x04  # dtype.flags: items are references, are pickled as a list, are pointers
Array = np.ndarray
BUILT_IN = 1  # dtype.isbuiltin: one of numpy's own, in this machine's byte order, without a unit or fields


def reduce_array(array: Array) -> object:
    """The recipe for an array of whatever subclass, or NotImplemented."""
    kind = type(array)
    if array.dtype.flags & NOT_PLAIN:
        return NotImplemented
    if kind is np.ndarray:
        return np.ndarray, _layout(array)
    if kind in dispatch_table:
        return NotImplemented
    if kind.__module__ == "numpy.ma" and kind is np.ma.MaskedArray:
        return _reduce_masked(array)
    if not _reduces_as_array(kind):
        return NotImplemented
    if kind is np.memmap:
        from localq.reducers.files import reduce_mapped

        mapped = reduce_mapped(array)
        if mapped is not None:
            return mapped
    return _restore_subclass, (kind, *_layout(np.ndarray.view(array, np.ndarray)))


def has_plain_memory(array: Array) -> bool:
    """Does `reduce_array` accept it for sure?"""
    return not array.dtype.flags & NOT_PLAIN and _reduces_as_array(type(array)) and type(array) not in dispatch_table


def _reduces_as_array(kind: type[Array]) -> bool:
    """Nothing about its pickling is the subclass's own."""
    return (
        kind.__reduce__ is np.ndarray.__reduce__
        and kind.__reduce_ex__ is np.ndarray.__reduce_ex__
        and kind.__setstate__ is np.ndarray.__setstate__
    )


def _layout(array: Array) -> tuple[object, ...]:
    """Of a plain array: what `ndarray` makes it of."""
    dtype: Any = array.dtype
    if dtype.isbuiltin == BUILT_IN and dtype.itemsize:
        dtype = dtype.char  # as exact, and much shorter
    flags = array.flags
    if flags.c_contiguous:
        return array.shape, dtype, _memory(array)
    if flags.f_contiguous:
        return array.shape, dtype, _memory(array.T), 0, None, "F"
    strides = array.strides
    dense = array.transpose(sorted(range(array.ndim), key=lambda axis: -strides[axis]))
    if dense.flags.c_contiguous:
        return array.shape, dtype, _memory(dense), 0, strides
    span = shared_span(array)
    if span is not None:
        return array.shape, dtype, *span, strides
    return array.shape, dtype, _memory(array.copy("C"))


def _memory(array: Any) -> Memory:
    """The memory of an array in C order."""
    try:
        return PickleBuffer(array)
    except (ValueError, BufferError):  # the protocol has no word for its dtype: dates, some structures
        if array.nbytes == 0:
            return bytearray() if array.flags.writeable else b""
        return PickleBuffer(array.reshape(-1).view(np.uint8))


def _restore_subclass(kind: type[Array], shape: tuple[int, ...], dtype: Any, memory: Memory, *layout: Any) -> Array:
    return np.ndarray.__new__(kind, shape, dtype, memory, *layout)  # type: ignore[arg-type]  # any buffer


def _reduce_masked(array: Any) -> object:
    mask = np.ma.getmask(array)
    mask = None if mask is np.ma.nomask else mask
    return _restore_masked, (array.data, mask, array._fill_value, array.hardmask)


def _restore_masked(data: Array, mask: Any, fill_value: Any, hard: bool) -> object:
    return np.ma.MaskedArray(data, np.ma.nomask if mask is None else mask, fill_value=fill_value, hard_mask=hard)
