# SPDX-License-Identifier: MIT
"""Objects that no import leads to, pickled by value: what `localq.pickling` needs of cloudpickle.

Loaded only when such an object has to travel, and by whoever unpickles one that needs the functions below.
"""

from __future__ import annotations

import functools
import sys
from dis import get_instructions
from io import TextIOWrapper
from types import CodeType
from weakref import WeakKeyDictionary, WeakSet

import cloudpickle

from localq.reducers import has_plain_memory, reduce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["ByValuePickler", "ByValueProber", "Names", "names"]

_CachedFunction = type(functools.cache(lambda: None))


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle, except that our classes stay ours, cached functions can travel, and no type is changed."""

    names: Any = None  # as in `localq.pickling`: who notes the shared values

    def reducer_override(self, value: object) -> object:
        if self.names is not None and type(value).__module__ == "localq.shared":
            return self.names.name(value)
        reduced = reduce(value)
        if reduced is not NotImplemented:
            return reduced
        if type(value) is _CachedFunction and (value.__module__ == "__main__" or "<locals>" in value.__qualname__):
            parameters = value.cache_parameters()
            return _cached, (value.__wrapped__, parameters["maxsize"], parameters["typed"])
        if type(value) is TextIOWrapper and value not in (sys.stdout, sys.stderr):
            # cloudpickle would send the text of the file: a value of another type.
            raise TypeError(f"cannot pickle {type(value).__name__!r} object")
        reduced = super().reducer_override(value)
        if isinstance(value, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            # A class by value: (make, arguments, state, None, None, set_state).
            if value not in _received_classes:
                _own_classes.add(value)
            make, arguments, state, _, _, set_state = reduced
            return make, arguments, (set_state, state), None, None, _set_class_state
        return reduced


class ByValueProber(ByValuePickler):
    """As the prober of `localq.pickling`: takes for granted that memory can be copied."""

    def reducer_override(self, value: object) -> object:
        return (type, (type(value),)) if has_plain_memory(value) else super().reducer_override(value)


# cloudpickle gives back the class that was sent when an instance of it comes home, but then sets every attribute
# of the class again, to copies whose globals are frozen in the past. So a class is written to only where it came
# from elsewhere. Weak sets: they must not keep a redefined class alive.
_own_classes: WeakSet[type] = WeakSet()
_received_classes: WeakSet[type] = WeakSet()


def _set_class_state(kind: type, state: tuple[Callable[[type, object], object], object]) -> None:
    if kind not in _own_classes:
        _received_classes.add(kind)
        set_state, attributes = state
        set_state(kind, attributes)


def _cached(function: Callable[..., object], maxsize: int | None, typed: bool) -> Callable[..., object]:
    return functools.lru_cache(maxsize, typed)(function)


class Names:
    """What a function's code, and code nested in it, refers to."""

    __slots__ = ("attributes", "globals")

    def __init__(self) -> None:
        self.globals: dict[str, None] = {}  # a set that keeps the order; builtins are among them
        self.attributes: dict[str, dict[str, None]] = {}  # of a global or a captured variable, by its name

    def add(self, other: Names) -> None:
        self.globals.update(other.globals)
        for name, attributes in other.attributes.items():
            self.attributes.setdefault(name, {}).update(attributes)


# A memo: reading the instructions costs more than everything else in a survey. Keyed by the code itself, whose
# equality covers its names.
_names_by_code: WeakKeyDictionary[CodeType, Names] = WeakKeyDictionary()


def names(code: CodeType) -> Names:
    """The globals that `code` reads or writes, and the attributes it reads right from them."""
    known = _names_by_code.get(code)
    if known is None:
        known = _names_by_code[code] = _read(code)
    return known


def _read(code: CodeType) -> Names:
    found, owner = Names(), None
    for instruction in get_instructions(code):
        operation, name = instruction.opname, instruction.argval
        if operation in ("LOAD_ATTR", "LOAD_METHOD") and owner is not None:
            found.attributes.setdefault(owner, {})[name] = None
        owner = name if operation in ("LOAD_GLOBAL", "LOAD_DEREF") else None
        if operation in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"):
            found.globals[name] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found.add(names(constant))
    return found
