# SPDX-License-Identifier: MIT
"""Calls, values and errors to bytes and back, without changing a type on the way.

Used by the client and by workers, for what the native side does not carry by itself: it takes values that
MessagePack represents exactly, and comes here with the rest. Knows nothing of memory or queues. Imports what does the
work when it is first needed: most workers never meet a value that needs it, and start sooner without.
"""

from __future__ import annotations

from localq.errors import SerializationError
from localq.lookup import decode_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Parts(Protocol):
        """A `Payload` on the other side: where it lies in memory."""

        @property
        def head(self) -> memoryview: ...
        @property
        def buffers(self) -> list[memoryview]: ...

    Flat = bytes | bytearray | memoryview
    Packed = Any  # bytes or a Payload: whoever takes one takes the other

__all__ = ["FORMAT_BUFFERS", "FORMAT_JSON", "FORMAT_MSGPACK", "FORMAT_PICKLE", "Codec", "refused_call"]

FORMAT_MSGPACK = 0  # written and read by the native side alone
FORMAT_PICKLE = 1
FORMAT_JSON = 2
FORMAT_BUFFERS = 8  # a flag beside FORMAT_PICKLE: not bytes but a Payload, and on the other side an object of its parts


class Codec:
    """How one queue encodes. `fast` says that the native side may try MessagePack before it asks here, `buffers` that
    what is large may come as a `Payload`."""

    __slots__ = ("_buffers", "_format", "fast")

    def __init__(self, serialization: str, buffers: bool = False) -> None:
        self.fast = serialization == "msgpack"
        self._buffers = buffers
        self._format = FORMAT_JSON if serialization == "json" else FORMAT_PICKLE

    def encode_call(
        self,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        metadata: object | None = None,
        function: Callable[..., object] | str | None = None,
    ) -> tuple[int, Packed]:
        """One call as (format, payload); `function` is given only where it must travel with its arguments.

        Raises:
            SerializationError: an argument, the metadata or the function cannot travel; it says which.
        """
        from localq.functions import encode_function

        encoded = None if function is None else encode_function(function)
        if self._format == FORMAT_JSON:
            return FORMAT_JSON, _encode_json_call(args, kwargs, metadata, encoded)
        try:
            return self._pack((args, kwargs, metadata, encoded), resolve=True)
        except Exception as error:
            raise refused_call(args, kwargs, metadata, error) from error

    def decode_call(
        self,
        format: int,  # noqa: A002 - the word for it everywhere
        payload: Flat | Parts,
    ) -> tuple[tuple[Any, ...], dict[str, Any], Any, Callable[..., Any] | None]:
        """The (args, kwargs, metadata, function) of `encode_call`."""
        args, kwargs, metadata, encoded = (
            _decode_json_call(payload)  # type: ignore[arg-type]  # has no parts
            if format == FORMAT_JSON
            else _load(format, payload)
        )
        return args, kwargs, metadata, None if encoded is None else decode_function(*encoded)

    def encode_value(self, value: object, where: str = "result") -> tuple[int, Packed]:
        """One value as (format, payload). `where` names it in the error.

        Raises:
            SerializationError: it cannot travel; the error has the path to the part at fault.
        """
        if self._format == FORMAT_JSON:
            return FORMAT_JSON, _encode_json(value, where)
        try:
            return self._pack(value)
        except Exception as error:
            raise _refused(where, value, error) from error

    def decode_value(self, format: int, payload: Flat | Parts) -> Any:  # noqa: A002
        """The value of `encode_value`."""
        if format == FORMAT_JSON:
            return _decode_json(payload)  # type: ignore[arg-type]  # has no parts
        return _load(format, payload)

    def encode_items(self, items: list[object]) -> tuple[int, Packed]:
        """The items of a chunk as (format, payload).

        Raises:
            SerializationError: one of them cannot travel; `where` says which, "item 3" being the fourth.
        """
        if self._format == FORMAT_JSON:
            for index, item in enumerate(items):
                _encode_json(item, f"item {index}")
            return FORMAT_JSON, _encode_json(list(items), "items")
        try:
            return self._pack(items, resolve=True)
        except Exception as error:
            for index, item in enumerate(items):
                _raise_blame(f"item {index}", item, error)
            raise _refused("items", items, error) from error

    def decode_items(self, format: int, payload: Flat | Parts) -> list[Any]:  # noqa: A002
        """The items of `encode_items`."""
        items: list[Any] = self.decode_value(format, payload)
        return items

    def encode_error(self, error: BaseException) -> bytes:
        """An exception as bytes; succeeds whatever its own code does."""
        from localq.remote_errors import encode_error

        return encode_error(error)

    def decode_error(self, payload: Flat, task_id: str | None = None, attempts: int = 0) -> BaseException:
        """The exception of `encode_error`, of the same type where it can be rebuilt, else a `TaskFailed`."""
        from localq.remote_errors import decode_error

        return decode_error(payload, task_id, attempts)

    def encode_stored(self, value: object) -> tuple[int, Packed]:
        """As `encode_value`, of a value that is stored for later."""
        return self.encode_value(value, "value")

    def decode_stored(self, format: int, parts: Parts) -> Any:  # noqa: A002
        """The value of `encode_stored`."""
        return _decode_json(parts.head) if format == FORMAT_JSON else _load(FORMAT_PICKLE | FORMAT_BUFFERS, parts)

    def _pack(self, value: object, resolve: bool = False) -> tuple[int, Packed]:
        if not self._buffers:
            from localq.pickling import dumps

            return FORMAT_PICKLE, dumps(value)
        from localq.pickling import pack

        packed = pack(value, resolve)
        return FORMAT_PICKLE if type(packed) is bytes else FORMAT_PICKLE | FORMAT_BUFFERS, packed


def _load(format: int, payload: Any) -> Any:  # noqa: A002
    if format == FORMAT_PICKLE:
        from _pickle import loads

        return loads(payload)
    if format == FORMAT_PICKLE | FORMAT_BUFFERS:
        from localq.pickling import unpack

        return unpack(payload.head, payload.buffers)
    raise ValueError(f"payload format {format} is not one that Python reads")


# Blame. Which value it was is found first, then which part of it.


def refused_call(
    args: tuple[object, ...],
    kwargs: dict[str, object],
    metadata: object,
    error: Exception,
    encode: Callable[[object], object] | None = None,
) -> SerializationError:
    """Which argument of a call it is that `encode` (None: `localq.pickling.probe`) refuses with `error`."""
    from localq.pickling import blame, describe, probe

    for where, value in _named_values(args, kwargs, metadata):
        culprit = blame(value, encode or probe)
        if culprit is not None:
            return SerializationError(where, culprit.path, culprit.type_name, culprit.reason)
    return SerializationError("arguments", "", "tuple", describe(error))


def _named_values(args: tuple[object, ...], kwargs: dict[str, object], metadata: object) -> list[tuple[str, object]]:
    positional = [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    return [*positional, *((f"argument {name!r}", value) for name, value in kwargs.items()), ("metadata", metadata)]


def _refused(where: str, value: object, error: Exception) -> SerializationError:
    from localq.pickling import blame, describe, type_name

    culprit = blame(value)
    if culprit is None:  # it passes when tried again
        return SerializationError(where, "", type_name(value), describe(error))
    return SerializationError(where, culprit.path, culprit.type_name, culprit.reason)


def _raise_blame(where: str, value: object, error: Exception) -> None:
    from localq.pickling import blame

    culprit = blame(value)
    if culprit is not None:
        raise SerializationError(where, culprit.path, culprit.type_name, culprit.reason) from error


# JSON. A value travels only if what comes back is equal and of the same types; nothing is converted silently.


def _encode_json_call(
    args: tuple[object, ...], kwargs: dict[str, object], metadata: object, function: tuple[int, bytes] | None
) -> bytes:
    for where, value in _named_values(args, kwargs, metadata):
        _encode_json(value, where)
    from msgspec import json

    return json.encode([args, kwargs, metadata, function])  # the function's bytes go as base64


def _decode_json_call(payload: Flat) -> tuple[tuple[Any, ...], dict[str, Any], Any, tuple[int, bytes] | None]:
    args, kwargs, metadata, function = _decode_json(payload)
    if function is not None:
        from binascii import a2b_base64

        function = function[0], a2b_base64(function[1])
    return tuple(args), kwargs, metadata, function


def _encode_json(value: object, where: str) -> bytes:
    from msgspec import json

    from localq.pickling import blame, describe, type_name

    try:
        payload = json.encode(value)
        copy = json.decode(payload)
    except Exception as error:
        culprit = blame(value, json.encode)
        if culprit is None:  # written, but not read back
            raise SerializationError(where, "", type_name(value), describe(error)) from error
        raise SerializationError(where, culprit.path, culprit.type_name, culprit.reason) from error
    difference = _difference(value, copy)
    if difference is not None:
        path, part, became = difference
        reason = f"JSON would turn it into {became}; use serialization='msgpack'"
        raise SerializationError(where, path, type_name(part), reason)
    return payload


def _decode_json(payload: Flat) -> Any:
    from msgspec import json

    return json.decode(payload)


def _difference(value: object, copy: object, path: str = "") -> tuple[str, object, str] | None:
    """The first part that is not the same in the copy: its path, the part, and what became of it."""
    from localq.pickling import type_name

    if type(value) is not type(copy):
        return path, value, f"a {type_name(copy)}"
    if isinstance(value, list) and isinstance(copy, list):
        parts = [(f"[{index}]", part, other) for index, (part, other) in enumerate(zip(value, copy, strict=True))]
    elif isinstance(value, dict) and isinstance(copy, dict):
        for key in value:
            if type(key) is not str:
                return f"{path}.keys()[{key!r}]", key, "a str"
        parts = [(f"[{key!r}]", part, copy[key]) for key, part in value.items()]
    else:
        # repr tells -0.0 from 0.0, and knows every other value that JSON can give back.
        return None if repr(value) == repr(copy) else (path, value, repr(copy))
    for step, part, other in parts:
        found = _difference(part, other, path + step)
        if found is not None:
            return found
    return None
