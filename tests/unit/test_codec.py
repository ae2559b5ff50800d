# SPDX-License-Identifier: MIT
"""Calls, values and errors arrive as they were; what cannot travel says which part of it is to blame."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import linecache
import operator
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from localq.codec import FORMAT_JSON, FORMAT_PICKLE, Codec
from localq.errors import LocalqError, RemoteTraceback, SerializationError, TaskFailed, WorkerCrashed
from localq.pickling import MAX_BLAME_TRIES, blame, dumps
from localq.remote_errors import MAX_CHAIN
from tests.support.ids import shown
from tests.support.tasks import Mishap, add

LOCK = threading.Lock()


@pytest.fixture
def codec() -> Codec:
    return Codec("msgpack")


class Holder:
    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = LOCK


class Reduced:
    """Carries its lock through its own reduction; its attributes do not travel."""

    def __init__(self, part: object) -> None:
        self.hidden = LOCK
        self.part = part

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, (self.part,)


class Named(collections.UserList[object]):
    pass


class Colour(enum.Enum):
    RED = 1


Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


# --- calls and values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serialization", ["msgpack", "pickle", "json"])
def test_a_call_arrives_with_its_parts(serialization: str) -> None:
    codec = Codec(serialization)
    args, metadata = (1, "two", [3.0, None, {"k": True}]), {"user": "me"}
    kwargs: dict[str, object] = {"a": [], "b": {"c": "ü"}}

    there = codec.decode_call(*codec.encode_call(args, kwargs, metadata, add))

    assert there == (args, kwargs, metadata, add)
    assert codec.decode_call(*codec.encode_call((), {}, None, None)) == ((), {}, None, None)


@pytest.mark.parametrize("serialization", ["msgpack", "pickle", "json"])
def test_a_function_by_value_travels_with_its_call(serialization: str) -> None:
    codec = Codec(serialization)
    base = [40]

    *_, function = codec.decode_call(*codec.encode_call((2,), {}, None, lambda x: base[0] + x))

    assert function is not None
    assert function(2) == 42


def test_only_msgpack_lets_the_native_side_go_first() -> None:
    assert [Codec(name).fast for name in ("msgpack", "pickle", "json")] == [True, False, False]


@pytest.mark.parametrize(
    "value",
    [Point(1, (2, 3)), Pair(1, 2), Colour.RED, decimal.Decimal("1.10"), {1: {2: (3,)}}, {(1, 2): frozenset({3})}, ...],
    ids=repr,
)
@pytest.mark.parametrize("serialization", ["msgpack", "pickle"])
def test_a_value_keeps_its_type(serialization: str, value: object) -> None:
    codec = Codec(serialization)

    format_, payload = codec.encode_value(value)
    there = codec.decode_value(format_, payload)

    assert (format_, there, type(there)) == (FORMAT_PICKLE, value, type(value))


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_payload_may_be_any_buffer(codec: Codec, wrap: Callable[[bytes], Any]) -> None:
    for each in (codec, Codec("json")):
        format_, payload = each.encode_call((1,), {"a": 2}, None, add)
        assert each.decode_call(format_, wrap(payload)) == ((1,), {"a": 2}, None, add)


def test_two_references_to_one_list_stay_one(codec: Codec) -> None:
    shared: list[int] = []

    left, right = codec.decode_value(*codec.encode_value([shared, shared]))

    assert left is right


def test_a_large_value_is_one_plain_pickle(codec: Codec) -> None:
    value = [bytes(200_000), "x" * 200_000, list(range(10_000))]

    _, payload = codec.encode_value(value)

    assert pickle.loads(payload) == value


def test_an_unknown_format_is_an_error(codec: Codec) -> None:
    with pytest.raises(ValueError, match="format 7"):
        codec.decode_value(7, b"")


@pytest.mark.parametrize("serialization", ["msgpack", "pickle", "json"])
def test_items_of_a_chunk_arrive_in_order(serialization: str) -> None:
    codec = Codec(serialization)

    assert codec.decode_items(*codec.encode_items([1, "b", None, [2]])) == [1, "b", None, [2]]
    assert codec.decode_items(*codec.encode_items([])) == []


def test_instances_of_classes_without_import_travel(codec: Codec) -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    there = codec.decode_value(*codec.encode_value(Local(3)))

    assert (type(there), there) == (Local, Local(3))


def test_values_of_main_go_by_value_even_where_pickle_would_name_them(codec: Codec) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("import typing\nT = typing.TypeVar('T')\nclass C:\n  x = 1\ndef f(): return C.x", namespace)

    for name in ("C", "f", "T"):
        _, payload = codec.encode_value({"deep": [namespace[name]]})
        code = "import pickle, sys; pickle.load(sys.stdin.buffer)"
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"], input=payload, check=True
        )


# --- blame ----------------------------------------------------------------------------------------------------------


def test_a_value_that_travels_has_no_blame() -> None:
    assert blame([1, {"a": lambda: 1}]) is None


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (LOCK, "", "_thread.lock"),
        ([1, {"a": [LOCK]}], "[1]['a'][0]", "_thread.lock"),
        ({"a": [0, 1, Holder(lock=LOCK)]}, "['a'][2].lock", "_thread.lock"),
        ((1, (2, LOCK)), "[1][1]", "_thread.lock"),
        ({LOCK}, "{<_thread.lock>}", "_thread.lock"),
        ({LOCK: 1}, ".keys()[<_thread.lock>]", "_thread.lock"),
        ({(1, 2): LOCK}, "[<tuple>]", "_thread.lock"),
        (Holder(a=1, b=Holder(c=LOCK)), ".b.c", "_thread.lock"),
        (Slotted(), ".lock", "_thread.lock"),
        (Point(1, LOCK), ".y", "_thread.lock"),
        (Named([1, LOCK]), ".data[1]", "_thread.lock"),
        (collections.OrderedDict(a=LOCK), "['a']", "_thread.lock"),
        (collections.deque([1, LOCK]), "[1]", "_thread.lock"),
        (Holder(lock=LOCK).method, ".__self__.lock", "_thread.lock"),
        ((number for number in [1]), "", "generator"),
        ([1, (number for number in [1])], "[1]", "generator"),
        (Reduced([LOCK]), ".__reduce__()[1][0][0]", "_thread.lock"),
        ({"k" * 50: LOCK}, f"['{'k' * 35} ...]", "_thread.lock"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_smallest_part_at_fault_is_found(codec: Codec, value: object, path: str, kind: str) -> None:
    with pytest.raises(SerializationError) as caught:
        codec.encode_value(value)

    assert (caught.value.where, caught.value.path, caught.value.type_name) == ("result", path, kind)
    assert kind.rpartition(".")[2] in caught.value.reason
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("args", "kwargs", "metadata", "where", "path"),
    [
        ((1, LOCK), {}, None, "argument 2", ""),
        ((1,), {"x": [LOCK]}, None, "argument 'x'", "[0]"),
        ((), {}, {"a": LOCK}, "metadata", "['a']"),
    ],
)
def test_the_argument_at_fault_is_named(
    codec: Codec, args: tuple[object, ...], kwargs: dict[str, object], metadata: object, where: str, path: str
) -> None:
    with pytest.raises(SerializationError) as caught:
        codec.encode_call(args, kwargs, metadata, None)

    assert (caught.value.where, caught.value.path) == (where, path)


def test_the_item_at_fault_is_named(codec: Codec) -> None:
    with pytest.raises(SerializationError) as caught:
        codec.encode_items([1, {"a": LOCK}, LOCK])

    assert (caught.value.where, caught.value.path) == ("item 1", "['a']")


def test_a_closure_over_a_lock_among_the_arguments_is_found(codec: Codec) -> None:
    lock = threading.Lock()

    with pytest.raises(SerializationError) as caught:
        codec.encode_call(([lambda: lock],), {}, None, None)

    assert (caught.value.where, caught.value.path) == ("argument 1", "[0].__closure__['lock']")


def test_a_cycle_around_the_culprit_ends(codec: Codec) -> None:
    first: list[object] = []
    second = [first, LOCK]
    first.append(second)

    with pytest.raises(SerializationError) as caught:
        codec.encode_value(first)

    assert caught.value.path == "[0][1]"


def test_a_wide_value_is_searched_only_so_far() -> None:
    tried = 0

    def refuse_whole(value: object) -> None:
        nonlocal tried
        tried += 1
        if isinstance(value, list):
            raise TypeError("no")

    found = blame(list(range(10 * MAX_BLAME_TRIES)), refuse_whole)

    assert found is not None
    assert (found.path, tried) == ("", MAX_BLAME_TRIES + 1)


def test_a_deep_value_is_searched_only_so_far(codec: Codec) -> None:
    value: object = LOCK
    for _ in range(100):
        value = [value]

    with pytest.raises(SerializationError) as caught:
        codec.encode_value(value)

    assert caught.value.path.startswith("[0][0][0]")


def test_a_value_too_deep_to_pickle_is_a_serialization_error(codec: Codec) -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]

    with pytest.raises(SerializationError, match="recursion"):
        codec.encode_value(value)


class FailsToReduce:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> NoReturn:
        raise self.error


class SaysNothing(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    "error", [ValueError("my\nreason"), SaysNothing(), Exception()], ids=lambda error: type(error).__name__
)
def test_a_value_whose_own_code_raises_is_to_blame(codec: Codec, error: Exception) -> None:
    with pytest.raises(SerializationError) as caught:
        codec.encode_value([FailsToReduce(error)])

    assert (caught.value.path, caught.value.type_name) == ("[0]", f"{__name__}.FailsToReduce")
    assert "\n" not in caught.value.reason
    assert caught.value.reason


def test_a_value_is_refused_rather_than_changed_into_another_type(codec: Codec) -> None:
    with open(os.devnull) as file, pytest.raises(SerializationError, match="cannot pickle"):
        codec.encode_value([file, lambda: 1])


# --- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "path", "became"),
    [
        ((1, 2), "", "a list"),
        ({"a": [1, (2,)]}, "['a'][1]", "a list"),
        ({1: "x"}, ".keys()[1]", "a str"),
        (b"bytes", "", "a str"),
        ({1, 2}, "", "a list"),
        ([float("nan")], "[0]", "a NoneType"),
        ([float("inf")], "[0]", "a NoneType"),
        (Point(1), "", "a dict"),
        (Colour.RED, "", "a int"),
        ([decimal.Decimal("1")], "[0]", "a str"),
    ],
    ids=repr,
)
def test_json_refuses_what_it_would_change(value: object, path: str, became: str) -> None:
    with pytest.raises(SerializationError) as caught:
        Codec("json").encode_value(value)

    assert (caught.value.path, caught.value.where) == (path, "result")
    assert became in caught.value.reason


@pytest.mark.parametrize("value", [LOCK, {"a": [LOCK]}, Holder(a=1), 1j, "\ud800"], ids=shown)
def test_json_refuses_what_it_does_not_know(value: object) -> None:
    with pytest.raises(SerializationError):
        Codec("json").encode_call((), {"x": value}, None, None)


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1e300, 2**53 + 1, -(2**63), 2**64 - 1, "ü\n\x00", [], {}, None, [[[]]]], ids=repr
)
def test_json_carries_what_it_can_exactly(value: object) -> None:
    codec = Codec("json")

    format_, payload = codec.encode_value(value)
    there = codec.decode_value(format_, payload)

    assert (format_, repr(there)) == (FORMAT_JSON, repr(value))


# --- errors ---------------------------------------------------------------------------------------------------------


class Unusual(Exception):
    """Pickle cannot rebuild it: `__init__` wants more than it passes on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class Doubling(Exception):
    """Pickle rebuilds it wrongly: the message is worded twice."""

    def __init__(self, code: object) -> None:
        super().__init__(f"code {code}")


class KeywordOnly(OSError):
    def __init__(self, *, path: str) -> None:
        super().__init__(2, "not found", path)


class OwnReduce(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.a, self.b = a, b

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnReduce, (self.a, self.b)


class BadReduce(Exception):
    def __reduce__(self) -> NoReturn:
        raise SystemExit("reduce")


class BadStr(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt("str")

    __repr__ = __str__


class BadUnpickle(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return operator.truediv, (1, 0)


class BadEverything(Exception):
    def __getattribute__(self, name: str) -> NoReturn:
        raise SystemExit(name)

    def __str__(self) -> str:
        raise SystemExit("str")

    def __reduce__(self) -> NoReturn:
        raise SystemExit("reduce")


class Imposter(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ()


class Group(ExceptionGroup[Exception]):
    pass


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def through(error: BaseException, task_id: str | None = "t-1", attempts: int = 2) -> BaseException:
    codec = Codec("msgpack")
    return codec.decode_error(codec.encode_error(raised(error)), task_id, attempts)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        ValueError(),
        KeyError("key"),
        Exception(1, "two", [3]),
        OSError(2, "no such file", "/path"),
        FileNotFoundError(2, "no such file", "/a", None, "/b"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad start"),
        StopIteration(5),
        SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)),
        ImportError("no", name="mod", path="p"),
        AttributeError("no"),
        SystemExit(3),
        KeyboardInterrupt("now"),
        GeneratorExit(),
        Mishap("text", 5),
        Unusual(7, "text"),
        Doubling(5),
        KeywordOnly(path="/x"),
        OwnReduce(1, 2),
        subprocess.CalledProcessError(3, ["cmd"], b"out"),
        WorkerCrashed(3, 11, task_id="other", attempts=1),
        SerializationError("result", "[1]", "lock", "no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_as_itself(error: BaseException) -> None:
    error.add_note("a note")

    there = through(error)

    assert type(there) is type(error)
    assert (str(there), there.args, vars(there)) == (str(error), error.args, vars(error))
    for name in ("errno", "filename", "filename2", "start", "reason", "lineno", "name", "path", "value", "code", "cmd"):
        assert getattr(there, name, None) == getattr(error, name, None), name


def test_the_traceback_of_the_other_side_is_the_cause() -> None:
    there = through(ValueError("here"))

    assert isinstance(there.__cause__, RemoteTraceback)
    assert "raise error" in str(there.__cause__)
    assert str(there.__cause__).endswith("ValueError: here\n")


def test_an_explicit_cause_is_rebuilt_and_the_text_stands_at_the_end_of_the_chain(codec: Codec) -> None:
    def work() -> None:
        try:
            try:
                raise Mishap("first", 3)
            except Mishap as error:
                raise KeyError("second") from error
        except KeyError as error:
            raise ValueError("third") from error

    with pytest.raises(ValueError, match="third") as caught:
        work()
    there = codec.decode_error(codec.encode_error(caught.value))

    assert isinstance(there.__cause__, KeyError)
    assert there.__context__ is there.__cause__
    first = there.__cause__.__cause__
    assert isinstance(first, Mishap)
    assert first.code == 3
    assert isinstance(first.__cause__, RemoteTraceback)
    shown = "".join(traceback.format_exception(there))
    assert [
        text for text in ("in work", "Mishap: ", "KeyError: 'second'", "ValueError: third") if text not in shown
    ] == []


def test_a_context_is_rebuilt_and_is_no_cause(codec: Codec) -> None:
    def work() -> None:
        try:
            raise Mishap("inner", 4)
        except Mishap:
            raise ValueError("outer")  # noqa: B904 - the context is the point

    with pytest.raises(ValueError, match="outer") as caught:
        work()
    there = codec.decode_error(codec.encode_error(caught.value))

    assert isinstance(there.__cause__, RemoteTraceback)
    assert isinstance(there.__context__, Mishap)
    assert there.__context__.code == 4


def test_members_of_a_group_keep_their_own_causes(codec: Codec) -> None:
    member = ValueError("member")
    member.__cause__ = Mishap("why", 5)
    there = codec.decode_error(codec.encode_error(ExceptionGroup("group", [member, KeyError("other")])))

    assert isinstance(there, ExceptionGroup)
    first, second = there.exceptions
    assert isinstance(first.__cause__, Mishap)
    assert isinstance(first.__cause__.__cause__, RemoteTraceback)
    assert isinstance(second.__cause__, RemoteTraceback)


def test_causes_that_go_in_a_circle_end_at_the_text(codec: Codec) -> None:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    there = codec.decode_error(codec.encode_error(one))

    assert isinstance(there.__cause__, KeyError)
    assert isinstance(there.__cause__.__cause__, RemoteTraceback)


def test_an_exception_that_is_its_own_cause_arrives(codec: Codec) -> None:
    error = ValueError("alone")
    error.__cause__ = error.__context__ = error

    assert isinstance(codec.decode_error(codec.encode_error(error)).__cause__, RemoteTraceback)


def test_members_that_point_back_to_their_group_do_not_grow_without_end(codec: Codec) -> None:
    members = [ValueError(number) for number in range(40)]
    group = ExceptionGroup("group", [ExceptionGroup("inner", members), *members])
    for member in members:
        member.__context__ = group
        member.__cause__ = members[0]
    payload = codec.encode_error(group)

    there = codec.decode_error(payload)
    assert isinstance(there, ExceptionGroup)
    assert len(there.exceptions) == 41


def test_a_chain_of_thousands_arrives_with_its_nearest_links(codec: Codec) -> None:
    error = ValueError(0)
    for number in range(1, 5000):
        error, below = ValueError(number), error
        error.__cause__ = below
    there: BaseException | None = codec.decode_error(codec.encode_error(error))

    numbers = []
    while isinstance(there, ValueError):
        numbers.append(there.args[0])
        there = there.__cause__
    assert numbers == list(range(4999, 4999 - MAX_CHAIN, -1))
    assert isinstance(there, RemoteTraceback)


def test_a_cause_that_cannot_be_rebuilt_arrives_as_a_failure_that_tells_its_type(codec: Codec) -> None:
    error = ValueError("outer")
    error.__cause__ = KeyError("inner", LOCK)
    there = codec.decode_error(codec.encode_error(error))

    assert isinstance(there.__cause__, TaskFailed)
    assert there.__cause__.type_name == "KeyError"
    assert "inner" in there.__cause__.message


def test_lines_of_code_that_only_the_reader_knows_are_put_into_the_text(codec: Codec) -> None:
    name, source = "<cell 17>", "def broken():\n    raise ValueError('in a cell')\n"
    scope: dict[str, Any] = {}
    exec(compile(source, name, "exec"), scope)
    with pytest.raises(ValueError, match="in a cell") as caught:
        scope["broken"]()
    payload = codec.encode_error(caught.value)

    assert "raise ValueError('in a cell')" not in str(codec.decode_error(payload).__cause__)
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    try:
        text = str(codec.decode_error(payload).__cause__)
    finally:
        del linecache.cache[name]
    assert "line 2, in broken\n    raise ValueError('in a cell')\nValueError: in a cell\n" in text


def test_causes_contexts_and_notes_are_in_the_text() -> None:
    def chain() -> None:
        try:
            try:
                raise KeyError("the deepest")
            except KeyError:
                raise ValueError("in between")  # noqa: B904 - the context is the point
        except ValueError as error:
            top = RuntimeError("the top")
            top.add_note("the note")
            raise top from error

    codec = Codec("msgpack")
    try:
        chain()
    except RuntimeError as error:
        there = codec.decode_error(codec.encode_error(error))

    assert there.__cause__ is not None
    text = str(there.__cause__.__cause__)
    assert [word for word in ("the deepest", "in between", "the top", "the note") if word not in text] == []
    assert "direct cause" in text
    assert "During handling" in text
    assert there.__notes__ == ["the note"]


@pytest.mark.parametrize(
    "error", [BadReduce("text"), BadUnpickle("text"), Imposter("text")], ids=lambda error: type(error).__name__
)
def test_an_exception_that_cannot_be_rebuilt_arrives_in_words(error: Exception) -> None:
    error.add_note("a note")

    there = through(error)

    assert type(there) in (TaskFailed, type(error))
    assert "text" in str(there)
    assert there.__notes__ == ["a note"]
    if isinstance(there, TaskFailed):
        assert (there.task_id, there.attempts) == ("t-1", 2)
        assert there.type_name == f"{__name__}.{type(error).__name__}"
        assert there.message == "text"
        assert there.traceback == str(there.__cause__)
        assert "raise error" in there.traceback


@pytest.mark.parametrize("kind", [BadStr, BadEverything])
def test_an_exception_that_cannot_even_be_printed_still_arrives(kind: type[Exception]) -> None:
    codec = Codec("msgpack")

    there = codec.decode_error(codec.encode_error(kind("text")), "t-1", 1)

    assert type(there) in (TaskFailed, kind)


def test_attributes_that_cannot_travel_stay_behind_and_the_type_remains() -> None:
    error = Unusual(7, "text")
    error.lock = LOCK  # type: ignore[attr-defined]
    error.kept = [1]  # type: ignore[attr-defined]

    there = through(error)

    assert type(there) is Unusual
    assert vars(there) == {"code": 7, "kept": [1]}
    assert str(there) == "text (7)"


def test_arguments_that_cannot_travel_leave_the_words() -> None:
    there = through(ValueError("text", LOCK))

    assert isinstance(there, TaskFailed)
    assert there.type_name == "ValueError"
    assert "text" in there.message


def test_an_exception_of_a_class_without_import_arrives_as_its_class() -> None:
    class Local(Exception):
        def __init__(self, code: int) -> None:
            super().__init__("local")
            self.code = code

    there = through(Local(4))

    assert type(there) is Local
    assert there.code == 4


def test_the_members_of_a_group_arrive_one_by_one() -> None:
    group = ExceptionGroup(
        "several", [ValueError("a"), Unusual(1, "b"), ValueError(LOCK), ExceptionGroup("in", [KeyError(1)])]
    )
    group.add_note("a note")

    there = through(group)

    assert isinstance(there, ExceptionGroup)
    assert there.message == "several"
    assert [type(each) for each in there.exceptions] == [ValueError, Unusual, TaskFailed, ExceptionGroup]
    assert isinstance(there.exceptions[0].__cause__, RemoteTraceback)
    assert there.__notes__ == ["a note"]
    assert there.split(KeyError)[0] is not None


def test_a_group_keeps_its_own_type() -> None:
    assert type(through(Group("g", [ValueError("a")]))) is Group
    assert type(through(BaseExceptionGroup("g", [KeyboardInterrupt()]))) is BaseExceptionGroup


def test_groups_within_groups_without_end_arrive_in_words() -> None:
    error: Exception = ValueError("inside")
    for _ in range(200):
        error = ExceptionGroup("g", [error])

    assert isinstance(through(error), ExceptionGroup)


def test_a_very_long_message_is_cut_in_the_words() -> None:
    there = through(ValueError("x" * 10_000_000, LOCK))

    assert isinstance(there, TaskFailed)
    assert len(there.message) < 200_000
    assert len(there.traceback) < 200_000


def test_a_message_with_lone_surrogates_arrives() -> None:
    assert str(through(ValueError("a\ud800b"))) == "a\ud800b"


def test_frames_of_localq_itself_are_left_out_of_the_traceback() -> None:
    from localq.model import Priority

    codec = Codec("msgpack")
    namespace: dict[str, Any] = {"__name__": "localq.somewhere", "parse": Priority.parse}
    exec("def call(function):\n  return function()", namespace)

    def users() -> NoReturn:
        raise LocalqError("from the user's function")

    try:
        namespace["call"](users)
    except LocalqError as error:
        error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr]  # this test's own frame
        text = str(codec.decode_error(codec.encode_error(error)).__cause__)

    assert "in call" not in text
    assert "in users" in text


def test_an_exception_of_a_script_arrives_as_the_class_of_that_script() -> None:
    script = textwrap.dedent(
        """
        import pickle, subprocess, sys
        from localq.codec import Codec
        class Oops(Exception):
            def __init__(self, code, text):
                super().__init__(text); self.code = code
        def fail(): raise Oops(5, "from the script")
        codec = Codec("msgpack")
        worker = '''
        import sys, pickle
        from localq.codec import Codec
        codec = Codec("msgpack")
        *_, f = codec.decode_call(*pickle.load(sys.stdin.buffer))
        try: f()
        except Exception as error: sys.stdout.buffer.write(codec.encode_error(error))
        '''
        sent = pickle.dumps(codec.encode_call((), {}, None, fail))
        payload = subprocess.run([sys.executable, "-c", worker], input=sent, capture_output=True, check=True).stdout
        try: raise codec.decode_error(payload, "t", 1)
        except Oops as error: print(error.code, error)
        """
    )

    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)

    assert (run.stdout, run.stderr) == ("5 from the script\n", "")


def test_pickling_what_the_pickler_can_costs_no_cloudpickle() -> None:
    code = (
        "import sys; from localq.codec import Codec; c = Codec('msgpack'); from decimal import Decimal;"
        "assert c.decode_value(*c.encode_value([Decimal(1), {2}])) == [Decimal(1), {2}];"
        "assert c.decode_error(c.encode_error(ValueError(1))).args == (1,);"
        "assert not {'cloudpickle', 'msgspec', 'typing', 'dataclasses', 'inspect'} & set(sys.modules) - before"
    )
    run = f"import sys; sys.path[:] = {sys.path!r}; before = set(sys.modules); {code}"
    subprocess.run([sys.executable, "-c", run], check=True)


def test_dumps_is_what_pickle_writes_where_nothing_goes_by_value() -> None:
    value = [1, "x", {2: (3, b"4")}, Point(1), Colour.RED]

    assert dumps(value) == pickle.dumps(value, 5)
