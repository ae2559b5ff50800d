# SPDX-License-Identifier: MIT
"""Arguments among which there are futures: kept as they are at the call, and filled in when the futures are done.

Used by the native client, which finds the futures, waits for them, and encodes what comes out of here like any other
call. A task sees its arguments as they were when it was submitted, however long its inputs take; so whatever could
change meanwhile is copied, by pickling it. Functions, classes and modules are not: they stay what they are. Nor are
shared values and arrays in the arena, which live there for all to see.
"""

from __future__ import annotations

from _pickle import Pickler, Unpickler  # see localq.pickling
from io import BytesIO
from types import BuiltinFunctionType, FunctionType, ModuleType

from localq.codec import refused_call
from localq.payload import Payload
from localq.pickling import Pieces
from localq.reducers import reduce
from localq.shared import SharedRef
from localq.tasks import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from localq._native import Client
    from localq.client.future import TaskFuture

    Arguments = tuple[tuple[Any, ...], dict[str, Any]]

__all__ = ["freeze"]

PROTOCOL = 5
FIXED = (type(None), bool, int, float, complex, str, bytes)  # of exactly these types: they can't change
KEPT = (FunctionType, BuiltinFunctionType, ModuleType, Task, type, SharedRef)


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
        raise refused_call(args, kwargs, None, error, lambda value: _pickle(value, _Kept(futures))) from error


class _Plain:
    """Futures, and values that can't change: no container to copy."""

    __slots__ = ("_args", "_kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args = args
        self._kwargs = kwargs or None  # there may be a million of these

    def fill(self, client: Client) -> Arguments:
        """The call's arguments for a task of that client, now that all inputs are done."""
        kwargs = self._kwargs or {}
        args = tuple(_value(value, client) for value in self._args)
        return args, {name: _value(value, client) for name, value in kwargs.items()}


def _value(value: Any, client: Client) -> Any:
    return value if type(value) in FIXED else _result(value, client)


def _result(future: TaskFuture[Any], client: Client) -> Any:
    """A large result stays where it is: its name stands for it."""
    found = future._hold_for(client)
    if found is None:
        return future.result(0)
    return SharedRef(client.identity, *found, client.codec)


class _Pickled:
    """A copy of everything else, with gaps for the futures."""

    __slots__ = ("_kept", "_payload")

    def __init__(self, value: object, futures: set[int]) -> None:
        self._kept = _Kept(futures)
        self._payload = _pickle(value, self._kept).frozen()

    def fill(self, client: Client) -> Arguments:
        """As `_Plain.fill`."""
        found: Arguments = _Filler(self._payload, self._kept, client).load()
        return found


def _pickle(value: object, kept: _Kept) -> Payload:
    """A pickle with gaps, and large contents beside it, where they are."""
    try:
        pieces = Pieces()
        _Freezer(pieces, kept).dump(value)
    except Exception:  # noqa: BLE001 - as in localq.pickling: the other pickler has the last word
        pieces = Pieces()
        kept.clear()
        _by_value_freezer(pieces, kept).dump(value)
    return Payload(pieces, pieces.buffers)


class _Kept(list["Any"]):
    """What is not pickled: inputs, and what stays as it is. Their places in here stand for them."""

    def __init__(self, futures: set[int]) -> None:
        super().__init__()
        self._futures = futures

    def keep(self, value: object) -> int | None:
        """The place of `value` in here; None: it is to be pickled."""
        if id(value) not in self._futures and not isinstance(value, KEPT):
            return None
        self.append(value)
        return len(self) - 1

    def give(self, place: int, client: Client) -> Any:
        value = self[place]
        return _result(value, client) if id(value) in self._futures else value


class _Freezer(Pickler):
    def __init__(self, pieces: Pieces, kept: _Kept) -> None:
        super().__init__(pieces, PROTOCOL, True, pieces.take)
        self._kept = kept

    def persistent_id(self, value: object) -> int | None:
        return self._kept.keep(value)

    def reducer_override(self, value: object) -> Any:
        return reduce(value)


def _by_value_freezer(pieces: Pieces, kept: _Kept) -> Pickler:
    """The same for what only cloudpickle can pickle."""
    from localq.by_value import ByValuePickler

    class Freezer(ByValuePickler):
        def persistent_id(self, value: object) -> int | None:
            return kept.keep(value)

    made: Pickler = Freezer(pieces, PROTOCOL, pieces.take)
    return made


class _Filler(Unpickler):
    def __init__(self, payload: Payload, kept: _Kept, client: Client) -> None:
        super().__init__(BytesIO(b"".join(payload.head)), buffers=payload.buffers)
        self._kept = kept
        self._client = client

    def persistent_load(self, place: int) -> Any:
        return self._kept.give(place, self._client)
