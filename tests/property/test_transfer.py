# SPDX-License-Identifier: MIT
"""What goes through a queue arrives as what it was, whatever its size, its type and its way.

`tests/property/test_arrays.py` knows more shapes of arrays, has pickle as its judge, and no queue.
"""

from __future__ import annotations

import array
import dataclasses
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq import LocalQueue
from tests.support import tasks
from tests.support.arrays import settled
from tests.support.queues import PATIENCE

SIZES = (0, 1, 8, 72, 4088, 4096, 8191, 8192, 65_535, 65_536, 65_664, 524_288, 524_416, 1_048_576, 1_048_640, 3_500_000)
DTYPES = ("u1", "i2", "f4", "f8", "c16", ">i4", "?", "M8[us]", "m8[h]", "S7", "U3", [("a", "u1"), ("b", "<f8", (2,))])


@dataclasses.dataclass
class Frame:
    """A value of a user's own that holds others."""

    left: Any
    right: Any

    def __eq__(self, other: object) -> bool:
        return type(other) is Frame and same(self.left, other.left) and same(self.right, other.right)


@pytest.fixture(scope="module")
def q() -> Iterator[LocalQueue]:
    for library in ("pandas", "pyarrow"):  # which start threads of their own, for good
        with suppress(ImportError):
            import_module(library)
    with LocalQueue(workers=2, memory="256MB", result_cache_size=0) as queue:
        yield queue


def make(dtype: Any, length: int, way: str, seed: int) -> Any:
    """An array of about `length` bytes, laid out in one of several ways."""
    kind = np.dtype(dtype)
    items = length // kind.itemsize
    content = np.random.default_rng(seed).integers(1, 120, items * kind.itemsize, dtype="u1")
    if kind.kind in "bU":  # not all bytes are values of these
        made = np.resize(np.array(["a", "bc", "déf"]) if kind.kind == "U" else np.array([True, False]), items).astype(
            kind
        )
    else:
        made = content.view(kind) if items else np.empty(0, kind)
    match way:
        case "F":
            return np.asfortranarray(made[: items // 4 * 4].reshape(4, -1))
        case "every second":
            return made[::2]
        case "backwards":
            return made[::-1]
        case "read-only":
            made.flags.writeable = False
            return made
        case "3d":
            return made[: items // 6 * 6].reshape(2, -1, 3).transpose(1, 0, 2)
        case "bytes":
            return content.tobytes()
        case "bytearray":
            return bytearray(content)
        case "memoryview":
            return memoryview(content.tobytes())
        case "array.array":
            return array.array("B", content.tobytes())
        case _:
            return made


WAYS = ("C", "F", "every second", "backwards", "read-only", "3d", "bytes", "bytearray", "memoryview", "array.array")

values = st.builds(
    make,
    dtype=st.sampled_from(DTYPES),
    length=st.sampled_from(SIZES),
    way=st.sampled_from(WAYS),
    seed=st.integers(0, 5),
)
nested = st.recursive(
    values | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(Frame, inner, inner)
    ),
    max_leaves=4,
)


def same(left: Any, right: Any) -> bool:
    """Equal, of the same types, and written as freely."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return bool(
            left.dtype == right.dtype
            and left.shape == right.shape
            and left.flags.f_contiguous <= right.flags.f_contiguous
            and right.flags.writeable == left.flags.writeable
            and right.flags.aligned
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, memoryview):
        return left.readonly == right.readonly and left.format == right.format and bytes(left) == bytes(right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


def same_again(value: Any) -> Any:
    """Return the one argument."""
    return value


def judge(value: Any) -> tuple[Any, str]:
    """In a worker: the argument back, and a word about it."""
    return value, type(value).__name__


@settings(max_examples=120, deadline=None)
@given(value=nested)
def test_what_is_sent_comes_back_as_it_was(q: LocalQueue, value: Any) -> None:
    back, name = q.delay(judge, value).result(PATIENCE)

    assert same(value, back)
    assert name == type(value).__name__


@settings(max_examples=60, deadline=None)
@given(value=nested, other=values)
def test_arguments_by_keyword_arrive_as_they_were(q: LocalQueue, value: Any, other: Any) -> None:
    args, kwargs = q.delay(tasks.echo, 1, value=value, other=other).result(PATIENCE)

    assert args == (1,)
    assert list(kwargs) == ["value", "other"]
    assert same(value, kwargs["value"])
    assert same(other, kwargs["other"])


@settings(max_examples=40, deadline=None)
@given(items=st.lists(nested, max_size=5))
def test_items_of_a_map_arrive_as_they_were(q: LocalQueue, items: list[Any]) -> None:
    back = list(q.map(tasks.same, items, timeout=PATIENCE))

    assert len(back) == len(items)
    assert all(map(same, items, back))


@settings(max_examples=80, deadline=None)
@given(value=nested)
def test_a_stored_value_is_seen_as_it_was_from_everywhere(q: LocalQueue, value: Any) -> None:
    ref = q.put(value)

    back, name = q.delay(judge, ref).result(PATIENCE)
    deep = q.delay(same_again, {"deep": [(ref,)]}).result(PATIENCE)

    assert name == type(value).__name__
    assert same(value, back)
    assert same(value, ref.get())
    assert same(value, ref.get(copy=True))
    assert same(value, deep["deep"][0][0])


@settings(max_examples=60, deadline=None)
@given(value=values, mode=st.sampled_from(("copy-on-write", "readonly", "shared")))
def test_the_way_in_which_arguments_are_seen_changes_nothing_of_what_they_are(
    q: LocalQueue, value: Any, mode: str
) -> None:
    view = q.options(arguments=mode, results="copies")

    back = view.delay(same_again, value).result(PATIENCE)

    assert type(back) is type(value)
    assert np.array_equal(np.asarray(back), np.asarray(value))


@settings(max_examples=60, deadline=None)
@given(value=values.filter(lambda value: isinstance(value, np.ndarray)))
def test_a_copy_in_the_queues_memory_is_the_array(q: LocalQueue, value: Any) -> None:
    there = q.asarray(value)

    assert there.dtype == value.dtype
    assert there.shape == value.shape
    assert there.tobytes() == value.tobytes()
    assert same(there, q.delay(same_again, there).result(PATIENCE))


@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_back_the_same_with_its_neighbours(q: LocalQueue, size: int) -> None:
    for length in range(max(size - 2, 0), size + 3):
        content = bytes(length % 251 for _ in range(3)) * (length // 3 + 1)
        content = content[:length]

        assert q.delay(same_again, content).result(PATIENCE) == content
        assert bytes(q.delay(same_again, memoryview(content)).result(PATIENCE)) == content
        assert q.delay(same_again, np.frombuffer(content, "u1")).result(PATIENCE).tobytes() == content


def test_the_same_object_twice_is_one_object_over_there(q: LocalQueue) -> None:
    large = np.ones(100_000)
    ref = q.put(large)

    def are_one(left: object, right: list[object]) -> bool:
        return left is right[0]

    assert q.delay(are_one, large, [large]).result(PATIENCE)
    assert q.delay(are_one, ref, [ref]).result(PATIENCE)


def test_a_frame_of_pandas_comes_back_with_its_index_its_types_and_its_categories(q: LocalQueue) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "number": np.arange(200_000.0),
            "whole": np.arange(200_000),
            "text": pandas.Series(["a", "bc", None, "déf"] * 50_000),
            "kind": pandas.Categorical(["x", "y"] * 100_000),
            "when": pandas.date_range("2020-01-01", periods=200_000, freq="min", tz="UTC"),
        },
        index=pandas.Index(np.arange(200_000) * 3, name="id"),
    )

    back = q.delay(same_again, frame).result(PATIENCE)
    stored = q.put(frame).get()
    inner = q.delay(lambda frame: float(frame.groupby("kind", observed=True).number.sum().iloc[0]), frame)

    pandas.testing.assert_frame_equal(back, frame)
    pandas.testing.assert_frame_equal(stored, frame)
    assert inner.result(PATIENCE) == frame.number[::2].sum()
    back.loc[0, "number"] = -1.0
    assert frame.number.iloc[0] == 0.0


def test_a_table_of_arrow_comes_back(q: LocalQueue) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"number": np.arange(200_000.0), "text": ["a", None] * 100_000})

    assert q.delay(same_again, table).result(PATIENCE).equals(table)
    assert q.delay(same_again, table.slice(1000, 50)).result(PATIENCE).equals(table.slice(1000, 50))


def test_nothing_of_all_that_is_left_in_the_arena(q: LocalQueue) -> None:
    settled(q, at_most=1 << 20)  # what cached results hold
    assert "numpy" in sys.modules
