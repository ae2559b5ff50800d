# SPDX-License-Identifier: MIT
"""What a function that travels by value takes along, and how to tell that none of it changed since.

Used by `localq.functions`. A published function must never run stale: not after its notebook cell ran again,
not after a global it reads was bound to something else, not after a list it closes over grew.
"""

from __future__ import annotations

import functools
import sys
from enum import Enum
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

from localq.pickling import by_reference, type_name
from localq.tasks import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["MISSING", "Captures", "captures"]


class _Missing:
    """What a check expects of a name that is not there, and of an empty cell."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


class Captures:
    """What a function took along when it was encoded.

    `checks` is flat: container, key, expected, and so on. Evaluate one as `container[key]` for a dict, as the
    contents of a cell (key None), as `getattr(container, key)` for anything else; while each still *is* what is
    expected, the encoded form is current. With `volatile`, something captured can change without becoming
    another object: `checks` prove nothing and the function has to be encoded for each use.
    """

    __slots__ = ("checks", "volatile")

    def __init__(self, checks: tuple[object, ...], volatile: bool) -> None:
        self.checks = checks
        self.volatile = volatile

    def are_current(self) -> bool:
        """Evaluate the checks; the native side does the same at each call."""
        checks = iter(self.checks)
        return not self.volatile and all(
            _look_up(container, key) is expected
            for container, key, expected in zip(checks, checks, checks, strict=True)
        )


def captures(function: Callable[..., object]) -> Captures | None:
    """What `function` takes along when it goes by value; None when it goes by reference and takes nothing."""
    if by_reference(function) is not None:
        return None
    survey = _Survey()
    survey.visit(function)
    return survey.captures()


def _look_up(container: object, key: object) -> object:
    if isinstance(container, dict):
        return container.get(key, MISSING)
    if isinstance(container, CellType):
        return _contents(container)
    assert isinstance(key, str)
    return getattr(container, key, MISSING)


def _contents(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return MISSING


_ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented), _Missing}
)

# Types by name, so that none has to be imported. Their instances never change, or travel by name (loggers).
_IMMUTABLE = frozenset(
    {
        "_collections._tuplegetter",
        "collections._tuplegetter",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "logging.Logger",
        "logging.RootLogger",
        "numpy.dtype",
        "numpy.ufunc",
        "operator.attrgetter",
        "operator.itemgetter",
        "operator.methodcaller",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib._local.PosixPath",
        "pathlib._local.PurePosixPath",
        "re.Pattern",
        "types.GenericAlias",
        "types.UnionType",
        "typing.ParamSpec",
        "typing.TypeVar",
        "typing._GenericAlias",
        "typing._SpecialForm",
        "typing._UnionGenericAlias",
        "uuid.UUID",
        "zoneinfo.ZoneInfo",
    }
)

# What namedtuples and ABCs keep in their classes beside what people write there.
_BOOKKEEPING = frozenset({"_abc_impl", "_field_defaults", "_fields"})

_CachedFunction = type(functools.cache(lambda: None))


class _Survey:
    """One walk over everything that a function takes along."""

    def __init__(self) -> None:
        # What people change most comes first: values they bind anew, then functions and classes, and last the
        # names that are not there at all and the insides of a function.
        self._values: list[object] = []
        self._definitions: list[object] = []
        self._absent: list[object] = []
        self._insides: list[object] = []
        self._volatile = False
        self._seen: set[int] = set()
        self._noted: set[tuple[int, str | None]] = set()

    def captures(self) -> Captures:
        return Captures((*self._values, *self._definitions, *self._absent, *self._insides), self._volatile)

    def visit(self, value: object) -> None:
        """Note how `value` could change."""
        if type(value) in _ATOMS or id(value) in self._seen or by_reference(value) is not None:
            return
        self._seen.add(id(value))
        if isinstance(value, FunctionType):
            self._visit_function(value)
        elif isinstance(value, type):
            self._visit_class(value)
        elif isinstance(value, ModuleType):
            # A module that no import leads to goes by value, with all that is in it.
            self._volatile |= sys.modules.get(value.__name__) is not value
        elif isinstance(value, functools.partial):
            self._visit_partial(value)
        else:
            parts = _parts_of_constant(value)
            self._volatile |= parts is None
            for part in parts or ():
                self.visit(part)

    def _expect(self, container: object, key: str | None, value: object) -> None:
        place = id(container), key
        if place in self._noted:
            return
        self._noted.add(place)
        if value is MISSING:
            group = self._absent
        elif isinstance(value, FunctionType | type | ModuleType | BuiltinFunctionType):
            group = self._definitions
        else:
            group = self._values
        group += (container, key, value)
        self.visit(value)

    def _visit_function(self, function: FunctionType) -> None:
        from localq.by_value import names

        read = names(function.__code__)
        for name in read.globals:
            value = function.__globals__.get(name, MISSING)
            self._expect(function.__globals__, name, value)
            self._expect_attributes(value, read.attributes.get(name, ()))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            contents = _contents(cell)
            self._expect(cell, None, contents)
            self._expect_attributes(contents, read.attributes.get(name, ()))
        for inside in ("__code__", "__defaults__", "__kwdefaults__"):
            self._insides += (function, inside, getattr(function, inside))
        self.visit(function.__defaults__)
        for name, default in (function.__kwdefaults__ or {}).items():
            self._expect(function.__kwdefaults__, name, default)
        self._expect_attributes(function, vars(function))

    def _expect_attributes(self, value: object, names: Iterable[str]) -> None:
        """Functions have attributes too, and code that reads `f.limit` may find it there later."""
        if isinstance(value, FunctionType) and by_reference(value) is None:
            for name in list(names):
                self._expect(vars(value), name, vars(value).get(name, MISSING))

    def _visit_class(self, kind: type) -> None:
        for base in kind.__bases__:
            self.visit(base)
        if issubclass(kind, Enum):
            for member in kind:
                self.visit(member.value)
        for name, attribute in list(vars(kind).items()):
            if isinstance(attribute, FunctionType):
                if not _is_generated(kind, attribute):
                    self._expect(kind, name, attribute)
            elif issubclass(kind, Enum) or name in _BOOKKEEPING or name.startswith("__"):
                continue
            elif hasattr(type(attribute), "__get__"):  # a property and the like: looked up, it is something else
                self.visit(attribute)
            else:
                self._expect(kind, name, attribute)

    def _visit_partial(self, partial: functools.partial[object]) -> None:
        self.visit(partial.func)
        self.visit(partial.args)
        for name, value in partial.keywords.items():
            self._expect(partial.keywords, name, value)
        self._volatile |= bool(vars(partial))


def _is_generated(kind: type, method: FunctionType) -> bool:
    """Whether a library wrote that method: it depends on nothing but the class itself."""
    module = str(method.__globals__.get("__name__"))
    return (
        module in ("abc", "collections", "dataclasses", "enum", "reprlib", "typing")
        or module.startswith("namedtuple_")
        or (
            "__dataclass_fields__" in vars(kind)
            and method.__code__.co_filename == "<string>"
            and method.__name__[:2] == "__"
        )
    )


def _parts_of_constant(value: object) -> Iterable[object] | None:
    """The parts of a value that stays as it is while they do; None for a value that may change."""
    match value:
        case GetSetDescriptorType() | MemberDescriptorType():  # slots
            return ()
        case tuple() if not hasattr(value, "__dict__"):  # namedtuples too
            return type(value), *value
        case frozenset() if type(value) is frozenset:
            return value
        case Enum():
            return (type(value),)
        case MethodType():
            return value.__self__, value.__func__
        case BuiltinFunctionType():  # bound: "-".join, things.append
            return (value.__self__,)
        case staticmethod() | classmethod():
            return (value.__func__,)
        case property():
            return value.fget, value.fset, value.fdel
        case functools.cached_property():
            return (value.func,)
        case Task():
            return (value.fn,)
    if type(value) is _CachedFunction:
        return (value.__wrapped__,)
    kind: Any = type(value)
    if hasattr(kind, "__dataclass_params__") and kind.__dataclass_params__.frozen:
        return kind, *(getattr(value, name, None) for name in kind.__dataclass_fields__)
    return () if type_name(value) in _IMMUTABLE else None
