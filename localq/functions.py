# SPDX-License-Identifier: MIT
"""Callables to bytes and back, and the question whether what was published is still current.

Used by the client, which publishes a function once and then names it by a number, and by workers. What can be
imported goes by its name; functions of `__main__`, lambdas and closures go by value.
"""

from __future__ import annotations

import sys
from _pickle import loads

from localq.captures import MISSING, Captures, captures
from localq.errors import ConfigError, FunctionNotFound, SerializationError
from localq.pickling import blame, by_reference, describe, dumps, type_name
from localq.tasks import Task, known_task, registered, task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "KIND_NAME",
    "KIND_REFERENCE",
    "KIND_VALUE",
    "MISSING",
    "Captures",
    "Task",
    "by_reference",
    "captures",
    "decode_function",
    "encode_function",
    "registered",
    "task",
]

KIND_REFERENCE = 0  # "module:qualname"
KIND_VALUE = 1  # a pickle
KIND_NAME = 2  # the name of a task that the worker's modules register


def encode_function(function: Callable[..., object] | str) -> tuple[int, bytes]:
    """How a worker finds `function`: the kind, and what that kind needs.

    A text is a registered task's name. Where the task is known here it travels like its function, so that
    workers need not have imported it.

    Raises:
        ConfigError: neither a callable nor a text.
        SerializationError: it has to go by value, and a part of it cannot be pickled.
    """
    if isinstance(function, str):
        known = known_task(function)
        if known is None:
            return KIND_NAME, function.encode()
        function = known
    if not callable(function):
        raise ConfigError(f"a function or the name of a task is needed; got {type_name(function)}")
    reference = by_reference(function)
    if reference is not None:
        return KIND_REFERENCE, ":".join(reference).encode()
    if isinstance(function, Task):
        function = function.fn
    try:
        return KIND_VALUE, dumps(function)
    except Exception as error:
        raise _refused(function, error) from error


def decode_function(kind: int, payload: bytes | bytearray | memoryview) -> Callable[..., object]:
    """The callable that `encode_function` described.

    Raises:
        FunctionNotFound: its module, its name in there, or a task of that name does not exist here.
        Exception: whatever importing its module or unpickling it raised.
    """
    match kind:
        case 0:
            return _import(str(payload, "utf-8"))
        case 1:
            return loads(payload)  # type: ignore[no-any-return]
        case 2:
            return registered(str(payload, "utf-8"))
    raise ValueError(f"functions come in kinds 0, 1 and 2, not {kind}")


def _import(reference: str) -> Callable[..., object]:
    module_name, _, qualname = reference.partition(":")
    try:
        __import__(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; one that it imports is not
        raise FunctionNotFound(reference, f"no module {error.name!r} in {_search_path()}") from error
    found: object = sys.modules[module_name]
    for name in qualname.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            file = getattr(sys.modules[module_name], "__file__", None) or "built in"
            raise FunctionNotFound(reference, f"module {module_name!r} ({file}) has no {qualname!r}") from error
    return found  # type: ignore[return-value]  # it was callable where it came from


def _search_path() -> str:
    head = ", ".join(map(repr, sys.path[:4]))
    return f"sys.path [{head}{', ...' if len(sys.path) > 4 else ''}]"


def _refused(function: Callable[..., object], error: Exception) -> SerializationError:
    where = f"function {getattr(function, '__qualname__', type_name(function))}"
    culprit = blame(function)
    if culprit is None:  # it passes when tried again
        return SerializationError(where, "", type_name(function), describe(error))
    return SerializationError(where, culprit.path, culprit.type_name, culprit.reason)
