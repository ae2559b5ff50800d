# SPDX-License-Identifier: MIT
"""`memoryview` and `array.array`, which pickle itself does not take, or takes through a copy.

Used by `localq.reducers`. A view comes back with its format and shape, read-only if it was; what was not contiguous is
afterwards. Formats that `memoryview` cannot be cast to (structures, other byte orders) take numpy, where it is loaded.
"""

from __future__ import annotations

from _pickle import PickleBuffer
from sys import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from typing import Any

    Memory = bytes | bytearray | memoryview

__all__ = ["reduce_numbers", "reduce_view"]

NATIVE = frozenset("BbcHhIiLlQqNnfd?P")  # what `memoryview.cast` knows
FAMILIES = ("bhilqn", "BHILQN", "fd", "?", "c")


def reduce_numbers(value: array[Any]) -> object:
    """The recipe for an `array.array`, or NotImplemented for what else its module has."""
    from array import array

    return (_restore_numbers, (value.typecode, PickleBuffer(value))) if type(value) is array else NotImplemented


def _restore_numbers(typecode: str, memory: Memory) -> array[Any]:
    from array import array

    restored = array(typecode)
    restored.frombytes(memory)
    return restored


def reduce_view(view: memoryview) -> object:
    """The recipe for a view.

    Raises:
        TypeError: nothing that is loaded can make a view of that format.
    """
    code = _native(view)
    if code is not None and view.nbytes and view.c_contiguous:
        return _restore_view, (PickleBuffer(view), code, view.shape)
    if code is not None and view.nbytes and not view.contiguous:
        copy = memoryview(bytearray(view))
        return _restore_view, (PickleBuffer(copy.toreadonly() if view.readonly else copy), code, view.shape)
    array = _as_array(view)
    if array is not None:
        if not view.contiguous:
            array = array.copy()
            array.flags.writeable = not view.readonly
        return memoryview, (array,)
    if code is None or view.ndim > 1:  # what is left is empty, or in Fortran's order
        raise TypeError(f"cannot pickle a memoryview of format {view.format!r} and shape {view.shape}")
    return _restore_view, (PickleBuffer(view), code, view.shape)


def _restore_view(memory: Memory, code: str, shape: tuple[int, ...]) -> memoryview:
    flat = memoryview(memory)
    if shape == (0,):
        some = bytes(8) if flat.readonly else bytearray(8)
        return memoryview(some).cast(code)[:0]  # type: ignore[call-overload,no-any-return]  # any native code
    return flat.cast("B").cast(code, shape)  # type: ignore[call-overload,no-any-return]


def _as_array(view: memoryview) -> Any:
    """numpy's array over the same memory, if it is loaded and understands the format."""
    numpy = modules.get("numpy")
    if numpy is None:
        return None
    try:
        array = numpy.asarray(view)
        again = memoryview(array)
    except Exception:  # noqa: BLE001 - there are formats that it writes and fails to read in many ways
        return None
    return array if _spelling(again) == _spelling(view) and again.itemsize == view.itemsize else None


def _native(view: memoryview) -> str | None:
    """The format as one that views can be cast to. Spelled-out sizes, as ctypes writes them, are the same on this
    machine as a plain letter."""
    mark, letter = ("@", view.format) if len(view.format) == 1 else (view.format[:1], view.format[1:])
    if mark == "@":
        return view.format if letter in NATIVE else None
    import sys
    from struct import calcsize

    if mark not in ("=", "<" if sys.byteorder == "little" else ">"):
        return None
    family = next((letters for letters in FAMILIES if letter in letters and letter), "")
    return next((other for other in (letter, *family) if other in family and calcsize(other) == view.itemsize), None)


def _spelling(view: memoryview) -> str:
    """The format without what says nothing here: numpy marks the native order in some ways, ctypes in another."""
    return "".join(letter for letter in view.format if letter not in "@=<^")
