# SPDX-License-Identifier: MIT
"""Functions arrive as they are now: by name where they can be imported, by value elsewhere, never stale."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import functools
import importlib
import math
import operator
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localq import functions
from localq.errors import ConfigError, FunctionNotFound, SerializationError
from localq.functions import (
    KIND_NAME,
    KIND_REFERENCE,
    KIND_VALUE,
    MISSING,
    Captures,
    Task,
    by_reference,
    captures,
    decode_function,
    encode_function,
    registered,
    task,
)
from localq.model import Priority
from tests.support.ids import shown
from tests.support.payloads import Arrived
from tests.support.tasks import add


def plain(value: int) -> int:
    return value + 1


def after(value: int) -> int:
    return value + 2


@task(priority="high", timeout=2)
def tasked(value: int) -> int:
    """Its documentation."""
    return value * 10


class Importable:
    def method(self) -> str:
        return "method"

    @classmethod
    def made(cls) -> Importable:
        return cls()

    @staticmethod
    def static() -> str:
        return "static"


class Notebook:
    """A namespace that believes it is `__main__`, where cells are run one after the other."""

    def __init__(self) -> None:
        self.globals: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}

    def run(self, cell: str) -> None:
        exec(textwrap.dedent(cell), self.globals)

    def __getitem__(self, name: str) -> Any:
        return self.globals[name]

    def captures(self, name: str) -> Captures:
        found = captures(self[name])
        assert found is not None
        return found


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def travel(function: Callable[..., Any] | str) -> Callable[..., Any]:
    return decode_function(*encode_function(function))


def call_in_another_process(kind: int, payload: bytes, *args: object) -> object:
    """What a worker would return, in a process that shares nothing with this one."""
    code = (
        "import pickle, sys; sys.path[:] = pickle.loads(sys.stdin.buffer.read(int(sys.argv[1])));"
        "from localq.functions import decode_function;"
        "kind, payload, args = pickle.loads(sys.stdin.buffer.read());"
        "print(repr(decode_function(kind, payload)(*args)))"
    )
    path = pickle.dumps(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", code, str(len(path))],
        input=path + pickle.dumps((kind, payload, args)),
        capture_output=True,
        check=True,
    )
    return eval(run.stdout)


# --- by reference ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        plain,
        add,
        len,
        math.sqrt,
        operator.add,
        os.path.join,
        dict,
        Importable,
        Importable.made,
        Importable.static,
        Importable.method,
        tasked,
        os.getcwd,
        functools.reduce,
    ],
)
def test_what_can_be_imported_goes_by_its_name(function: Callable[..., Any]) -> None:
    kind, payload = encode_function(function)

    assert kind == KIND_REFERENCE
    assert payload == ":".join(by_reference(function) or ()).encode()
    assert decode_function(kind, payload) == function
    assert captures(function) is None


@pytest.mark.parametrize(
    "function",
    [
        lambda: 1,
        Importable().method,
        functools.partial(plain, 1),
        "-".join,
        operator.itemgetter(1),
        collections.OrderedDict.fromkeys,
    ],
)
def test_what_has_no_name_of_its_own_goes_by_value(function: Callable[..., Any]) -> None:
    assert by_reference(function) is None
    assert encode_function(function)[0] == KIND_VALUE
    assert captures(function) is not None


def test_a_local_function_has_no_reference() -> None:
    def local() -> None: ...

    assert by_reference(local) is None


def test_a_name_that_leads_to_another_object_is_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    original = plain
    monkeypatch.setattr(sys.modules[__name__], "plain", after)

    assert by_reference(original) is None
    assert travel(original)(1) == 2


def test_a_function_of_main_has_no_reference(notebook: Notebook) -> None:
    notebook.run("def f(): return 1")

    assert by_reference(notebook["f"]) is None
    assert encode_function(notebook["f"])[0] == KIND_VALUE


def test_a_value_that_is_no_callable_is_refused() -> None:
    with pytest.raises(ConfigError, match="int"):
        encode_function(3)  # type: ignore[arg-type]


def test_a_module_that_is_not_there_shows_where_it_was_looked_for() -> None:
    with pytest.raises(FunctionNotFound, match=r"no module 'nosuch'") as caught:
        decode_function(KIND_REFERENCE, b"nosuch.module:f")

    assert repr(sys.path[0]) in str(caught.value)
    assert caught.value.name == "nosuch.module:f"


def test_a_name_that_is_not_in_its_module_shows_the_file() -> None:
    with pytest.raises(FunctionNotFound, match=r"module 'tests.support.tasks' \(.*tasks.py\) has no 'gone'"):
        decode_function(KIND_REFERENCE, b"tests.support.tasks:gone")


def test_a_name_with_a_colon_is_found_by_import_where_no_task_has_it() -> None:
    assert decode_function(KIND_NAME, b"tests.support.tasks:add") is add
    made = task(name="lq.mail:send")(plain)
    assert decode_function(KIND_NAME, b"lq.mail:send") is made
    with pytest.raises(FunctionNotFound, match=r"no module 'lq'"):
        decode_function(KIND_NAME, b"lq.mail:nosuch")


@pytest.mark.parametrize("name", [b":", b"json:", b":loads"])
def test_half_a_name_is_no_function(name: bytes) -> None:
    with pytest.raises(FunctionNotFound, match="must be module:function"):
        decode_function(KIND_NAME, name)


def test_what_is_found_and_cannot_be_called_is_no_function() -> None:
    with pytest.raises(FunctionNotFound, match=r"'sep' in module 'os' is no function, but '/'"):
        decode_function(KIND_NAME, b"os:sep")


def test_a_module_that_fails_on_import_raises_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lq_needs_other.py").write_text("import lq_other_that_is_missing\n")
    (tmp_path / "lq_breaks.py").write_text("1 / 0\n")
    importlib.invalidate_caches()

    with pytest.raises(ModuleNotFoundError, match="lq_other_that_is_missing"):
        decode_function(KIND_REFERENCE, b"lq_needs_other:f")
    with pytest.raises(ZeroDivisionError):
        decode_function(KIND_REFERENCE, b"lq_breaks:f")


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="7"):
        decode_function(7, b"")


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_payload_may_be_any_buffer(wrap: Callable[[bytes], Any]) -> None:
    for function in (plain, functools.partial(plain, 1)):
        kind, payload = encode_function(function)
        assert decode_function(kind, wrap(payload)) is not None


# --- by value -------------------------------------------------------------------------------------------------------


def test_functions_of_main_run_in_a_process_that_has_another_main(notebook: Notebook) -> None:
    notebook.run(
        """
        import functools, math
        BASE = 100
        def helper(x): return BASE + x
        def recursive(n): return 1 if n < 2 else n * recursive(n - 1)
        def even(n): return True if n == 0 else odd(n - 1)
        def odd(n): return False if n == 0 else even(n - 1)
        @functools.cache
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        class Box:
            def __init__(self, x): self.x = x
            def get(self): return helper(self.x)
        def everything(n):
            floor = (lambda: math.floor(1.5))()
            return [helper(n), recursive(n), even(n), fib(n), Box(n).get(), floor, fib.cache_info()[3]]
        """
    )

    there = call_in_another_process(*encode_function(notebook["everything"]), 6)

    assert there == [106, 720, True, 8, 106, 1, 7]


def test_a_task_of_main_travels_even_where_it_calls_itself(notebook: Notebook) -> None:
    notebook.run(
        """
        from localq.functions import task
        @task(name="lq-test-recursive")
        def recursive(n): return 1 if n < 2 else n * recursive(n - 1)
        """
    )

    assert call_in_another_process(*encode_function(notebook["recursive"]), 5) == 120


def test_a_closure_and_a_default_travel() -> None:
    base = 40

    def closure(x: int, y: int = 1, *, z: int = 1) -> int:
        return base + x + y + z

    assert travel(closure)(0) == 42
    assert travel(functools.partial(closure, 0))() == 42


def test_large_constants_of_a_function_stay_apart_from_its_code() -> None:
    table = array.array("d", range(10_000))

    def look_up(index: int, default: Any = table) -> tuple[float, bool]:
        return table[index], default is table

    for function in (look_up, functools.partial(look_up, default=table), lambda index: look_up(index)):
        kind, payload = encode_function(function, buffers=True)
        assert (kind, len(payload.buffers)) == (KIND_VALUE, 1)
        assert decode_function(kind, Arrived(payload))(5) == (5.0, True)
    assert type(encode_function(lambda: 1, buffers=True)[1]) is bytes


def test_a_cached_local_function_keeps_its_limits() -> None:
    @functools.lru_cache(maxsize=7, typed=True)
    def cached(x: int) -> int:
        return x

    there: Any = travel(cached)

    assert there(3) == 3
    assert there.cache_parameters() == {"maxsize": 7, "typed": True}
    assert there.__name__ == "cached"


def test_a_class_of_main_that_comes_home_is_the_same_and_unchanged(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import pickle, subprocess, sys
            from localq.codec import Codec
            FACTOR = 2
            class Point:
                def __init__(self, x): self.x = x
                def scaled(self): return self.x * FACTOR
            def make(x): return Point(x)
            codec = Codec("msgpack")
            worker = (
                "import sys, pickle; from localq.codec import Codec; codec = Codec('msgpack');"
                "args, _, _, f = codec.decode_call(*pickle.load(sys.stdin.buffer));"
                "sys.stdout.buffer.write(pickle.dumps(codec.encode_value(f(*args))))"
            )
            sent = pickle.dumps(codec.encode_call((3,), {}, None, make))
            run = subprocess.run([sys.executable, "-c", worker], input=sent, capture_output=True, check=True)
            before = Point.scaled
            point = codec.decode_value(*pickle.loads(run.stdout))
            assert type(point) is Point, type(point)
            assert Point.scaled is before, "the class was written to"
            FACTOR = 10
            print(point.scaled())
            """
        )
    )

    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env)

    assert (run.stdout, run.stderr) == ("30\n", "")


@pytest.mark.parametrize(
    ("make", "path"),
    [
        ("def f(): return LOCK", ".__globals__['LOCK']"),
        ("def f(x=LOCK): return x", ".__defaults__[0]"),
        ("def f(*, x=LOCK): return x", ".__kwdefaults__['x']"),
        ("def f(): return NESTED", ".__globals__['NESTED']['a'][1]"),
        ("def g(): return LOCK\ndef f(): return g()", ".__globals__['g'].__globals__['LOCK']"),
        ("class C:\n  lock = LOCK\ndef f(): return C", ".__globals__['C'].lock"),
    ],
)
def test_a_function_that_cannot_travel_says_which_part_is_to_blame(notebook: Notebook, make: str, path: str) -> None:
    notebook.run("import threading\nLOCK = threading.Lock()\nNESTED = {'a': [0, LOCK]}")
    notebook.run(make)

    with pytest.raises(SerializationError) as caught:
        encode_function(notebook["f"])

    assert (caught.value.where, caught.value.path, caught.value.type_name) == ("function f", path, "_thread.lock")


def test_a_closure_over_a_lock_names_the_variable() -> None:
    lock = threading.Lock()

    with pytest.raises(SerializationError) as caught:
        encode_function(lambda: lock)

    assert (caught.value.path, caught.value.type_name) == (".__closure__['lock']", "_thread.lock")


# --- captures -------------------------------------------------------------------------------------------------------


DECORATED = """
import functools
X = 1
def decorate(g):
    @functools.wraps(g)
    def wrapper(): return g()
    return wrapper
@decorate
def f(): return X
"""

PARTIAL = "import functools\nX = 1\ndef g(y): return X + y\n"

CELL = """
def outer():
    {}
    def f(): return x
    def put():
        nonlocal x
        x = 2
    return f, put
f, put = outer()
"""

CHANGES = [
    ("a global bound anew", "X = 1\ndef f(): return X", "X = 2"),
    ("a global deleted", "X = 1\ndef f(): return X", "del X"),
    ("a global that appears later", "def f(): return LATER", "LATER = 1"),
    ("a builtin shadowed", "def f(): return sum([1])", "def sum(x): return 0"),
    ("a helper defined anew", "def g(): return 1\ndef f(): return g()", "def g(): return 2"),
    ("a helper's global", "X = 1\ndef g(): return X\ndef f(): return g()", "X = 2"),
    ("a helper's helper", "def h(): return 1\ndef g(): return h()\ndef f(): return g()", "def h(): return 2"),
    ("mutual recursion", "def f(n): return g(n)\ndef g(n): return f(n - 1)", "def g(n): return 0"),
    ("the function itself", "def f(n): return f(n - 1)\nF = f", "def f(n): return 0"),
    ("a name in a nested function", "X = 1\ndef f():\n  def g():\n    return X\n  return g()", "X = 2"),
    ("a name in a comprehension", "X = 1\ndef f(): return [X for _ in 'ab']", "X = 2"),
    ("a name in a lambda", "X = 1\nf = lambda: (lambda: X)()", "X = 2"),
    ("its code", "def f(): return 1\ndef other(): return 2", "f.__code__ = other.__code__"),
    ("its defaults", "def f(x=1): return x", "f.__defaults__ = (2,)"),
    ("its keyword defaults", "def f(*, x=1): return x", "f.__kwdefaults__ = {'x': 2}"),
    ("one keyword default", "def f(*, x=1): return x", "f.__kwdefaults__['x'] = 2"),
    ("an attribute of the function", "def f(): return f.limit\nf.limit = 1", "f.limit = 2"),
    ("an attribute it gets later", "def f(): return f.limit", "f.limit = 2"),
    ("a class defined anew", "class C: x = 1\ndef f(): return C.x", "class C: x = 2"),
    ("a class attribute", "class C: x = 1\ndef f(): return C.x", "C.x = 2"),
    ("a method replaced", "class C:\n  def m(self): return 1\ndef f(): return C().m()", "C.m = lambda self: 2"),
    ("a method's global", "X = 1\nclass C:\n  def m(self): return X\ndef f(): return C().m()", "X = 2"),
    ("a property's global", "X = 1\nclass C:\n  @property\n  def p(self): return X\ndef f(): return C().p", "X = 2"),
    (
        "a base class's method's global",
        "X = 1\nclass B:\n  def m(self): return X\nclass C(B): pass\ndef f(): return C().m()",
        "X = 2",
    ),
    ("a module bound anew", "import math as m\ndef f(): return m.pi", "import cmath as m"),
    ("a decorated function's global", DECORATED, "X = 2"),
    ("a cached function", "import functools\nX = 1\n@functools.cache\ndef f(): return X", "X = 2"),
    ("a partial's function's global", f"{PARTIAL}f = functools.partial(g, 1)", "X = 2"),
    ("a partial's keyword", f"{PARTIAL}f = functools.partial(g, y=1)", "f.keywords['y'] = 2"),
    ("a function in a tuple", "X = 1\ndef g(): return X\nT = (1, (g,))\ndef f(): return T", "X = 2"),
    ("a cell bound anew", CELL.format("x = 1"), "put()"),
    ("a cell filled later", CELL.format("if 0: x = 1"), "put()"),
    ("a task's function's global", f"from localq.functions import Task\n{PARTIAL}f = Task(g, name='n')", "X = 2"),
]  # fmt: skip


@pytest.mark.parametrize(("setup", "change"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_change_is_noticed(notebook: Notebook, setup: str, change: str) -> None:
    notebook.run(setup)
    found = notebook.captures("f")
    assert not found.volatile
    assert found.are_current()

    notebook.run(change)

    assert not found.are_current()


def test_what_did_not_change_stays_current(notebook: Notebook) -> None:
    notebook.run("X = 1\ndef g(): return X\ndef f(): return g() + len('a')\nf.__name__ = 'other'")
    found = notebook.captures("f")

    notebook.run("Y = 2\ndef unrelated(): return 3\nX = X")

    assert found.are_current()


IMMUTABLE = [
    None, True, 1, 1 << 80, 1.5, 1j, "s", b"b", range(3), ..., NotImplemented, (), (1, ("a",)), frozenset({1, (2,)}),
    math, os.path, plain, len, math.sqrt, Importable, dict, Priority.LOW, re.compile("x"), Path("/x"), uuid.UUID(int=1),
    datetime.date(2020, 1, 1), datetime.timedelta(1), decimal.Decimal("1"), tasked, list[int], int | str, "-".join,
    functools.partial(plain, 1), operator.itemgetter(1), types.SimpleNamespace, Importable.made, lambda: 1,
]  # fmt: skip

MUTABLE = [
    [], {}, set(), bytearray(b"x"), ([],), frozenset({Importable()}), Importable(), Importable().method, [].append,
    functools.partial(print, []), functools.partial(print, x=[]), collections.deque(), types.SimpleNamespace(),
    iter([]), lambda x=[]: x, types.ModuleType("made_up"), threading.local(),
]  # fmt: skip


@pytest.mark.parametrize("value", IMMUTABLE, ids=shown)
def test_a_captured_value_that_cannot_change_is_proved_by_identity(notebook: Notebook, value: object) -> None:
    notebook.globals["X"] = value
    notebook.run("def f(): return X")

    found = notebook.captures("f")

    assert not found.volatile
    assert found.checks[:3] == (notebook.globals, "X", value)


@pytest.mark.parametrize("value", MUTABLE, ids=shown)
def test_a_captured_value_that_can_change_in_place_is_volatile(notebook: Notebook, value: object) -> None:
    notebook.globals["X"] = value
    for cell in (
        "def f(): return X",
        "def f(x=X): return x",
        "def f(*, x=X): return x",
        "def f(): pass\nf.attribute = X",
        "def outer(x):\n  return lambda: x\nf = outer(X)",
        "def g(): return X\ndef f(): return g()",
        "class C: x = X\ndef f(): return C",
        "import functools\nf = functools.partial(print, X)",
    ):
        notebook.run(cell)
        assert notebook.captures("f").volatile, cell
        assert not notebook.captures("f").are_current()


def test_common_classes_of_main_are_not_volatile(notebook: Notebook) -> None:
    notebook.run(
        """
        import abc, collections, dataclasses, enum, typing
        class Plain:
            __slots__ = ("x",)
            "doc"
            limit: int = 3
            def __init__(self): self.x = 1
            @classmethod
            def made(cls): return cls()
            @staticmethod
            def static(): return 1
            @property
            def p(self): return self.x
        @dataclasses.dataclass
        class Data:
            a: int
            b: str = "x"
            c: list = dataclasses.field(default_factory=list)
        @dataclasses.dataclass(frozen=True)
        class Frozen:
            a: int = 1
        class Colour(enum.Enum):
            RED = 1
            BLUE = "b"
            def shout(self): return self.name
        Pair = collections.namedtuple("Pair", "a b")
        class Typed(typing.NamedTuple):
            a: int
            b: str = "x"
        class Base(abc.ABC):
            @abc.abstractmethod
            def m(self): ...
        class Oops(ValueError):
            def __init__(self, code): super().__init__(f"code {code}"); self.code = code
        T = typing.TypeVar("T")
        class Generic(typing.Generic[T]):
            def m(self): return 1
        class Protocol(typing.Protocol):
            def m(self): ...
        class Dict(typing.TypedDict):
            a: int
        FROZEN, PAIR, RED = Frozen(), Pair(1, 2), Colour.RED
        CLASSES = Plain, Data, Frozen, Colour, Pair, Typed, Base, Oops, Generic, Protocol, Dict, T
        def f(): return CLASSES, FROZEN, PAIR, RED
        """
    )

    found = notebook.captures("f")

    assert not found.volatile
    assert found.are_current()


def test_a_frozen_dataclass_with_a_list_is_volatile(notebook: Notebook) -> None:
    notebook.run(
        "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass D: a: list\nX = D([])\ndef f(): return X"
    )

    assert notebook.captures("f").volatile


def test_values_that_people_bind_anew_are_checked_first_and_absent_names_late(notebook: Notebook) -> None:
    notebook.run("import math\nX = 1\ndef g(): pass\ndef f(): return len(math, g, X)")

    checks = notebook.captures("f").checks
    rows = [checks[place : place + 3] for place in range(0, len(checks), 3)]

    assert rows[0] == (notebook.globals, "X", 1)
    assert [key for _, key, _ in rows[:4]] == ["X", "math", "g", "len"]
    assert rows[3] == (notebook.globals, "len", MISSING)
    assert len(rows) == 4 + 3 * 2


def test_no_check_stands_twice(notebook: Notebook) -> None:
    notebook.run("X = 1\ndef g(): return X, len(h())\ndef h(): return X, len(g())\ndef f(): return g(), h(), X, len")

    checks = notebook.captures("f").checks
    places = [(id(checks[place]), checks[place + 1]) for place in range(0, len(checks), 3)]

    assert len(places) == len(set(places))


def test_a_long_chain_of_functions_is_followed(notebook: Notebook) -> None:
    notebook.run("X = 1\ndef f0(): return X")
    for number in range(1, 101):
        notebook.run(f"def f{number}(): return f{number - 1}()")
    found = notebook.captures("f100")

    notebook.run("X = 2")

    assert not found.volatile
    assert not found.are_current()


# --- tasks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that ends with the test."""
    from localq import tasks

    monkeypatch.setattr(tasks, "registry", dict(tasks.registry))


def test_a_task_is_called_here_and_looks_like_its_function() -> None:
    assert tasked(4) == 40
    assert (tasked.name, tasked.priority, tasked.timeout) == (f"{__name__}.tasked", Priority.HIGH, 2.0)
    assert (tasked.queue, tasked.max_retries) == (None, None)
    assert (tasked.__name__, tasked.__doc__, tasked.__module__) == ("tasked", "Its documentation.", __name__)
    assert tasked.__wrapped__ is tasked.fn
    assert repr(tasked) == f"<Task {__name__}.tasked>"


def test_a_task_pickles_by_reference_where_it_can_be_imported() -> None:
    assert pickle.loads(pickle.dumps(tasked)) is tasked


def test_a_task_is_found_by_its_name_and_a_near_miss_is_put_right() -> None:
    assert registered(f"{__name__}.tasked") is tasked
    with pytest.raises(FunctionNotFound, match=re.escape(f"did you mean '{__name__}.tasked'")):
        registered(f"{__name__}.taskd")
    with pytest.raises(LookupError, match="may not be imported"):
        registered("zzzzzz")


@pytest.mark.usefixtures("registry")
def test_a_cell_that_runs_again_replaces_its_task(notebook: Notebook) -> None:
    notebook.run("from localq.functions import task\n@task\ndef f(): return 1")
    notebook.run("@task\ndef f(): return 2")

    assert registered("__main__.f") is notebook["f"]
    assert registered("__main__.f")() == 2


@pytest.mark.usefixtures("registry")
def test_one_name_for_two_functions_is_refused() -> None:
    task(name="same")(plain)

    with pytest.raises(ConfigError, match=r"'same' is taken by .*\.plain; .*\.after needs"):
        task(name="same")(after)
    assert registered("same").fn is plain


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": 3},
        {"queue": ""},
        {"queue": 3},
        {"priority": "urgent"},
        {"timeout": 0},
        {"timeout": "1"},
        {"timeout": True},
        {"timeout": float("nan")},
        {"max_retries": -1},
        {"max_retries": 16},
        {"max_retries": 1.0},
    ],
)
def test_an_option_that_is_not_allowed_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        task(**options)(plain)


def test_a_decorator_with_a_positional_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="keywords"):
        task("name")  # type: ignore[call-overload]


def test_a_name_that_only_workers_know_travels_as_a_name() -> None:
    assert encode_function("known.elsewhere") == (KIND_NAME, b"known.elsewhere")
    with pytest.raises(FunctionNotFound, match=r"known\.elsewhere"):
        travel("known.elsewhere")


@pytest.mark.usefixtures("registry")
def test_the_name_of_a_task_that_is_known_here_travels_like_the_task(notebook: Notebook) -> None:
    notebook.run("from localq.functions import task\n@task(name='mine')\ndef f(): return 7")

    assert encode_function("mine")[0] == KIND_VALUE
    assert call_in_another_process(*encode_function("mine")) == 7
    assert travel(f"{__name__}.tasked") is tasked


def test_everything_of_the_module_has_one_home() -> None:
    assert [name for name in functions.__all__ if not hasattr(functions, name)] == []
    assert isinstance(tasked, Task)
    assert issubclass(enum.IntEnum, enum.Enum)
