# SPDX-License-Identifier: MIT
"""Arguments among which there are futures: kept as they are at the call, and filled in when the futures are done.

Used by the native client, which finds the futures, waits for them, and encodes what comes out of here like any other
call. A task sees its arguments as they were when it was submitted, however long its inputs take; so whatever could
change meanwhile is copied, by pickling it. Functions, classes and modules are not: they stay what they are.
"""

from __future__ import annotations

from _pickle import Pickler, Unpickler  # see localq.pickling
from io import BytesIO
from types import BuiltinFunctionType, FunctionType, ModuleType

from localq.codec import refused_call
from localq.tasks import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from localq.client.future import TaskFuture

    Arguments = tuple[tuple[Any, ...], dict[str, Any]]

__all__ = ["freeze"]

PROTOCOL = 5
FIXED = (type(None), bool, int, float, complex, str, bytes)  # of exactly these types: they can't change
KEPT = (FunctionType, BuiltinFunctionType, ModuleType, Task, type)


def freeze(args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[TaskFuture[Any]]) -> _Plain | _Pickled:
    """The arguments of a call, as they are now; `inputs` are the futures in them.

    Raises:
        SerializationError: something in them can't travel; it says what.
    """
    futures = {id(future) for future in inputs}
    if all(type(value) in FIXED or id(value) in futures for value in (*args, *kwargs.values())):
        return _Plain(args, kwargs)
    try:
        return _Pickled((args, kwargs), futures)
    except Exception as error:
        raise refused_call(args, kwargs, None, error, lambda value: _Pickled(value, futures)) from error


class _Plain:
    """Futures, and values that can't change: no container to copy."""

    __slots__ = ("_args", "_kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args = args
        self._kwargs = kwargs or None  # there may be a million of these

    def fill(self) -> Arguments:
        """The call's arguments, now that all inputs are done."""
        kwargs = self._kwargs or {}
        return tuple(map(_value, self._args)), {name: _value(value) for name, value in kwargs.items()}


def _value(value: Any) -> Any:
    return value if type(value) in FIXED else value.result(0)


class _Pickled:
    """A copy of everything else, with gaps for the futures."""

    __slots__ = ("_kept", "_payload")

    def __init__(self, value: object, futures: set[int]) -> None:
        file = BytesIO()
        self._kept: list[Any] = []
        try:
            _pickler(Pickler, file, futures, self._kept).dump(value)
        except Exception:  # noqa: BLE001 - as in localq.pickling: the other pickler has the last word
            from localq import by_value

            file, self._kept = BytesIO(), []
            _pickler(by_value.ByValuePickler, file, futures, self._kept).dump(value)
        self._payload = file.getvalue()

    def fill(self) -> Arguments:
        """As `_Plain.fill`."""
        kept = [value.result(0) if is_input else value for value, is_input in self._kept]
        filler: Any = Unpickler(BytesIO(self._payload))
        filler.persistent_load = kept.__getitem__
        found: Arguments = filler.load()
        return found


def _pickler(base: type[Pickler], file: BytesIO, futures: set[int], kept: list[Any]) -> Any:
    """One that keeps the inputs, and what stays as it is, apart: their places in `kept` stand for them."""

    def persistent_id(value: object) -> int | None:
        is_input = id(value) in futures
        if not is_input and not isinstance(value, KEPT):
            return None
        kept.append((value, is_input))
        return len(kept) - 1

    made: Any = base(file, PROTOCOL)
    made.persistent_id = persistent_id
    return made
