# SPDX-License-Identifier: MIT
"""How values with large contents are pickled: the recipe in the pickle, the contents beside it.

Used by the picklers of `localq.pickling` and `localq.by_value`. A reducer returns what `__reduce__` would, with a
`PickleBuffer` in place of the contents, or NotImplemented where the value's own way is the better one, or the only one.
A library's reducer is imported when the first value of that library comes by; the library itself never is.
"""

from __future__ import annotations

from sys import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["OTHER_MODULES", "array_reducers", "has_plain_memory", "reduce", "reduce_other"]

OTHER_MODULES = frozenset((None, "array", "torch"))
"""What `value.__module__` is for what `reduce_other` knows; None: it has none."""


def array_reducers() -> ModuleType | None:
    """Those for arrays, with the `Array` that arrays are told by; None while numpy is not loaded."""
    known = modules.get("localq.reducers.arrays")
    if known is None and hasattr(modules.get("numpy"), "ndarray"):
        from localq.reducers import arrays as known
    return known if hasattr(known, "Array") else None  # another thread may be importing it


def reduce(value: object) -> object:
    """The recipe for `value`, or NotImplemented."""
    known = array_reducers()
    if known is not None and isinstance(value, known.Array):
        return known.reduce_array(value)
    return reduce_other(value)


def reduce_other(value: Any) -> object:
    """As `reduce`, for what is not an array of numpy's."""
    kind = type(value)
    if kind is memoryview:
        from localq.reducers.views import reduce_view

        return reduce_view(value)
    match kind.__module__:
        case "pyarrow.lib":
            from localq.reducers.tables import reduce_slice

            return reduce_slice(value)
        case "array":
            from localq.reducers.views import reduce_numbers

            return reduce_numbers(value)
        case "torch":
            from localq.reducers.tensors import reduce_tensor

            return reduce_tensor(value)
    return NotImplemented


def has_plain_memory(value: object) -> bool:
    """Is it an array that `reduce` makes nothing of but its memory and its type?"""
    known = array_reducers()
    return known is not None and isinstance(value, known.Array) and known.has_plain_memory(value)
