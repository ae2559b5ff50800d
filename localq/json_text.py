# SPDX-License-Identifier: MIT
"""Values as JSON on one line, and back: what the command line prints and reads, and workers return to `localq map`.

Knows nothing of tasks. What JSON has no word for is written as close as can be (tuples, sets and arrays as lists,
dates as text, dataclasses as objects), is its `repr` where that was asked for, and else an error.
"""

from __future__ import annotations

from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from json import JSONDecoder
    from typing import Any

__all__ = ["as_json", "from_argument", "from_json"]


def as_json(value: object, with_repr: bool = False) -> bytes:
    """UTF-8, without an end of the line.

    Raises:
        TypeError: JSON can't carry a part of it, and `with_repr` was not asked for.
    """
    import msgspec

    try:
        return msgspec.json.encode(value, enc_hook=_repr_instead if with_repr else _refuse)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _slowly(value, with_repr)


def _slowly(value: object, with_repr: bool) -> bytes:
    """What the fast way refuses: whole numbers beyond 64 bits, half characters; or nobody can write it."""
    import json

    hook: Callable[[Any], Any] = _repr_instead if with_repr else _refuse
    try:
        return json.dumps(value, default=hook, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        if with_repr:
            return json.dumps(repr(value)).encode()
        raise TypeError(f"the value can't be written as JSON: {error}") from None


def _array(value: object) -> object:
    """numpy's arrays and scalars, and whatever else offers plain values in the same way; None: it does not."""
    plain: Callable[[], object] | None = getattr(value, "tolist", None)
    return plain() if callable(plain) else None


def _refuse(value: object) -> object:
    plain = _array(value)
    if plain is None:
        raise TypeError(f"{type(value).__qualname__} is nothing that JSON has")
    return plain


def _repr_instead(value: object) -> object:
    plain = _array(value)
    return repr(value) if plain is None else plain


def from_json(text: str | bytes) -> object:
    """The value that JSON text says. Raises ValueError when it is none; NaN and Infinity are none."""
    return _decoder().decode(text if isinstance(text, str) else text.decode())


@cache
def _decoder() -> JSONDecoder:
    from json import JSONDecoder

    return JSONDecoder(parse_constant=_no_constant)


def from_argument(text: str) -> object:
    """An argument of a command: JSON where it is some, else the text itself."""
    try:
        return from_json(text)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
