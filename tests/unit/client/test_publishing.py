# SPDX-License-Identifier: MIT
"""A function that is submitted runs as it is at that moment: by name, by value, redefined, rebound, never stale."""

from __future__ import annotations

import functools
import gc
import operator
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from localq import ConfigError, FunctionNotFound, LocalQueue, SerializationError, task
from tests.support import tasks
from tests.support.ids import shown
from tests.support.queues import PATIENCE, audit, lines_of
from tests.support.scripts import run_script


class Cell:
    """A notebook's namespace: each `run` executes a cell's text in it, as IPython does."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, text: str) -> None:
        exec(compile(text, "<cell>", "exec"), self.names)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


# ---- what can be called


class Scaled:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, value: int) -> int:
        return self.factor * value

    def __call__(self, value: int) -> int:
        return self.factor * value

    @classmethod
    def named(cls, value: int) -> str:
        return f"{cls.__name__}{value}"

    @staticmethod
    def plain(value: int) -> int:
        return value + 1


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (tasks.same, 6),
        (abs, 6),
        (operator.neg, -6),
        (str, "6"),
        ([1, 2].count, 0),
        ("a{}b".format, "a6b"),
        (lambda value: value * 2, 12),
        (functools.partial(tasks.add, 10), 16),
        (functools.partial(lambda left, right: left * right, 3), 18),
        (Scaled(3), 18),
        (Scaled(3).times, 18),
        (Scaled.named, "Scaled6"),
        (Scaled.plain, 7),
        (operator.methodcaller("bit_length"), 3),
    ],
    ids=lambda value: getattr(value, "__qualname__", shown(value))[:40],
)
def test_any_callable_can_be_submitted(q, function, expected):
    assert q.delay(function, 6).result(PATIENCE) == expected
    assert list(q.map(function, [6, 6])) == [expected] * 2


def test_an_importable_function_is_published_once(q):
    for _ in range(3):
        q.delay(tasks.add, 1).result(PATIENCE)
    entry = q._client.functions[tasks.add]
    q.delay(tasks.add, 1).result(PATIENCE)

    assert q._client.functions[tasks.add] is entry


def test_a_closure_that_captures_a_constant_is_published_once(q):
    def make(factor: int) -> Callable[[int], int]:
        return lambda value: value * factor

    double = make(2)
    q.delay(double, 1).result(PATIENCE)
    entry = q._client.functions[double]
    q.delay(double, 1).result(PATIENCE)

    assert q._client.functions[double] is entry


def test_a_callable_without_a_hash_can_be_submitted(q):
    class Bare:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, step: int) -> None:
            self.step = step

        def __call__(self, value: int) -> int:
            return value + self.step

    bare = Bare(2)
    assert q.delay(bare, 1).result(PATIENCE) == 3
    bare.step = 5
    assert q.delay(bare, 1).result(PATIENCE) == 6


def test_callables_that_are_equal_but_not_the_same_are_told_apart(q):
    class Same:
        def __init__(self, step: int) -> None:
            self.step = step

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

        def __call__(self, value: int) -> int:
            return value + self.step

    assert q.delay(Same(1), 0).result(PATIENCE) == 1
    assert q.delay(Same(2), 0).result(PATIENCE) == 2


def test_a_function_that_cannot_be_sent_is_refused_with_the_part_to_blame(q):
    lock = threading.Lock()

    with pytest.raises(SerializationError, match="lock"):
        q.delay(lambda: lock)

    assert q.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_recursive_closure_runs(q):
    def factorial(number: int) -> int:
        return 1 if number < 2 else number * factorial(number - 1)

    assert q.delay(factorial, 10).result(PATIENCE) == 3628800


# ---- never stale


def test_a_redefined_cell_runs_as_redefined(q):
    cell = Cell()
    cell.run("def f(x): return ('old', x)")
    assert q.delay(cell["f"], 1).result(PATIENCE) == ("old", 1)

    cell.run("def f(x): return ('new', x)")

    assert q.delay(cell["f"], 1).result(PATIENCE) == ("new", 1)
    assert list(q.map(cell["f"], [1, 2])) == [("new", 1), ("new", 2)]


def test_a_helper_redefined_in_another_cell_is_used_as_redefined(q):
    cell = Cell()
    cell.run("def helper(): return 'old'\ndef f(): return helper()")
    assert q.delay(cell["f"]).result(PATIENCE) == "old"

    cell.run("def helper(): return 'new'")

    assert q.delay(cell["f"]).result(PATIENCE) == "new"


def test_a_global_bound_anew_between_two_calls_is_seen(q):
    cell = Cell()
    cell.run("factor = 2\ndef f(x): return x * factor")
    found = []
    for factor in (2, 3, 4):
        cell.run(f"factor = {factor}")
        found.append(q.delay(cell["f"], 10))

    assert [future.result(PATIENCE) for future in found] == [20, 30, 40]


def test_tasks_that_wait_run_with_what_was_bound_when_they_were_submitted(lone, gate):
    cell = Cell()
    cell.run("factor = 1\ndef f(x): return x * factor")
    lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    futures = []
    for factor in range(1, 6):
        cell.run(f"factor = {factor}")
        futures.append(lone.delay(cell["f"], 10))
    gate.open()

    assert [future.result(PATIENCE) for future in futures] == [10, 20, 30, 40, 50]


def test_a_global_defined_after_the_function_is_seen(q):
    cell = Cell()
    cell.run("def f(): return later")
    assert isinstance(q.delay(cell["f"]).exception(PATIENCE), NameError)

    cell.run("later = 5")

    assert q.delay(cell["f"]).result(PATIENCE) == 5


def test_a_captured_list_that_grows_is_seen(q):
    seen: list[int] = []

    def total() -> int:
        return sum(seen)

    found = []
    for number in (1, 2, 3):
        seen.append(number)
        found.append(q.delay(total))

    assert [future.result(PATIENCE) for future in found] == [1, 3, 6]


def test_a_nonlocal_bound_anew_is_seen(q):
    step = 1

    def stepped(value: int) -> int:
        return value + step

    first = q.delay(stepped, 0)
    step = 7
    second = q.delay(stepped, 0)

    assert (first.result(PATIENCE), second.result(PATIENCE)) == (1, 7)


def test_a_default_changed_after_the_first_call_is_seen(q):
    def f(value: int = 1) -> int:
        return value

    assert q.delay(f).result(PATIENCE) == 1
    f.__defaults__ = (2,)

    assert q.delay(f).result(PATIENCE) == 2


def test_code_exchanged_after_the_first_call_is_seen(q):
    def f() -> int:
        return 1

    def g() -> int:
        return 2

    assert q.delay(f).result(PATIENCE) == 1
    f.__code__ = g.__code__

    assert q.delay(f).result(PATIENCE) == 2


def test_the_object_of_a_bound_method_is_taken_as_it_is_at_each_call(q):
    scaled = Scaled(2)
    assert q.delay(scaled.times, 5).result(PATIENCE) == 10
    scaled.factor = 3

    assert q.delay(scaled.times, 5).result(PATIENCE) == 15


def test_an_attribute_of_a_captured_object_that_changes_is_seen(q):
    settings = Scaled(2)

    def f() -> int:
        return settings.factor

    assert q.delay(f).result(PATIENCE) == 2
    settings.factor = 3

    assert q.delay(f).result(PATIENCE) == 3


def test_a_method_exchanged_in_a_class_of_a_cell_is_seen(q):
    cell = Cell()
    cell.run("class A:\n    def f(self): return 'old'\ndef call(): return A().f()")
    assert q.delay(cell["call"]).result(PATIENCE) == "old"

    cell.run("A.f = lambda self: 'new'")

    assert q.delay(cell["call"]).result(PATIENCE) == "new"


def constant(value: int) -> Callable[[], int]:
    """A new function for every call."""
    return lambda: value


def test_a_new_lambda_for_every_call_runs_each_time_and_fills_nothing():
    with LocalQueue(workers=1, result_cache_size=0) as queue:
        futures = [queue.delay(constant(number)) for number in range(2000)]

        assert [future.result(PATIENCE) for future in futures] == list(range(2000))
        assert len(queue._client.functions) < 1000
        audit(queue)


def test_more_functions_at_once_than_the_table_has_rows_all_run(gate):
    with LocalQueue(workers=1, capacity=6000) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        futures = [queue.delay(constant(number)) for number in range(5000)]
        gate.open()

        assert [future.result(PATIENCE) for future in futures] == list(range(5000))
        audit(queue)


def test_threads_that_submit_one_changing_function_each_get_what_they_bound(q):
    def run(number: int) -> None:
        cell = Cell()
        for turn in range(20):
            cell.run(f"value = {(number, turn)}\ndef f(): return value")
            found.append(q.delay(cell["f"]).result(PATIENCE) == (number, turn))

    found: list[bool] = []
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [True] * 80


# ---- tasks by name


@task(name="tests.tripled", priority="low", max_retries=2)
def tripled(value: int) -> int:
    return value * 3


@task
def plain(value: int) -> int:
    return value + 100


def test_a_registered_task_can_be_called_by_itself_and_by_name(q):
    assert q.delay(tripled, 2).result(PATIENCE) == 6
    assert q.delay("tests.tripled", 2).result(PATIENCE) == 6
    assert q.delay(plain, 2).result(PATIENCE) == 102
    assert q.delay(plain.name, 2).result(PATIENCE) == 102
    assert list(q.map("tests.tripled", [1, 2])) == [3, 6]
    assert q.submit_task("tests.tripled", (2,)).value == 6
    assert tripled(2) == 6


def test_an_unknown_name_is_the_task_s_own_error(q):
    error = q.delay("tests.trippled", 2).exception(PATIENCE)

    assert isinstance(error, FunctionNotFound)
    assert error.name == "tests.trippled"


def test_a_task_registered_again_under_its_name_runs_as_registered_last(q):
    cell = Cell()
    cell.run("from localq import task\n@task(name='tests.again')\ndef f(): return 'old'")
    assert q.delay("tests.again").result(PATIENCE) == "old"

    cell.run("@task(name='tests.again')\ndef f(): return 'new'")

    assert q.delay("tests.again").result(PATIENCE) == "new"
    assert q.delay(cell["f"]).result(PATIENCE) == "new"


def test_the_options_of_a_task_hold_unless_the_call_has_its_own(tmp_path, gate):
    cell = Cell()
    cell.run(
        "from localq import task\n"
        "from tests.support.tasks import record, fail\n"
        "@task(name='tests.urgent', priority='high', queue='b')\n"
        "def urgent(path): record(path, 'urgent')\n"
        "@task(name='tests.failing', max_retries=2)\n"
        "def failing(path): record(path, 'run'); fail()\n"
    )
    with LocalQueue(workers=1, queues=("a", "b")) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        queue.delay(tasks.record, str(tmp_path / "seen"), "calm")
        queue.delay(cell["urgent"], str(tmp_path / "seen"))
        assert [sum(levels) for levels in queue._space.depths()] == [1, 1]
        queue.options(queue="a", priority="low").delay(cell["urgent"], str(tmp_path / "seen"))
        assert [sum(levels) for levels in queue._space.depths()] == [2, 1]
        gate.open()

        assert queue.delay(cell["failing"], str(tmp_path / "runs")).exception(PATIENCE) is not None
        assert len(lines_of(tmp_path / "runs")) == 3
        assert queue.options(max_retries=0).delay("tests.failing", str(tmp_path / "once")).exception(PATIENCE)
        assert len(lines_of(tmp_path / "once")) == 1

    assert lines_of(tmp_path / "seen") == ["urgent", "calm", "urgent"]


def test_a_task_for_a_queue_that_is_not_there_is_refused_at_once(q):
    @task(name="tests.elsewhere", queue="elsewhere")
    def f() -> None: ...

    with pytest.raises(ConfigError, match="elsewhere"):
        q.delay(f)


# ---- as a program


def test_a_cached_function_of_a_script_runs(tmp_path):
    said = run_script(
        tmp_path,
        """
        import functools
        from localq import LocalQueue

        @functools.lru_cache(maxsize=None)
        def cached(x):
            return 0 if x == 0 else 1 + cached(x - 1)

        def use(x):
            return cached(x)

        with LocalQueue(workers=1) as q:
            print(q.delay(use, 5).result(), q.delay(cached, 5).result())
        """,
    )

    assert said == "5 5\n"


def test_a_script_without_a_guard_runs_functions_and_classes_of_its_own(tmp_path):
    said = run_script(
        tmp_path,
        """
        import dataclasses, enum
        from localq import LocalQueue, task

        class Kind(enum.Enum):
            A = 1

        @dataclasses.dataclass
        class Point:
            x: int
            kind: Kind = Kind.A

        class Trouble(Exception):
            pass

        FACTOR = 10

        def helper(x):
            return x * FACTOR

        def work(point):
            return Point(helper(point.x), point.kind)

        def fail():
            raise Trouble("mine", 7)

        @task(priority="high")
        def decorated(x):
            return helper(x) + 1

        async def later(x):
            return x

        q = LocalQueue(workers=1)
        print("started once")
        found = q.delay(work, Point(2)).result()
        print(found, type(found) is Point, found.kind is Kind.A)
        error = q.delay(fail).exception()
        print(repr(error), type(error) is Trouble)
        print(q.delay(decorated, 1).result(), q.delay("__main__.decorated", 2).result(), q.delay(later, 3).result())
        print([p.x for p in q.map(work, map(Point, range(3)))])
        FACTOR = 100
        print(q.delay(helper, 1).result())
        q.close()
        """,
    )

    assert said.splitlines() == [
        "started once",
        "Point(x=20, kind=<Kind.A: 1>) True True",
        "Trouble('mine', 7) True",
        "11 21 3",
        "[0, 10, 20]",
        "100",
    ]


def test_what_functions_by_value_hold_does_not_stay_in_memory_for_ever():
    with LocalQueue(workers=1) as queue:
        held = [Scaled(number) for number in range(40)]
        for scaled in held:
            scaled.ballast = bytes(1 << 20)  # type: ignore[attr-defined]
            assert queue.delay(functools.partial(scaled.times, 2)).result(PATIENCE) == 2 * scaled.factor
        ends = [weakref.ref(scaled) for scaled in held]
        del held, scaled

        gc.collect()
        assert sum(end() is not None for end in ends) <= 17
