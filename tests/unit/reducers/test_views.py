# SPDX-License-Identifier: MIT
"""Views of memory and `array.array` arrive with their format, shape and contents."""

from __future__ import annotations

import array
import ctypes
import mmap
import pickle
import subprocess
import sys
from typing import Any

import pytest

from localq.codec import Codec
from localq.errors import SerializationError
from tests.support.payloads import carried, everything_aside, packed


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize(
    ("code", "shape"),
    [("B", (48,)), ("d", (6,)), ("d", (2, 3)), ("@i", (3, 2, 2)), ("c", (48,)), ("?", (4, 12)), ("P", (6,))],
)
@pytest.mark.parametrize("aside", [True, False])
def test_a_view_keeps_format_shape_and_whether_it_is_writable(
    code: Any, shape: Any, readonly: bool, aside: bool
) -> None:
    raw = bytes(range(48)) if readonly else bytearray(range(48))
    view = memoryview(raw).cast("B").cast(code, shape)

    if aside:
        with everything_aside():
            there = carried([view])[0]
    else:
        there = carried([view])[0]

    assert type(there) is memoryview
    assert (there.format, there.shape, there.readonly) == (code, shape, readonly)
    assert there.tobytes() == view.tobytes()


@pytest.mark.parametrize(
    "view",
    [
        memoryview(b""),
        memoryview(bytearray()),
        memoryview(array.array("d")),
        memoryview(bytearray(8)).cast("d")[:0],
        memoryview(bytes(8)).cast("i")[2:],
    ],
    ids=lambda view: f"{view.format} {view.readonly}",
)
def test_a_view_of_nothing_arrives(view: memoryview) -> None:
    there = carried(view)

    assert (there.format, there.shape, there.readonly) == (view.format, (0,), view.readonly)


@pytest.mark.parametrize("readonly", [True, False])
def test_a_view_with_gaps_arrives_without_them(readonly: bool) -> None:
    numbers = array.array("i", range(10_000))
    view = memoryview(numbers)[::-3]

    there = carried(view.toreadonly() if readonly else view)

    assert there.contiguous
    assert (there.format, there.shape, there.readonly) == ("i", view.shape, readonly)
    assert there.tolist() == numbers[::-3].tolist()


def test_a_scalar_view_arrives() -> None:
    view = memoryview(bytearray(b"\1\0\0\0")).cast("i", ())

    there = carried(view)

    assert (there.format, there.shape, there.tolist()) == ("i", (), 1)


@pytest.mark.parametrize("kind", [ctypes.c_int, ctypes.c_double, ctypes.c_long, ctypes.c_uint8, ctypes.c_bool])
def test_views_of_ctypes_arrays_arrive_with_formats_of_the_same_meaning(kind: Any) -> None:
    view = memoryview((kind * 3)(1, 0, 1))

    there = carried(view)

    assert (there.itemsize, there.shape, there.tolist()) == (view.itemsize, (3,), [1, 0, 1])


def test_two_references_to_one_view_stay_one() -> None:
    view = memoryview(bytes(10_000))

    assert len(packed([view, view]).buffers) == 1
    first, second = carried([view, view])
    assert first is second


def test_a_view_of_numpys_formats_arrives_where_numpy_is_loaded() -> None:
    np = pytest.importorskip("numpy")
    for source in (
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6) + 1j,
        np.zeros((0, 3), "i4"),
        np.array([(1, 2.0)] * 4, [("a", "i4"), ("b", "f8")]),
    ):
        view = memoryview(source)
        there = carried(view)
        assert (there.format, there.shape, there.readonly) == (view.format, view.shape, False)
        assert (np.asarray(there) == source).all()
        assert there.f_contiguous == view.f_contiguous


def test_a_format_that_nothing_loaded_understands_is_refused() -> None:
    code = """
import ctypes, sys
from localq.codec import Codec
from localq.errors import SerializationError
class Pair(ctypes.Structure):
    _fields_ = [("a", ctypes.c_int), ("b", ctypes.c_double)]
try:
    Codec("msgpack").encode_value([memoryview((Pair * 3)())])
except SerializationError as error:
    assert "memoryview of format 'T{" in error.reason and error.path == "[0]", error
else:
    raise AssertionError("it was taken")
assert "numpy" not in sys.modules
"""
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    subprocess.run([sys.executable, "-S", "-c", path + code], check=True, timeout=50)


def test_a_released_view_and_a_mapping_are_refused() -> None:
    view = memoryview(b"x")
    view.release()
    with mmap.mmap(-1, 4096) as mapping:
        for value in (view, mapping):
            with pytest.raises(SerializationError):
                Codec("msgpack").encode_value([value])


@pytest.mark.parametrize("code", [*"bBhHiIlLqQfd"])
@pytest.mark.parametrize("count", [0, 3, 10_000])
def test_an_array_of_numbers_arrives(code: str, count: int) -> None:
    value = array.array(code, [1] * count)

    there = carried({"x": value})["x"]

    assert (type(there), there.typecode, there) == (array.array, code, value)
    there.append(1)


@pytest.mark.filterwarnings("ignore:The 'u' type code is deprecated:DeprecationWarning")  # from Python 3.13 on
def test_an_array_of_characters_arrives() -> None:
    value = array.array("u", "abc\U0001f600" * 1000)

    assert carried(value) == value


class Numbers(array.array):  # type: ignore[type-arg]
    """A subclass goes pickle's way, with its attributes."""


def test_a_subclass_of_array_keeps_its_attributes() -> None:
    value: Any = Numbers("d", [1.0] * 1000)
    value.unit = "m"

    there = carried(value)

    assert (type(there), there.unit, there) == (Numbers, "m", pickle.loads(pickle.dumps(value)))
