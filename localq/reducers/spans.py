# SPDX-License-Identifier: MIT
"""Where the memory of an array begins and ends; used by `localq.reducers` for arrays with gaps."""

from __future__ import annotations

from _pickle import PickleBuffer

import numpy as np

from localq.payload import owner_in_arena

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

__all__ = ["bounds", "shared_span"]


def bounds(array: Array) -> tuple[int, int]:
    """The addresses of an array's first byte, and of the one behind its last."""
    low = high = array.__array_interface__["data"][0]
    for length, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (length - 1) * stride
        else:
            high += (length - 1) * stride
    return low, high + array.itemsize


def shared_span(array: Array) -> tuple[PickleBuffer, int] | None:
    """Of memory in the arena: from the array's first to its last byte, and where in there the first item is. A copy
    without the gaps would no longer be shared. None for all other memory."""
    owner = owner_in_arena(array)
    if owner is None:
        return None
    whole: Any = np.frombuffer(owner, np.uint8)
    low, high = bounds(array)
    start, _ = bounds(whole)
    return PickleBuffer(whole[low - start : high - start]), array.__array_interface__["data"][0] - low
