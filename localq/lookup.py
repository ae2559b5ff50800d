# SPDX-License-Identifier: MIT
"""From the bytes that name a function to the function: the worker's half of `localq.functions`.

Apart from the other half because this is all that a worker needs to start, and the less that is the sooner it does.
"""

from __future__ import annotations

import sys

from localq.errors import FunctionNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["KIND_NAME", "KIND_REFERENCE", "KIND_VALUE", "decode_function"]

KIND_REFERENCE = 0  # "module:qualname"
KIND_VALUE = 1  # a pickle, or the parts of a Payload
KIND_NAME = 2  # the name of a task that the worker's modules register; or, as KIND_REFERENCE, of what is found there


def decode_function(kind: int, payload: Any) -> Callable[..., object]:
    """The callable that `encode_function` described. `payload` is a bytes-like object, or has a `head` and `buffers`.

    Raises:
        FunctionNotFound: its module, its name in there, or a task of that name does not exist here.
        Exception: whatever importing its module or unpickling it raised.
    """
    match kind:
        case 0:
            return _import(str(payload, "utf-8"))
        case 1:
            from _pickle import loads

            if not hasattr(payload, "head"):
                return loads(payload)  # type: ignore[no-any-return]
            from localq.pickling import unpack

            return unpack(payload.head, payload.buffers)  # type: ignore[no-any-return]
        case 2:
            from localq.tasks import known_task, registered

            name = str(payload, "utf-8")
            # Who sends a name need not be able to import what it is of: the command line, above all.
            return _import(name) if ":" in name and known_task(name) is None else registered(name)
    raise ValueError(f"functions come in kinds 0, 1 and 2, not {kind}")


def _import(reference: str) -> Callable[..., object]:
    module_name, _, qualname = reference.partition(":")
    if not module_name or not qualname:
        raise FunctionNotFound(reference, "it must be module:function")
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
    if not callable(found):
        raise FunctionNotFound(reference, f"{qualname!r} in module {module_name!r} is no function, but {found!r:.60}")
    return found


def _search_path() -> str:
    head = ", ".join(map(repr, sys.path[:4]))
    return f"sys.path [{head}{', ...' if len(sys.path) > 4 else ''}]"
