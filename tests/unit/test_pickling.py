# SPDX-License-Identifier: MIT
"""Large values become payloads of their own memory; small ones stay bytes."""

from __future__ import annotations

import array
import dataclasses
import functools
import pickle
import subprocess
import sys
import threading
import tracemalloc
from typing import Any

import pytest

from localq.codec import FORMAT_BUFFERS, FORMAT_PICKLE, Codec
from localq.errors import SerializationError
from localq.payload import Payload
from localq.pickling import ASIDE, LARGE, blame, dumps, pack, unpack
from tests.support.payloads import Arrived, carried, packed

np = pytest.importorskip("numpy")

LOCK = threading.Lock()


@dataclasses.dataclass
class Holder:
    part: Any


def address(buffer: Any) -> int:
    found: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]
    return found


# --- what becomes a payload -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, [b"x" * 100, "y"], {"a": (1, [2])}], ids=repr)
def test_a_small_value_is_the_bytes_that_dumps_makes(value: object) -> None:
    assert pack(value) == dumps(value)


def test_contents_go_beside_the_pickle_from_a_limit_on() -> None:
    below, above = np.zeros(ASIDE - 1, np.uint8), np.zeros(ASIDE, np.uint8)

    assert isinstance(pack(below), bytes)
    assert [len(each) for each in packed([below, above]).buffers] == [ASIDE]


def test_a_long_pickle_of_small_parts_is_not_joined() -> None:
    value = [f"text {number}" for number in range(20_000)]

    payload = packed(value)

    assert payload.buffers == []
    assert len(payload.head) > 1
    assert pickle.loads(b"".join(payload.head)) == carried(value) == value


def test_several_pieces_that_are_short_together_are_joined() -> None:
    assert isinstance(pack([b"x" * (LARGE - 100)]), bytes)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_bytes_stand_alone_in_the_pickle_and_are_not_copied(kind: type) -> None:
    value = kind(b"x" * 1_000_000)

    payload = packed({"a": [value]})

    assert any(piece is value for piece in payload.head)
    assert sum(len(piece) for piece in payload.head if piece is not value) < 200
    there = carried({"a": [value]})["a"][0]
    assert (type(there), there) == (kind, value)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((300, 400)),
        np.zeros((300, 400), order="F"),
        np.zeros((30, 40, 50)).transpose(2, 0, 1),
        np.zeros(100_000, "M8[s]"),
        np.zeros(100_000, [("a", "i4"), ("when", "m8[D]")]),
        np.zeros(100_000, ">f8"),
        np.zeros(100_000, "U3"),
        np.zeros((300, 400)).view(np.matrix),
        memoryview(bytearray(200_000)).cast("d", (100, 250)),
        array.array("d", bytes(100_000)),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_memory_that_is_dense_is_sent_from_where_it_is(value: Any) -> None:
    packed(value)  # modules are imported, and caches filled
    tracemalloc.start()
    payload = packed([{"deep": Holder(value)}])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    (buffer,) = payload.buffers
    whole = np.asarray(value)
    assert address(buffer) == whole.__array_interface__["data"][0]
    assert (buffer.nbytes, buffer.format, buffer.ndim) == (whole.nbytes, "B", 1)
    assert sum(map(len, payload.head)) < 500
    assert peak < 50_000


def test_what_is_writable_and_what_is_not_is_told_by_the_buffers() -> None:
    fixed, free = np.zeros(10_000), np.zeros(10_000)
    fixed.flags.writeable = False

    assert [buffer.readonly for buffer in packed([fixed, free]).buffers] == [True, False]
    there = carried([fixed, free])
    assert [each.flags.writeable for each in there] == [False, True]


class Arena(bytearray):
    """Memory that says it is shared, as the native side's does."""

    in_arena = True


@pytest.mark.parametrize(
    "part",
    [np.s_[:], np.s_[3], np.s_[:, 2:4], np.s_[::-2, 1::3], np.s_[5, 6], np.s_[2:2]],
    ids=str,
)
@pytest.mark.parametrize("wrap", [lambda arena: arena, lambda arena: memoryview(arena)[160:]], ids=["whole", "a view"])
def test_memory_that_is_shared_already_is_never_copied(part: Any, wrap: Any) -> None:
    arena = Arena(80 * 8 + 160)
    array = np.frombuffer(wrap(arena), count=80)[: 8 * 10].reshape(8, 10)[part]
    if not isinstance(array, np.ndarray):
        array = np.frombuffer(wrap(arena), count=1)

    payload = packed([array])

    head = b"".join(payload.head)
    (there,) = unpack(head, payload.buffers)  # where it is: what a reference leads to
    assert (there.shape, there.strides, address_of(there)) == (array.shape, array.strides, address_of(array))
    there[...] = 1
    assert (array == 1).all()


def address_of(array: Any) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def test_an_array_that_occurs_twice_is_sent_once_and_stays_one() -> None:
    value = np.arange(10_000)

    assert len(packed([value, {"again": value}]).buffers) == 1
    first, second = carried([value, {"again": value}])
    assert first is second["again"]


def test_objects_that_go_by_value_take_their_large_contents_along() -> None:
    big = np.arange(10_000.0)

    def local(default: Any = big) -> Any:
        return default, big

    payload = packed([local, functools.partial(local, big), lambda: big])

    assert len(payload.buffers) == 1
    arrived = Arrived(payload)
    there, _, other = unpack(arrived.head, arrived.buffers)
    assert there()[0] is there()[1]
    assert np.array_equal(other(), big)


def test_a_failed_first_try_leaves_no_buffer_behind() -> None:
    value = [np.arange(10_000), np.arange(10_000.0), lambda: 1]

    assert len(packed(value).buffers) == 2
    assert np.array_equal(carried(value)[1], value[1])


def test_pickle_buffers_arrive_as_pickle_brings_them() -> None:
    assert carried(pickle.PickleBuffer(b"small")) == b"small"
    assert carried(pickle.PickleBuffer(bytes(10_000))) == bytes(10_000)


def test_a_library_that_is_not_loaded_stays_so() -> None:
    code = """
import array, sys
from localq.pickling import pack, blame
pack([memoryview(b"x"), array.array("d", [1]), object(), ValueError()]), blame([1])
sys.exit(any(name in sys.modules for name in ("numpy", "pandas", "pyarrow", "torch", "cloudpickle", "pickle", "re")))
"""
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    subprocess.run([sys.executable, "-S", "-c", path + code], check=True, timeout=50)


# --- payloads -------------------------------------------------------------------------------------------------------


def test_a_frozen_payload_does_not_change_any_more() -> None:
    numbers, fixed, raw = np.zeros(10_000), np.ones(10_000), bytearray(100_000)
    fixed.flags.writeable = False
    payload = packed([numbers, fixed, raw])
    payload.refs.append((3, 4))

    frozen = payload.frozen()
    numbers[:] = 7
    raw[:] = b"7" * len(raw)

    arrived = Arrived(frozen)
    there = unpack(arrived.head, arrived.buffers)
    assert (there[0] == 0).all()
    assert not any(there[2])
    assert [buffer.readonly for buffer in frozen.buffers] == [False, True]
    assert (frozen.refs, frozen.nbytes) == ([(3, 4)], payload.nbytes)


def test_a_frozen_payload_still_leads_to_memory_that_is_shared() -> None:
    arena = Arena(80_000)
    payload = packed([np.frombuffer(arena), np.frombuffer(arena)[::100], np.zeros(10_000)])

    frozen = payload.frozen()

    kept = [address(now) == address(then) for now, then in zip(frozen.buffers, payload.buffers, strict=True)]
    assert kept == [True, True, False]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_and_too_many_buffers_are_an_error(count: int) -> None:
    arrived = Arrived(packed([np.zeros(10_000), np.ones(10_000)]))

    with pytest.raises(ValueError, match=f"has {count} buffers and refers to"):
        unpack(arrived.head, (arrived.buffers * 2)[:count])


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(10_000),
        np.zeros(10_000).view(np.matrix),
        np.zeros(10_000, "M8[s]"),
        memoryview(bytes(80_000)).cast("d"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_buffer_that_is_too_short_is_an_error(value: Any) -> None:
    arrived = Arrived(packed(value))

    with pytest.raises((TypeError, ValueError)):
        unpack(arrived.head, [arrived.buffers[0][:-1]])


def test_a_damaged_head_is_an_error() -> None:
    arrived = Arrived(packed(np.zeros(10_000)))

    with pytest.raises(Exception, match=r"pickle|truncated|Ran out"):
        unpack(arrived.head[:-5], arrived.buffers)


# --- the codec ------------------------------------------------------------------------------------------------------


def test_the_codec_makes_payloads_only_when_asked_to() -> None:
    value = [np.zeros(10_000)]

    format_, payload = Codec("msgpack").encode_value(value)
    assert (format_, type(payload)) == (FORMAT_PICKLE, bytes)
    format_, payload = Codec("msgpack", buffers=True).encode_value(value)
    assert (format_, type(payload)) == (FORMAT_PICKLE | FORMAT_BUFFERS, Payload)
    format_, payload = Codec("msgpack", buffers=True).encode_value([1])
    assert (format_, type(payload)) == (FORMAT_PICKLE, bytes)
    format_, payload = Codec("json", buffers=True).encode_value(["x" * 100_000])
    assert type(payload) is bytes


@pytest.mark.parametrize("serialization", ["msgpack", "pickle"])
def test_calls_results_and_items_arrive_from_payloads(serialization: str) -> None:
    codec, big = Codec(serialization, buffers=True), np.arange(10_000)

    format_, payload = codec.encode_call((big, 1), {"x": [big]}, {"meta": 1}, None)
    args, kwargs, metadata, function = codec.decode_call(format_, Arrived(payload))
    assert args[0] is kwargs["x"][0]
    assert np.array_equal(args[0], big)
    assert (args[1], metadata, function) == (1, {"meta": 1}, None)

    format_, payload = codec.encode_value({"r": big})
    assert np.array_equal(codec.decode_value(format_, Arrived(payload))["r"], big)

    format_, payload = codec.encode_items([big, 2, big[:5]])
    items = codec.decode_items(format_, Arrived(payload))
    assert np.array_equal(items[0], big)
    assert (items[1], items[2].tolist()) == (2, [0, 1, 2, 3, 4])


# --- blame ----------------------------------------------------------------------------------------------------------


def test_the_culprit_among_large_values_is_found_without_a_copy_of_them() -> None:
    big = np.zeros((1000, 1000))  # 8 MB
    value = {
        "strided": big[::2, ::2],
        "text": b"x" * 1_000_000,
        "matrix": big[::2].view(np.matrix),
        "local": [lambda: big, {"deep": Holder([big[::3], LOCK])}],
    }

    blame(value)
    tracemalloc.start()
    found = blame(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found is not None
    assert (found.path, found.type_name) == ("['local'][1]['deep'].part[1]", "_thread.lock")
    assert peak < 1_000_000


def test_the_culprit_in_an_array_of_objects_is_found() -> None:
    value = np.empty((2, 3), object)
    value[1, 2] = [LOCK]

    with pytest.raises(SerializationError) as caught:
        Codec("msgpack", buffers=True).encode_call((value,), {}, None, None)

    assert (caught.value.where, caught.value.path) == ("argument 1", "[1, 2][0]")


def test_an_array_of_a_class_that_cannot_travel_is_to_blame() -> None:
    class Unfit(np.ndarray):  # type: ignore[misc,name-defined]
        def __reduce__(self) -> Any:
            raise TypeError("not me")

    found = blame([np.zeros(3), np.zeros(3).view(Unfit)])

    assert found is not None
    assert (found.path, found.reason) == ("[1]", "not me")
