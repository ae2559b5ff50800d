# SPDX-License-Identifier: MIT
"""Arrays beside pickle: whatever pickle brings, of whatever dtype, shape and order, arrives the same from a payload."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from localq.codec import Codec
from localq.errors import SerializationError
from tests.support.payloads import carried, everything_aside

np = pytest.importorskip("numpy")
arrays = pytest.importorskip("hypothesis.extra.numpy")

pytestmark = pytest.mark.slow

PLAIN = st.one_of(
    arrays.scalar_dtypes(),
    arrays.byte_string_dtypes(min_len=1),
    arrays.unicode_string_dtypes(min_len=1),
    arrays.datetime64_dtypes(),
    arrays.timedelta64_dtypes(),
    st.sampled_from(["?", ">i2", "<f2", "g", "G", "q", "Q", "V5", "M8[25s]", ">m8[D]", ">U3"]).map(np.dtype),
)
DTYPES = st.one_of(
    PLAIN,
    arrays.array_dtypes(PLAIN, min_size=1, max_size=3),
    arrays.nested_dtypes(PLAIN, max_leaves=4),
    arrays.array_dtypes(PLAIN, min_size=1, max_size=3, allow_subarrays=True),
    st.just(np.dtype([("a", "i1"), ("b", "f8"), ("c", "M8[s]")], align=True)),
    st.just(np.dtype({"names": ["x", "y"], "formats": ["i4", "u1"], "offsets": [5, 1], "itemsize": 12})),
)


class Sub(np.ndarray):  # type: ignore[misc,name-defined]
    """A subclass that leaves its pickling to numpy, and notes how it was made."""

    made_from: Any = "nothing"

    def __array_finalize__(self, other: object) -> None:
        self.made_from = type(other).__name__


class Own(np.ndarray):  # type: ignore[misc,name-defined]
    """A subclass whose pickling is its own."""

    unit = ""

    def __reduce__(self) -> Any:
        return _own, (np.asarray(self), self.unit)


def _own(array: Any, unit: str) -> Own:
    made: Own = array.view(Own)
    made.unit = unit
    return made


@st.composite
def made(draw: st.DrawFn) -> Any:
    """An array with memory of any layout."""
    dtype = draw(DTYPES)
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    raw = draw(st.binary(min_size=count, max_size=count)) if dtype.kind not in "U" else bytes(count)
    array = np.ndarray(shape, dtype, bytearray(raw), order=draw(st.sampled_from("CF")))
    how = draw(st.sampled_from(["as is", "transposed", "sliced", "reversed", "broadcast", "new axis", "one field"]))
    if how == "transposed":
        array = array.transpose(draw(st.permutations(range(array.ndim))))
    elif how == "sliced" and shape:
        array = array[draw(arrays.basic_indices(shape, allow_newaxis=True))]
    elif how == "reversed":
        array = array[tuple(slice(None, None, draw(st.sampled_from([1, -1, 2, -2]))) for _ in shape)]
    elif how == "broadcast":
        array = np.broadcast_to(array, (2, *shape))
    elif how == "new axis":
        array = array[None, ...]
    elif how == "one field" and array.dtype.names:
        array = array[draw(st.sampled_from(array.dtype.names))]
    if not isinstance(array, np.ndarray):  # an index gave a scalar
        array = np.array(array)
    kind = draw(st.sampled_from([np.ndarray, np.ndarray, Sub, Own, np.recarray, np.memmap]))
    array = array.view(kind)
    if draw(st.booleans()):
        array.flags.writeable = False
    return array


def facts(array: Any, like: Any = None) -> tuple[object, ...]:
    """All that must be the same. `like` has the order in memory, if it is another's."""
    flags = array.flags if like is None else like.flags
    order = flags.c_contiguous, flags.f_contiguous
    return type(array), array.dtype, str(array.dtype), array.shape, order, contents(np.asarray(array))


def contents(array: Any) -> object:
    """By their bytes, so that NaN counts; without the bytes between fields, which nobody promises anything of."""
    if array.dtype.names:
        return [contents(array[name]) for name in array.dtype.names]
    return array.tobytes()


def expected(array: Any) -> tuple[object, ...]:
    """What is dense keeps its order in memory, for the rest it is pickle's choice. All else is the sender's too, where
    pickle now and then changes things: it brings dates of the other byte order in this one."""
    there = by_pickle(array)
    assert (type(there), there.shape) == (type(array), array.shape)
    return facts(array, array if is_dense(array) else there)


def expected_writeable(array: Any) -> bool:
    """pickle's answer for arrays; read-only subclasses stay so, which pickle forgets."""
    writeable: bool = by_pickle(array).flags.writeable
    return writeable and (array.flags.writeable or not is_dense(array))


def is_dense(array: Any) -> bool:
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    dense: bool = np.asarray(array).transpose(order).flags.c_contiguous
    return dense


def by_pickle(value: object) -> Any:
    return pickle.loads(pickle.dumps(value, 5))


COMMON = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@COMMON
@given(array=made())
@example(np.zeros((3, 0, 2), "M8[s]"))
@example(np.zeros((), "V5"))
@example(np.zeros((4, 4), [("a", "i1"), ("b", "f8")])["b"])
def test_an_array_arrives_as_pickle_would_bring_it(array: Any) -> None:
    with everything_aside():
        there = carried(array)

    assert facts(there) == expected(array)
    assert there.flags.writeable == expected_writeable(array)
    assert there.flags.aligned


@COMMON
@given(array=made())
def test_a_small_array_arrives_as_a_large_one_does(array: Any) -> None:
    there = carried(array)

    assert facts(there) == expected(array)
    assert there.flags.writeable == expected_writeable(array)


@COMMON
@given(array=made())
def test_what_arrives_can_be_sent_on(array: Any) -> None:
    with everything_aside():
        assert facts(carried(carried(array))) == expected(array)


@COMMON
@given(parts=st.lists(made(), max_size=4), wrap=st.sampled_from(["list", "tuple", "dict", "attributes", "objects"]))
def test_arrays_arrive_from_wherever_they_are_nested(parts: list[Any], wrap: str) -> None:
    value: Any = [*parts, *parts[:1]]
    if wrap == "tuple":
        value = tuple(value)
    elif wrap == "dict":
        value = {(index,): part for index, part in enumerate(value)}
    elif wrap == "attributes":
        value = Holder(value)
    elif wrap == "objects":
        whole = np.empty(len(value), object)
        whole[:] = value if not value else [*value]
        value = whole

    with everything_aside():
        there = carried(value)

    assert type(there) is type(value)
    found = list(there.values()) if wrap == "dict" else there.parts if wrap == "attributes" else list(there)
    assert [facts(each) for each in found] == [expected(each) for each in [*parts, *parts[:1]]]
    assert not parts or found[0] is found[-1]


class Holder:
    def __init__(self, parts: Any) -> None:
        self.parts = parts


@COMMON
@given(array=made(), masks=st.data())
def test_a_masked_array_arrives_with_its_mask(array: Any, masks: Any) -> None:
    assume(array.dtype.names is None)  # masks of structures have rules of their own
    array = np.asarray(array)
    mask = masks.draw(st.sampled_from([np.ma.nomask, True, False]))
    value = np.ma.MaskedArray(array, mask)
    if masks.draw(st.booleans()) and array.dtype.kind in "iuf":
        value.fill_value = 1

    with everything_aside():
        there = carried(value)

    pickled = by_pickle(value)
    assert facts(there.data) == facts(value.data, value.data if is_dense(array) else pickled.data)
    masks_of = [np.ma.getmaskarray(each) for each in (there, value)]
    assert masks_of[0].dtype == masks_of[1].dtype
    assert masks_of[0].tolist() == masks_of[1].tolist()
    assert (type(there), repr(there.fill_value)) == (np.ma.MaskedArray, repr(value.fill_value))


@COMMON
@given(array=made())
def test_a_view_of_memory_arrives_as_a_view_or_is_refused(array: Any) -> None:
    try:
        view = memoryview(np.asarray(array))
    except (ValueError, BufferError):  # no word for its dtype
        return
    try:
        with everything_aside():
            there = carried(view)
    except TypeError:
        with pytest.raises(SerializationError, match="cannot pickle a memoryview of format"):
            Codec("msgpack").encode_value(view)
        assert array.dtype.kind not in "biufc"
        return

    assert type(there) is memoryview
    assert spelled(there.format) == spelled(view.format)
    assert (there.shape, there.itemsize) == (view.shape, view.itemsize)
    assert contents(np.asarray(there)) == contents(np.asarray(view))
    assert there.readonly == view.readonly


def spelled(format_: str) -> str:
    """numpy has two letters for one size, which it does not keep apart in a pickle, and marks for what is not aligned,
    which all that arrives is."""
    return format_.replace("q", "l").replace("Q", "L").strip("=^")
