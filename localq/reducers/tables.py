# SPDX-License-Identifier: MIT
"""Slices of Arrow's tables and arrays, of which Arrow itself would send all that they were cut from.

Used by `localq.reducers` when there is one, or one arrives. Whole tables go Arrow's way, which leaves their buffers
where they are. Slices are written in Arrow's own stream format, which takes only what is in them.
"""

from __future__ import annotations

from _pickle import PickleBuffer
from typing import Any

import pyarrow

__all__ = ["reduce_slice"]

WASTE = 65_536  # bytes that may go along for nothing before a copy is the cheaper way; or half of what is needed


def reduce_slice(value: Any) -> object:
    """The recipe for a part of something larger, or NotImplemented."""
    if not isinstance(value, pyarrow.Table | pyarrow.RecordBatch | pyarrow.Array | pyarrow.ChunkedArray):
        return NotImplemented
    try:
        return _recipe(value)
    except Exception:  # noqa: BLE001 - a type that a stream does not carry, or that has no size
        return NotImplemented


def _recipe(value: Any) -> object:
    size = value.nbytes
    if value.get_total_buffer_size() - size <= max(WASTE, size // 2) or _has_extension(value):
        return NotImplemented
    if isinstance(value, pyarrow.Array):
        return _restore_column, (_stream(pyarrow.RecordBatch.from_arrays([value], ["0"])), False)
    if isinstance(value, pyarrow.ChunkedArray):
        return _restore_column, (_stream(pyarrow.Table.from_arrays([value], ["0"])), True)
    return _restore_table, (_stream(value), isinstance(value, pyarrow.Table))


def _has_extension(value: Any) -> bool:
    """Is a type in it of somebody else's making? The other side may not know those by their names."""
    types = value.schema.types if hasattr(value, "schema") else [value.type]
    return any("extension" in str(kind) or isinstance(kind, pyarrow.BaseExtensionType) for kind in types)


def _stream(value: Any) -> PickleBuffer:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, value.schema) as writer:
        writer.write(value)
    return PickleBuffer(sink.getvalue())


def _restore_table(stream: Any, is_table: bool) -> Any:
    with pyarrow.ipc.open_stream(pyarrow.py_buffer(stream)) as reader:
        return reader.read_all() if is_table else reader.read_next_batch()


def _restore_column(stream: Any, is_chunked: bool) -> Any:
    return _restore_table(stream, is_chunked).column(0)
