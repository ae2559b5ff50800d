# SPDX-License-Identifier: MIT
"""A frozen value with named fields, and a stand-in for `typing.Generic`.

Used by the configuration and the model. Written by hand, without `dataclasses`, `typing` or `enum`: what is imported
here delays the start of the supervisor, and each of those costs as much as all of ours together.
"""

from __future__ import annotations

from types import GenericAlias

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Generic as Generic
    from typing import Self, TypeVar

    RecordT = TypeVar("RecordT", bound="Record")
else:

    class Generic:
        """Stands in for `typing.Generic`, whose module is costly to import."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


__all__ = ["Generic", "Record"]


class Record:
    """A frozen value with named fields: compares, prints and pickles by them.

    A subclass lists its fields in `__slots__` and sets them once, in `__init__`, through `_set`.
    """

    __slots__: tuple[str, ...] = ()

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def replace(self, **changes: object) -> Self:
        """A copy with `changes`; the names must be fields."""
        return _restore(type(self), {**dict(self._fields()), **changes})

    def _fields(self) -> Iterator[tuple[str, object]]:
        return ((name, getattr(self, name)) for name in self.__slots__)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or type(self) is not type(other):
            return NotImplemented
        return all(_same(mine, getattr(other, name)) for name, mine in self._fields())

    __hash__ = None  # type: ignore[assignment]  # a field may hold anything, a list among others

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._fields())})"

    def __reduce__(self) -> tuple[Callable[..., Record], tuple[object, ...]]:
        return _restore, (type(self), dict(self._fields()))


def _restore(kind: type[RecordT], fields: dict[str, object]) -> RecordT:
    record = kind.__new__(kind)
    record._set(**fields)
    return record


def _same(mine: object, other: object) -> bool:
    """Equality of fields. Exceptions have none of their own: the same type with the same `args` is the same."""
    if isinstance(mine, BaseException) and isinstance(other, BaseException):
        return mine is other or (type(mine) is type(other) and mine.args == other.args)
    return mine is other or bool(mine == other)
