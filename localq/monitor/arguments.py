# SPDX-License-Identifier: MIT
"""What a task was called with, in a line, for people.

Used by the reader. Arguments are looked at as they travel, and nothing of them is brought to life: a pickle is read
with classes and functions that only have their names, so that no code of a user's runs, and nothing is imported.
"""

from __future__ import annotations

import io
import json
import pickle
from itertools import repeat
from reprlib import Repr
from typing import Any

from localq import _native
from localq.codec import FORMAT_JSON, FORMAT_MSGPACK

__all__ = ["summary"]

MOST_CHARACTERS = 200

_short = Repr()
_short.maxstring = _short.maxother = 60
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = _short.maxdict = 6
_short.maxlevel = 4


def summary(told: tuple[int, int, bytes | None, int] | None) -> str | None:
    """From what `Space.arguments` says; None when it can't be said."""
    if told is None:
        return None
    kind, form, payload, size = told
    if payload is None:
        return f"({_bytes(size)})"
    try:
        text = _call(form, payload) if kind == 0 else _chunk(form, payload)
    except Exception:  # noqa: BLE001 - what is there may be anything: it was not made for us
        return f"({_bytes(size)})"
    text = " ".join(text.split())
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 4]} ..."


def _call(form: int, payload: bytes) -> str:
    if form == FORMAT_MSGPACK:
        args, kwargs = _native.decode_args(payload)
    elif form == FORMAT_JSON:
        args, kwargs = json.loads(payload)[:2]
    else:
        args, kwargs = _load(payload)[:2]
    shown = [_short.repr(each) for each in args]
    return ", ".join(shown + [f"{name}={_short.repr(value)}" for name, value in (kwargs or {}).items()])


def _chunk(form: int, payload: bytes) -> str:
    if form == FORMAT_MSGPACK:
        items = _native.decode_value(payload)
    elif form == FORMAT_JSON:
        items = json.loads(payload)
    else:
        items = _load(payload)
        items = items[0][0] if isinstance(items, tuple) else items  # a function that travels with its items
    return f"{len(items)} items: " + ", ".join(_short.repr(each) for each in items[:4])


def _bytes(size: int) -> str:
    return f"{size:,} bytes"


def _load(payload: bytes) -> Any:
    return _Looker(io.BytesIO(payload), buffers=repeat(b"")).load()


def _shape(name: str) -> type[_Shape]:
    return type(name or "object", (_Shape,), {})


class _Looker(pickle.Unpickler):
    """Reads a pickle without its classes."""

    def find_class(self, module: str, name: str) -> Any:
        if name.startswith("_make_skeleton"):  # cloudpickle's: a class that travels with its values
            return lambda kind, called, *rest, **others: _shape(called)
        return _shape(name.rpartition(".")[2])

    def persistent_load(self, pid: Any) -> Any:
        return _Shape()


class _Shape:
    """Stands for an object: its type's name, and what it was made from."""

    def __new__(cls, *made_from: Any, **named: Any) -> _Shape:
        self = super().__new__(cls)
        self._parts, self._named = list(made_from), named
        return self

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *made_from: Any, **named: Any) -> _Shape:  # what it stands for is a class, or a function
        return _Shape(*made_from)

    def __setstate__(self, state: Any) -> None:
        states = state if isinstance(state, tuple) else (state,)  # with __slots__ there are two
        for each in states:
            if isinstance(each, dict):
                self._named.update(each)
            elif each is not None:
                self._parts.append(each)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._parts.append({key: value})

    def append(self, item: Any) -> None:
        self._parts.append(item)

    def extend(self, items: Any) -> None:
        self._parts.extend(items)

    def add(self, item: Any) -> None:
        self._parts.append(item)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        shown = [_short.repr(part) for part in self._parts[:4]]
        shown += [f"{name}={_short.repr(value)}" for name, value in list(self._named.items())[:6]]
        return f"{type(self).__name__}({', '.join(shown)})"

    _parts: list[Any]
    _named: dict[str, Any]
