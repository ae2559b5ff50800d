# SPDX-License-Identifier: MIT
"""The codec beside pickle: whatever pickle carries, it carries equal and of the same types, and refuses the rest."""

from __future__ import annotations

import math
import pickle
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localq.codec import Codec
from localq.errors import RemoteTraceback, SerializationError

pytestmark = pytest.mark.slow

#: Types that hypothesis can draw by itself and that have a value to compare.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.text(st.characters()),
    st.binary(),
    st.binary().map(bytearray),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
    st.ip_addresses(),
    st.just(...),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
    st.builds(slice, st.integers(), st.none()),
    st.sampled_from([int, dict, ValueError, len, math.sqrt, pickle.dumps, NotImplemented]),
)

HASHABLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.uuids()
)
KEYS = st.recursive(HASHABLE, lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner)), max_leaves=4)

#: Values that no pickler takes.
REFUSED = st.sampled_from(["generator", "lock", "frame"])


def refused(kind: str) -> object:
    makers: dict[str, Callable[[], object]] = {
        "generator": lambda: (letter for letter in ""),
        "lock": threading.Lock,
        "frame": sys._getframe,
    }
    return makers[kind]()


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner),
        st.sets(KEYS),
        st.frozensets(KEYS),
        st.lists(inner, min_size=1).map(lambda part: [part, part]),  # one list, two references
        st.builds(refused, REFUSED),
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal and of the same type all the way down; floats by their bits, so that NaN and -0.0 count."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack("d", left) == struct.pack("d", right)
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, set | frozenset):
        return left == right and sorted(map(spelled, left)) == sorted(map(spelled, right))
    return bool(left == right)


def spelled(key: object) -> str:
    """A hashable value as text that tells types apart; sets have no order to compare by."""
    if isinstance(key, tuple):
        return f"({', '.join(map(spelled, key))})"
    if isinstance(key, frozenset):
        return f"{{{', '.join(sorted(map(spelled, key)))}}}"
    return f"{type(key).__name__} {key!r}"


def by_pickle(value: object) -> Any:
    return pickle.loads(pickle.dumps(value, 5))


def aliases(value: object) -> list[int]:
    """For each list below `value`, in order, which earlier one it is."""
    seen: dict[int, int] = {}
    found: list[int] = []

    def walk(part: object) -> None:
        if isinstance(part, list):
            found.append(seen.setdefault(id(part), len(seen)))
        if isinstance(part, list | tuple):
            for each in part:
                walk(each)

    walk(value)
    return found


COMMON = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("serialization", ["msgpack", "pickle"])
@COMMON
@given(value=VALUES)
def test_what_pickle_carries_the_codec_carries_and_what_it_refuses_the_codec_refuses(serialization, value) -> None:
    codec = Codec(serialization)
    try:
        expected = by_pickle(value)
    except Exception:
        with pytest.raises(SerializationError):
            codec.encode_value(value)
        return

    there = codec.decode_value(*codec.encode_value(value))

    assert same(there, value)
    assert aliases(there) == aliases(expected)


@COMMON
@given(args=st.lists(VALUES, max_size=4).map(tuple), kwargs=st.dictionaries(st.text(), VALUES, max_size=3))
def test_a_call_arrives_as_pickle_would_bring_it(args, kwargs) -> None:
    codec = Codec("pickle")
    try:
        by_pickle((args, kwargs))
    except Exception:
        with pytest.raises(SerializationError):
            codec.encode_call(args, kwargs, None, None)
        return

    there_args, there_kwargs, metadata, function = codec.decode_call(*codec.encode_call(args, kwargs, None, None))

    assert (metadata, function) == (None, None)
    assert same(there_args, args)
    assert same(there_kwargs, kwargs)


@COMMON
@given(outer=VALUES, kind=REFUSED, data=st.data())
def test_a_refused_part_is_found_wherever_it_hides(outer, kind, data) -> None:
    culprit: object = refused(kind)
    path = ""
    for _ in range(data.draw(st.integers(0, 6))):
        wrap = data.draw(st.sampled_from(["list", "tuple", "dict"]))
        if wrap == "dict":
            culprit, path = {"other": 1, "here": culprit}, f"['here']{path}"
        else:
            culprit, path = [outer_copy(outer), culprit], f"[1]{path}"
            culprit = tuple(culprit) if wrap == "tuple" else culprit

    with pytest.raises(SerializationError) as caught:
        Codec("msgpack").encode_value(culprit)

    assert caught.value.path == path


def outer_copy(value: object) -> object:
    """The value if it travels, else something that does: one culprit is enough."""
    try:
        by_pickle(value)
    except Exception:
        return None
    return value


@COMMON
@given(
    value=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(), st.binary()),
        lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner)),
        max_leaves=10,
    )
)
def test_json_carries_a_value_exactly_or_refuses_it(value) -> None:
    codec = Codec("json")
    try:
        encoded = codec.encode_value(value)
    except SerializationError:
        return

    assert same(codec.decode_value(*encoded), value)


@COMMON
@given(
    value=st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**63), 2**64 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(st.characters(exclude_categories=["Cs"])),
        ),
        lambda inner: st.one_of(
            st.lists(inner), st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
        ),
        max_leaves=10,
    )
)
def test_json_carries_all_that_json_can_say(value) -> None:
    codec = Codec("json")

    assert same(codec.decode_value(*codec.encode_value(value)), value)


@COMMON
@given(args=st.lists(VALUES, max_size=3), kind=st.sampled_from([ValueError, Exception, KeyError, RuntimeError]))
def test_an_exception_always_arrives(args, kind) -> None:
    codec = Codec("msgpack")
    error = kind(*args)

    there = codec.decode_error(codec.encode_error(error), "t", 1)

    try:
        by_pickle(error)
    except Exception:
        return
    assert type(there) is kind


@st.composite
def webs(draw: st.DrawFn) -> list[BaseException]:
    """Exceptions that point to each other as they like: notes, causes, contexts, groups, circles."""
    kinds = st.sampled_from([ValueError, KeyError, OSError, RuntimeError, KeyboardInterrupt])
    web: list[BaseException] = [draw(kinds)(number) for number in range(draw(st.integers(1, 8)))]
    for number in range(draw(st.integers(0, 4))):
        members = draw(st.lists(st.sampled_from(web), min_size=1, max_size=4))
        web.append(BaseExceptionGroup(f"group {number}", members))
    for error in web:
        error.__cause__ = draw(st.none() | st.sampled_from(web))
        error.__context__ = draw(st.none() | st.sampled_from(web))
        for note in draw(st.lists(st.text(alphabet="ab", max_size=3), max_size=2)):
            error.add_note(note)
    return web


def shape(error: BaseException) -> tuple[object, ...]:
    """What must be the same at the other end, without what hangs on it."""
    members = tuple(map(shape, error.exceptions)) if isinstance(error, BaseExceptionGroup) else ()
    return type(error), str(error), getattr(error, "__notes__", []), members


@given(webs())
def test_an_exception_arrives_with_its_chain_of_causes_whatever_points_where(web: list[BaseException]) -> None:
    codec = Codec("msgpack")
    error = web[-1]

    there = codec.decode_error(codec.encode_error(error))

    assert shape(there) == shape(error)
    if error.__context__ is not None:
        assert there.__context__ is not None
        assert shape(there.__context__) == shape(error.__context__)
    passed: list[BaseException] = [error]
    while error.__cause__ is not None and not any(error.__cause__ is each for each in passed):
        assert there.__cause__ is not None
        error, there = error.__cause__, there.__cause__
        assert shape(there) == shape(error)
        passed.append(error)
    assert isinstance(there.__cause__, RemoteTraceback)
