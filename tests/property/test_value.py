# SPDX-License-Identifier: MIT
"""Values that travel as MessagePack come back equal and of the same type, or do not travel that way.

What the native codec declines (`encode_value` and its kin return None) goes by pickle, so pickle is
what its answers are held against: types, and which two references mean one list.
"""

from __future__ import annotations

import enum
import os
import pickle
import random
import struct
import tracemalloc
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localq import _native
from localq.client import failures
from localq.retry import Terms
from localq.tasks import Task

DEPTH = 64  # containers inside each other that may travel

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-200, 300)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=40)
)
keys = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6) | st.lists(inner, max_size=6).map(tuple) | st.dictionaries(keys, inner, max_size=5)
    ),
    max_leaves=12,
)
untupled = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(scalars, inner, max_size=5),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """A picture of `value` that is equal only for equal values of the same types and order."""
    if type(value) is float:
        return float, struct.pack("<d", value)
    if type(value) in (list, tuple):
        return type(value), [exact(item) for item in value]
    if type(value) is dict:
        return dict, [(exact(key), exact(item)) for key, item in value.items()]
    return type(value), value


def unshared(value: Any) -> Any:
    """A copy in which every container has one path to it, whatever made `value`."""
    if type(value) in (list, tuple):
        return type(value)([unshared(item) for item in value])
    if type(value) is dict:
        return {key: unshared(item) for key, item in value.items()}
    return value


def sharing(value: Any, seen: dict[int, int] | None = None) -> Any:
    """A picture of `value` that tells which of its lists and dicts are one."""
    seen = {} if seen is None else seen
    if type(value) is tuple:
        return [sharing(item, seen) for item in value]
    if type(value) not in (list, dict):
        return None
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = len(seen)
    return [sharing(item, seen) for item in (value.values() if type(value) is dict else value)]


def nested(make: Callable[[Any], Any], levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = make(value)
    return value


def written(payload: bytes | None) -> bytes:
    """What an encoder returned, which must not have declined."""
    assert payload is not None
    return payload


def in_list(value: Any) -> list[Any]:
    return [value]


def in_tuple(value: Any) -> tuple[Any, ...]:
    return (value,)


def in_dict(value: Any) -> dict[str, Any]:
    return {"x": value}


# ---- round trips


@given(values)
@example(-0.0)
@example([float("inf"), float("-inf")])
@example({1: "int", 2.0: "float", "1": "str", b"1": "bytes", None: "none", (1, ("a", b"b", ())): "tuple"})
@example({True: 1, False: 0})
def test_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    payload = written(_native.encode_value(unshared(value)))

    assert exact(_native.decode_value(payload)) == exact(value)


@given(
    st.lists(values, max_size=3), st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=3)
)
@settings(max_examples=60)
def test_arguments_come_back_as_tuple_and_dict(args: list[Any], kwargs: dict[str, Any]) -> None:
    payload = written(_native.encode_args(("skipped", *unshared(args)), 1, unshared(kwargs)))

    got_args, got_kwargs = _native.decode_args(payload)
    assert exact(got_args) == exact(tuple(args))
    assert exact(got_kwargs) == (exact(kwargs) if kwargs else exact(None))


@given(st.lists(values, max_size=3))
@settings(max_examples=60)
def test_items_come_back_as_list(items: list[Any]) -> None:
    payload = written(_native.encode_items(unshared(items)))

    assert exact(_native.decode_value(payload)) == exact(items)


@pytest.mark.parametrize("bits", [0x7FF8000000000001, 0xFFF8000000000000, 0x7FF4DEADBEEF0001, 0x8000000000000000, 1])
def test_every_bit_of_a_float_comes_back(bits: int) -> None:
    (number,) = struct.unpack("<d", struct.pack("<Q", bits))

    assert struct.pack("<d", _native.decode_value(written(_native.encode_value(number)))) == struct.pack("<Q", bits)


def test_integers_around_every_width_come_back() -> None:
    edges = {sign * 2**power + offset for sign in (1, -1) for power in range(64) for offset in range(-2, 3)}
    numbers = sorted(n for n in edges | {-33, -32, 2**64 - 1} if -(2**63) <= n < 2**64)

    assert [_native.decode_value(written(_native.encode_value(n))) for n in numbers] == numbers


@pytest.mark.parametrize("part", [b"x", "x", "é", "€", "𝄞", (0,), [0]], ids=repr)
def test_value_of_any_size_comes_back(part: Any) -> None:
    for size in (*range(600), 4095, 4096, 4097, 65535, 65536, 250_000 if part == b"x" else 1_000_000):
        payload = written(_native.encode_value(part * size))

        assert _native.decode_value(payload) == part * size


@pytest.mark.parametrize("size", [15, 16, 65535, 65536])
def test_dict_of_any_size_comes_back(size: int) -> None:
    value = dict.fromkeys(range(size))

    assert _native.decode_value(written(_native.encode_value(value))) == value


# ---- what is left to pickle


def test_long_bytes_are_left_to_a_pickle_which_they_travel_beside() -> None:
    assert _native.encode_value(bytes(1 << 18)) is not None
    assert _native.encode_value(bytes((1 << 18) + 1)) is None
    assert _native.encode_value([bytes(1 << 20)]) is None


class Shade(enum.IntEnum):
    DARK = 1


class Text(str):
    __slots__ = ()


Point = namedtuple("Point", "x y")

FOREIGN = [
    2**64,
    -(2**63) - 1,
    10**100,
    "\ud800",
    "ok \udfff",
    "𝄞\udc80",
    Text("a"),
    Shade.DARK,
    Point(1, 2),
    OrderedDict(a=1),
    {1},
    frozenset({1}),
    bytearray(b"a"),
    1j,
    range(3),
    object(),
    int,
    ...,
]


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
def test_value_that_would_lose_its_type_is_left_to_pickle(value: Any) -> None:
    assert _native.encode_value(value) is None
    assert _native.encode_value([value]) is None
    assert _native.encode_value((value,)) is None
    assert _native.encode_value({"x": value}) is None
    assert _native.encode_args((value,), 0, None) is None
    assert _native.encode_args((), 0, {"x": value}) is None
    assert _native.encode_items([1, value]) is None


@pytest.mark.parametrize(
    "key", [Text("a"), Shade.DARK, Point(1, 2), frozenset(), 2**64, "\ud800", (Text("a"),)], ids=repr
)
def test_key_that_would_lose_its_type_is_left_to_pickle(key: Any) -> None:
    assert _native.encode_value({key: 1}) is None


def test_keyword_of_a_str_subclass_is_left_to_pickle() -> None:
    assert _native.encode_args((), 0, {Text("x"): 1}) is None


@pytest.mark.parametrize("make", [in_list, in_tuple, in_dict])
def test_depth_that_is_written_is_read_and_one_more_is_left_to_pickle(make: Callable[[Any], Any]) -> None:
    deep, deeper = nested(make, DEPTH), nested(make, DEPTH + 1)

    assert _native.decode_value(written(_native.encode_value(deep))) == deep
    assert _native.decode_args(written(_native.encode_args((deep,), 0, None))) == ((deep,), None)
    assert _native.decode_args(written(_native.encode_args((), 0, {"x": deep}))) == ((), {"x": deep})
    assert _native.encode_value(deeper) is None
    assert _native.encode_args((deeper,), 0, None) is None
    assert _native.encode_args((), 0, {"x": deeper}) is None
    assert _native.encode_items([deep]) is None
    assert _native.encode_items(["first", make(0)]) is not None


def test_cycle_is_left_to_pickle() -> None:
    ring: list[Any] = []
    ring.append(ring)
    knot: dict[str, Any] = {}
    knot["x"] = (knot,)

    assert _native.encode_value(ring) is None
    assert _native.encode_value(knot) is None
    assert _native.encode_args((ring,), 0, None) is None
    assert _native.encode_items([knot]) is None


# ---- two references to one list


def build(recipe: list[tuple[str, list[int]]]) -> Any:
    """A value whose containers hold earlier ones, picked by number; nobody else refers to its parts."""
    made: list[Any] = [0]
    for kind, picks in recipe:
        parts = [made[pick % len(made)] for pick in picks]
        made.append(parts if kind == "list" else tuple(parts) if kind == "tuple" else dict(enumerate(parts)))
    return made[-1]


recipes = st.lists(
    st.tuples(st.sampled_from(["list", "tuple", "dict"]), st.lists(st.integers(0, 9), max_size=3)), max_size=8
)


@given(recipes)
@settings(max_examples=200)
def test_lists_that_are_one_stay_one_as_with_pickle(recipe: list[tuple[str, list[int]]]) -> None:
    value = build(recipe)

    payload = _native.encode_value(value)

    if payload is not None:
        assert sharing(_native.decode_value(payload)) == sharing(pickle.loads(pickle.dumps(value)))


@given(recipes, recipes, st.booleans())
@settings(max_examples=200)
def test_arguments_that_are_one_stay_one_as_with_pickle(
    first: list[tuple[str, list[int]]], second: list[tuple[str, list[int]]], again: bool
) -> None:
    one, two = build(first), build(second)
    args, kwargs = ((one, two, one) if again else (one, two)), {"x": two if again else 1}

    payload = _native.encode_args(args, 0, kwargs)

    if payload is not None:
        assert sharing(_native.decode_args(payload)) == sharing(pickle.loads(pickle.dumps((args, kwargs))))


def test_part_that_something_else_refers_to_is_left_to_pickle() -> None:
    part = [1]
    pair = (1, [2])
    numbers = (1, 2)

    assert _native.encode_value([part]) is None
    assert _native.encode_value({"x": (part,)}) is None
    assert _native.encode_value([pair]) is None
    assert _native.encode_value([numbers, numbers]) is not None
    assert _native.encode_value(pair) is not None
    assert _native.encode_value(part) is not None


def test_argument_may_be_held_by_the_caller_but_not_given_twice() -> None:
    part, table, pair, numbers = [1], {"x": 1}, (1, [2]), (1, 2)

    assert _native.encode_args((part, table, pair, numbers), 0, {"x": [1]}) is not None
    assert _native.encode_args((part, part), 0, None) is None
    assert _native.encode_args((part, part), 1, None) is not None
    assert _native.encode_args((table,), 0, {"x": table}) is None
    assert _native.encode_args((), 0, {"x": part, "y": part}) is None
    assert _native.encode_args((pair, pair), 0, None) is None
    assert _native.encode_args((pair, pair[1]), 0, None) is None
    assert _native.encode_args((numbers, numbers), 0, {"x": numbers}) is not None


def test_items_are_values_of_their_own() -> None:
    part = [1]

    assert _native.decode_value(written(_native.encode_items([part, part]))) == [[1], [1]]
    assert _native.encode_items([(part,)]) is None


def test_what_would_be_written_again_and_again_is_left_to_pickle() -> None:
    text = "x" * 1_000_000
    doubled: Any = (1, 2)
    for _ in range(50):
        doubled = (doubled, doubled)

    assert _native.encode_value(doubled) is None
    assert _native.encode_value([text] * 1000) is None
    assert _native.encode_items([text.encode()] * 1000) is None
    assert _native.encode_value(text) is not None
    assert _native.encode_args((text, text * 9), 0, None) is not None


# ---- arguments as `delay` writes them, straight from the caller's stack


class LeftToPickle(Exception):
    pass


class OnlyMessagePack:
    """A codec that carries nothing."""

    fast = True

    def encode_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], *rest: object) -> tuple[int, bytes]:
        raise LeftToPickle

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


def never(*args: object) -> Any:
    raise AssertionError("nothing here is a coroutine, too large or stopped")


class NoLoop:
    __call__ = staticmethod(never)

    def cancel(self) -> bool:
        return False


class Loop:
    """A client and a worker in this one process, for functions that note their arguments in `arrived`."""

    def __init__(self) -> None:
        self.arrived: list[tuple[Any, Any]] = []
        space = _native.Space.create(
            capacity=16, result_cache_size=0, queues=1, cpus=1, memory=64 << 20, ttl_ms=0, identity=1
        )
        self.space, self.label, self.codec = space, space.join(_native.ROLE_WORKER, os.getpid()), OnlyMessagePack()
        self.client = _native.Client(
            space,
            space.join(_native.ROLE_CLIENT, os.getpid()),
            os.getpid(),
            codec=self.codec,
            owner=lambda: None,
            future_type=_native.Future,
            resolve=self.resolve,
            let_go=lambda client, entry: None,
            on_tick=lambda: None,
            on_watched=lambda: None,
            errors=failures,
            plain=frozenset(),
        )
        self.submitter = _native.Submitter(self.client, _native.Options())

    def resolve(self, client: _native.Client, function: Any) -> _native.FunctionEntry:
        place = self.client.publish(0, b"note")
        assert place is not None
        entry = self.client.functions[function] = _native.FunctionEntry(function, *place)
        return entry

    def work(self) -> None:
        worker = _native.Worker(
            self.space,
            self.label,
            os.getpid(),
            codec=self.codec,
            load=lambda kind, payload: self.note,
            run_coroutine=NoLoop(),
            too_large=never,
            stop_error=never,
            terms_type=Terms,
            task_type=Task,
        )
        worker.tasks_left = 1
        worker.run()

    def note(self, *args: Any, **kwargs: Any) -> None:
        self.arrived.append((args, kwargs))

    def send(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """What arrives of these arguments. Raises LeftToPickle."""
        future = self.submitter.delay(len, *args, **kwargs)
        self.work()
        assert future.result(0) is None
        return self.arrived.pop()


@pytest.fixture(scope="module")
def loop() -> Loop:
    return Loop()


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(st.lists(values, max_size=6), st.dictionaries(names, values, max_size=6))
def test_arguments_of_delay_arrive_equal_and_of_the_same_type(
    loop: Loop, args: list[Any], kwargs: dict[str, Any]
) -> None:
    got_args, got_kwargs = loop.send(*unshared(args), **unshared(kwargs))

    assert exact(got_args) == exact(tuple(args))
    assert exact(got_kwargs) == exact(kwargs)


@pytest.mark.parametrize("size", [0, 15, 16, 200, 5000, 250_000])
def test_arguments_of_delay_may_be_of_any_number_and_size(loop: Loop, size: int) -> None:
    many = dict.fromkeys(map(str, range(size % 300)), "x" * (size // 300))

    assert loop.send(b"x" * size, **many) == ((b"x" * size,), many)
    assert loop.send(*many) == (tuple(many), {})


@given(recipes, recipes, st.booleans())
@settings(max_examples=200)
def test_arguments_of_delay_that_are_one_stay_one_as_with_pickle(
    loop: Loop, first: list[tuple[str, list[int]]], second: list[tuple[str, list[int]]], again: bool
) -> None:
    one, two = build(first), build(second)
    args, kwargs = ((one, two, one) if again else (one, two)), {"x": two if again else 1}

    try:
        arrived = loop.send(*args, **kwargs)
    except LeftToPickle:
        return
    assert sharing(arrived) == sharing(pickle.loads(pickle.dumps((args, kwargs))))


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
def test_argument_of_delay_that_would_lose_its_type_is_left_to_pickle(loop: Loop, value: Any) -> None:
    for args, kwargs in (((value,), {}), ((1, [value]), {}), ((), {"x": value}), ((1,), {"x": 1, "y": (value,)})):
        with pytest.raises(LeftToPickle):
            loop.send(*args, **kwargs)


@pytest.mark.parametrize("name", [Text("x"), "\ud800"], ids=["of a subclass", "surrogate"])
def test_keyword_of_delay_that_would_lose_its_type_is_left_to_pickle(loop: Loop, name: str) -> None:
    with pytest.raises(LeftToPickle):
        loop.send(**{name: 1})


def test_list_given_to_delay_twice_is_left_to_pickle_and_one_held_by_the_caller_is_not(loop: Loop) -> None:
    part, numbers = [1], (1, 2)

    for args, kwargs in (((part, part), {}), ((part,), {"x": part}), ((), {"x": part, "y": part})):
        with pytest.raises(LeftToPickle):
            loop.send(*args, **kwargs)
    assert loop.send(part, numbers, x=numbers) == (([1], (1, 2)), {"x": (1, 2)})


# ---- MessagePack as others know it


def tuple_hook(code: int, data: memoryview) -> tuple[Any, ...]:
    assert code == 1
    return tuple(msgspec.msgpack.decode(data, ext_hook=tuple_hook))


@given(values)
def test_msgspec_reads_what_is_written(value: Any) -> None:
    payload = written(_native.encode_value(unshared(value)))

    assert exact(msgspec.msgpack.decode(payload, ext_hook=tuple_hook)) == exact(value)


@given(untupled)
def test_what_msgspec_writes_is_read(value: Any) -> None:
    assert exact(_native.decode_value(msgspec.msgpack.encode(value))) == exact(value)


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"\xca\x3f\x80\x00\x00", 1.0),
        (b"\xd4\x01\x90", ()),
        (b"\xd5\x01\x91\x07", (7,)),
        (b"\xd6\x01\x93\x01\x02\x03", (1, 2, 3)),
        (b"\xc7\x01\x01\x90", ()),
        (b"\xc8\x00\x04\x01\xdc\x00\x01\x07", (7,)),
        (b"\xd3\x00\x00\x00\x00\x00\x00\x00\x01", 1),
        (b"\xdb\x00\x00\x00\x01a", "a"),
        (b"\xdf\x00\x00\x00\x01\x01\x02", {1: 2}),
        (b"\x82\x01\x02\x01\x03", {1: 3}),
    ],
)
def test_form_that_others_may_write_is_read(payload: bytes, value: Any) -> None:
    assert exact(_native.decode_value(payload)) == exact(value)


# ---- bytes that nobody should have sent


@given(values)
def test_every_part_of_a_value_is_refused(value: Any) -> None:
    payload = written(_native.encode_value(unshared(value)))
    call = written(_native.encode_args((unshared(value), "more"), 0, None))

    for end in range(len(payload)):
        with pytest.raises(ValueError):
            _native.decode_value(payload[:end])
    for end in range(len(call)):
        with pytest.raises(ValueError):
            _native.decode_args(call[:end])
    with pytest.raises(ValueError):
        _native.decode_value(payload + b"\x00")
    with pytest.raises(ValueError):
        _native.decode_args(call + b"\x00")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\xa1\xff",
        b"\xa3\xed\xa0\x80",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff\x00",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01\x90",
        b"\xd4\x02\x90",
        b"\xd4\xff\x90",
        b"\xd4\x01\x80",
        b"\xd5\x01\x90\x90",
        b"\xd4\x01\x91\x01",
        b"\xc7\x00\x01",
        b"\x81\x90\x01",
        b"\x81\x80\x01",
        b"\x81\xd5\x01\x91\x90\x01",
        b"\x91" * 100_000,
        b"\x81" * 100_000,
        b"\xd5\x01\x91" * 100_000,
    ],
    ids=lambda payload: payload[:8].hex(),
)
def test_bytes_that_are_no_value_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        _native.decode_value(payload)


@pytest.mark.parametrize(
    "payload", [b"\x90\x90", b"\x90\x81\x01\x02", b"\x90\x01", b"\x80", b"\x90\x80\x00", b"\x92\x01"]
)
def test_bytes_that_are_no_call_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        _native.decode_args(payload)


def test_lengths_inside_lengths_take_no_more_memory_than_the_bytes_allow() -> None:
    size = 100_000
    payload = b"".join(b"\xdd" + struct.pack(">I", size - 600) for _ in range(DEPTH)).ljust(size, b"\xc0")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            _native.decode_value(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * size


def test_changed_bytes_give_a_value_or_a_value_error() -> None:
    dice = random.Random(7)
    seeds = [
        _native.encode_value({"a": [1, -2, 3.5, None, True], (1, "é"): b"raw", 2**40: ("x" * 40, {}), "z": [[], ()]}),
        _native.encode_args((1, "two", [3], (4, 5)), 0, {"x": {"y": 1}}),
    ]
    for turn in range(30_000):
        payload = bytearray(written(seeds[turn % 2]))
        for _ in range(dice.randrange(1, 5)):
            payload[dice.randrange(len(payload))] = dice.randrange(256)
        for decode in (_native.decode_value, _native.decode_args):
            try:
                decode(payload)
            except ValueError:
                pass
