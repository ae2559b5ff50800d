# SPDX-License-Identifier: MIT
"""Callables to bytes and back, and the question whether what was published is still current.

Used by the client, which publishes a function once and then names it by a number, and by workers. What can be
imported goes by its name; functions of `__main__`, lambdas and closures go by value.
"""

from __future__ import annotations

from localq.captures import MISSING, Captures, captures
from localq.errors import ConfigError, SerializationError
from localq.lookup import KIND_NAME, KIND_REFERENCE, KIND_VALUE, decode_function
from localq.pickling import blame, by_reference, describe, dumps, pack, type_name
from localq.tasks import Task, known_task, registered, task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Packed = Any  # bytes or a Payload, as in localq.codec

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


def encode_function(function: Callable[..., object] | str, buffers: bool = False) -> tuple[int, Packed]:
    """How a worker finds `function`: the kind, and what that kind needs.

    A text is a registered task's name. Where the task is known here it travels like its function, so that
    workers need not have imported it. What goes by value may have large constants, in its closure, its defaults or a
    partial; with `buffers` it is a `Payload` then.

    Raises:
        ConfigError: neither a callable nor a text.
        SerializationError: it has to go by value, and a part of it cannot be pickled.
    """
    if isinstance(function, str):
        known = known_task(function)
        if known is None:
            try:
                return KIND_NAME, function.encode()
            except UnicodeEncodeError:  # half a character: a file's name, perhaps
                raise ConfigError(f"no task has the name {function!r}") from None
        function = known
    if not callable(function):
        raise ConfigError(f"a function or the name of a task is needed; got {type_name(function)}")
    reference = by_reference(function)
    if reference is not None:
        return KIND_REFERENCE, ":".join(reference).encode()
    if isinstance(function, Task):
        function = function.fn
    try:
        return KIND_VALUE, (pack if buffers else dumps)(function)
    except Exception as error:
        raise _refused(function, error) from error


def _refused(function: Callable[..., object], error: Exception) -> SerializationError:
    where = f"function {getattr(function, '__qualname__', type_name(function))}"
    culprit = blame(function)
    if culprit is None:  # it passes when tried again
        return SerializationError(where, "", type_name(function), describe(error))
    return SerializationError(where, culprit.path, culprit.type_name, culprit.reason)
