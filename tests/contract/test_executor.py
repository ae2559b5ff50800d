# SPDX-License-Identifier: MIT
"""What the standard library promises of `ProcessPoolExecutor`, asked of that one and of `LocalExecutor`.

Every test runs against both. What only one can do (younger than the Python that runs this, or deliberately better) has
tests of its own at the end, whose names say what differs.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from localq import LocalExecutor, LocalQueue, SerializationError, WorkerCrashed, WorkersEnded
from tests.support import tasks
from tests.support.queues import PATIENCE, is_gone, lines_of
from tests.support.scripts import run_script
from tests.support.waiting import Gate, eventually

# Of a fork beside threads, from 3.12 on: what the standard library's executor does here, and has always done.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

Make = Callable[..., Any]
STANDARD, OURS = "standard", "localq"
UNTIL_3_14 = sys.version_info < (3, 14)


class Maker:
    """Makes executors of one kind, and sees them end."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._made: list[weakref.ref[Executor]] = []

    def __call__(self, max_workers: int | None = 2, **arguments: Any) -> Any:
        if self.kind == OURS:
            executor: Executor = LocalExecutor(max_workers, **arguments)
        else:
            if "max_tasks_per_child" not in arguments:
                arguments.setdefault("mp_context", multiprocessing.get_context("fork"))
            executor = ProcessPoolExecutor(max_workers, **arguments)
        self._made.append(weakref.ref(executor))
        return executor

    def end(self) -> None:
        for made in self._made:
            executor = made()
            if executor is not None:
                executor.shutdown(cancel_futures=True)


@pytest.fixture(params=[STANDARD, OURS])
def make(request: pytest.FixtureRequest) -> Iterator[Maker]:
    maker = Maker(request.param)
    yield maker
    maker.end()


@pytest.fixture
def ours() -> Iterator[Maker]:
    maker = Maker(OURS)
    yield maker
    maker.end()


@pytest.fixture(params=[pytest.param(STANDARD, marks=pytest.mark.skipif(UNTIL_3_14, reason="new in 3.14")), OURS])
def make_3_14(request: pytest.FixtureRequest) -> Iterator[Maker]:
    """For what the standard library has since 3.14, and we have everywhere."""
    maker = Maker(request.param)
    yield maker
    maker.end()


@pytest.fixture
def gate(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gate]:
    """Opens before the executors of the test are waited for."""
    for name in ("make", "ours", "make_3_14"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
    with Gate(tmp_path) as held:
        yield held


def is_collected(known: weakref.ref[Any]) -> bool:
    return known() is None


def run_at_gate(executor: Any, gate: Gate, count: int = 1) -> list[Future[Any]]:
    """Futures of tasks that run, held at the gate."""
    held = [executor.submit(tasks.slow, gate.path, number) for number in range(count)]
    gate.wait_for_arrivals(count)
    return held


def fill_behind(executor: Any, path: str, count: int = 8) -> list[Future[Any]]:
    """Tasks that would each leave a line; so many that the standard library's do not all count as running."""
    return [executor.submit(tasks.record, path, str(number)) for number in range(count)]


# ---- submit


def test_an_executor_is_one_of_concurrent_futures_and_so_are_its_futures(make):
    with make() as executor:
        assert isinstance(executor, Executor)
        assert isinstance(executor.submit(tasks.noop), Future)


def test_submit_returns_the_result_of_the_call(make):
    with make() as executor:
        assert executor.submit(pow, 2, 10).result(PATIENCE) == 1024


def test_every_keyword_argument_goes_to_the_function(make):
    with make() as executor:
        future = executor.submit(tasks.echo, 1, self=2, fn=3, args=4, timeout=5)

        assert future.result(PATIENCE) == ((1,), {"self": 2, "fn": 3, "args": 4, "timeout": 5})


@pytest.mark.parametrize("keywords", [{"fn": tasks.noop}, {}])
def test_submit_without_a_positional_function_is_a_type_error(make, keywords):
    with make() as executor, pytest.raises(TypeError):
        executor.submit(**keywords)


@pytest.mark.parametrize("thing", [None, 3, ["list"]])
def test_what_cannot_be_called_fails_its_future_with_a_type_error(make, thing):
    with make() as executor:
        future = executor.submit(thing, 1)

        assert isinstance(future.exception(PATIENCE), TypeError)
        assert "not callable" in str(future.exception())


def test_an_exception_comes_back_with_its_type_its_attributes_and_the_traceback_as_cause(make):
    with make() as executor:
        error = executor.submit(tasks.fail, "no paper", code=3).exception(PATIENCE)

    assert type(error) is tasks.Mishap
    assert (error.args, error.code) == (("no paper", 3), 3)
    assert "in fail" in str(error.__cause__)


def test_an_argument_that_cannot_be_pickled_fails_its_future_only(make):
    with make() as executor:
        bad, good = executor.submit(tasks.same, threading.Lock()), executor.submit(tasks.same, 1)

        with pytest.raises(TypeError, match="lock"):
            bad.result(PATIENCE)
        assert good.result(PATIENCE) == 1


def test_a_function_that_cannot_be_pickled_fails_its_future_only(make):
    with make() as executor:
        bad, good = executor.submit(threading.Lock().acquire), executor.submit(tasks.same, 1)

        with pytest.raises(TypeError, match="lock"):
            bad.result(PATIENCE)
        assert good.result(PATIENCE) == 1


def test_a_result_that_cannot_be_pickled_fails_its_future_only(make):
    with make() as executor:
        bad, good = executor.submit(threading.Lock), executor.submit(tasks.same, 1)

        with pytest.raises(TypeError, match="lock"):
            bad.result(PATIENCE)
        assert good.result(PATIENCE) == 1


def test_two_workers_run_two_tasks_at_once_in_processes_of_their_own(make, gate):
    with make(2) as executor:
        run_at_gate(executor, gate, 2)

        assert len({os.getpid(), *gate.arrivals()}) == 3
        gate.open()


def test_submit_returns_at_once_though_nothing_is_run(make, gate):
    executor = make(1)
    (held,) = run_at_gate(executor, gate)

    futures = [executor.submit(tasks.noop) for _ in range(2000)]

    assert not held.done()
    assert not futures[-1].done()
    executor.shutdown(wait=False, cancel_futures=True)
    gate.open()


def test_several_threads_may_submit_at_once(make):
    with make() as executor, ThreadPoolExecutor(4) as threads:
        futures = list(threads.map(lambda number: executor.submit(tasks.same, number), range(200)))

        assert [future.result(PATIENCE) for future in futures] == list(range(200))


# ---- futures


def test_a_running_future_says_so_and_is_not_done(make, gate):
    with make(1) as executor:
        (future,) = run_at_gate(executor, gate)

        assert (eventually(future.running), future.done(), future.cancelled()) == (True, False, False)
        gate.open()
        assert future.result(PATIENCE) == 0
        assert (future.running(), future.done(), future.cancelled()) == (False, True, False)


def test_cancel_of_a_running_task_returns_false_and_the_task_goes_on(make, gate):
    with make(1) as executor:
        (future,) = run_at_gate(executor, gate)

        assert eventually(future.running)
        assert future.cancel() is False
        gate.open()
        assert future.result(PATIENCE) == 0


def test_a_cancelled_task_never_runs_and_its_future_raises_cancelled_error(make, gate, tmp_path):
    path = str(tmp_path / "lines")
    with make(1) as executor:
        run_at_gate(executor, gate)
        *_, last = fill_behind(executor, path)

        assert last.cancel() is True
        assert last.cancel() is True
        assert (last.cancelled(), last.done(), last.running()) == (True, True, False)
        with pytest.raises(CancelledError):
            last.result(PATIENCE)
        with pytest.raises(CancelledError):
            last.exception(PATIENCE)
        gate.open()
    assert "7" not in lines_of(path)


def test_cancel_of_a_task_that_is_done_returns_false(make):
    with make() as executor:
        future = executor.submit(tasks.noop)
        future.result(PATIENCE)

        assert future.cancel() is False


def test_waiting_for_a_result_ends_with_timeout_error_and_the_task_goes_on(make, gate):
    with make(1) as executor:
        (future,) = run_at_gate(executor, gate)

        with pytest.raises(TimeoutError):
            future.result(0.01)
        with pytest.raises(TimeoutError):
            future.exception(timeout=0)
        gate.open()
        assert future.exception(PATIENCE) is None


def test_wait_takes_our_futures_and_others_together(make, gate):
    with make() as executor, ThreadPoolExecutor(1) as threads:
        (held,) = run_at_gate(executor, gate)
        mixed = [executor.submit(tasks.same, 1), threads.submit(tasks.same, 2)]

        done, not_done = wait([held, *mixed], timeout=PATIENCE, return_when=FIRST_COMPLETED)
        assert held in not_done
        assert done
        assert wait(mixed, PATIENCE, ALL_COMPLETED) == (set(mixed), set())
        gate.open()
        assert wait([held, *mixed], PATIENCE).not_done == set()


def test_wait_ends_at_the_first_exception(make, gate):
    with make() as executor:
        (held,) = run_at_gate(executor, gate)
        failing = executor.submit(tasks.fail)

        assert wait([held, failing], PATIENCE, FIRST_EXCEPTION) == ({failing}, {held})
        gate.open()


def test_wait_returns_what_is_done_when_time_ran_out(make, gate):
    with make() as executor:
        (held,) = run_at_gate(executor, gate)

        assert wait([held], 0.01) == (set(), {held})
        gate.open()


def test_as_completed_gives_our_futures_and_others_as_they_finish(make, gate):
    with make() as executor, ThreadPoolExecutor(1) as threads:
        (held,) = run_at_gate(executor, gate)
        others = {executor.submit(tasks.same, 1), threads.submit(tasks.same, 2)}
        found = as_completed([held, *others], PATIENCE)

        assert {next(found), next(found)} == others
        gate.open()
        assert next(found) is held


def test_as_completed_ends_with_timeout_error(make, gate):
    with make() as executor:
        (held,) = run_at_gate(executor, gate)

        with pytest.raises(TimeoutError):
            list(as_completed([held], timeout=0.01))
        gate.open()


# ---- callbacks


def test_callbacks_get_the_future_in_order_in_a_thread_of_this_process(make, gate):
    called: list[tuple[str, Future[Any], int]] = []

    def note(name: str, done: Future[Any]) -> None:
        called.append((name, done, os.getpid()))

    with make(1) as executor:
        (future,) = run_at_gate(executor, gate)
        for name in "abc":
            future.add_done_callback(partial(note, name))
        gate.open()

        eventually(lambda: len(called) == 3)
    assert called == [(name, future, os.getpid()) for name in "abc"]


def test_a_callback_added_late_is_called_at_once_in_the_thread_that_adds_it(make):
    with make() as executor:
        future = executor.submit(tasks.noop)
        future.result(PATIENCE)
        called: list[int] = []

        future.add_done_callback(lambda done: called.append(threading.get_ident()))

    assert called == [threading.get_ident()]


def test_a_callback_that_raises_is_logged_and_the_others_are_called(make, gate, caplog):
    called: list[Future[Any]] = []
    with make(1) as executor:
        (future,) = run_at_gate(executor, gate)
        future.add_done_callback(lambda done: 1 // 0)
        future.add_done_callback(called.append)
        gate.open()

        eventually(lambda: called == [future])
    (logged,) = caplog.records
    assert (logged.name, logged.exc_info[0]) == ("concurrent.futures", ZeroDivisionError)
    caplog.clear()  # its traceback keeps the future


def test_a_cancelled_future_calls_back(make, gate):
    called: list[bool] = []
    with make(1) as executor:
        run_at_gate(executor, gate)
        *_, last = [executor.submit(tasks.noop) for _ in range(8)]
        last.add_done_callback(lambda done: called.append(done.cancelled()))

        last.cancel()

        eventually(lambda: called == [True])
        gate.open()


def test_a_callback_may_submit(make):
    results: list[int] = []
    with make() as executor:

        def go_on(done: Future[int]) -> None:
            if done.result() < 5:
                executor.submit(tasks.add, done.result()).add_done_callback(go_on)
            else:
                results.append(done.result())

        executor.submit(tasks.same, 0).add_done_callback(go_on)
        eventually(lambda: results == [5])


# ---- map


def test_map_gives_results_in_order_and_stops_with_the_shortest(make):
    with make() as executor:
        assert list(executor.map(pow, range(5), itertools.repeat(2))) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("chunksize", [1, 3, 10, 100])
def test_map_with_any_chunksize_gives_the_same(make, chunksize):
    with make() as executor:
        assert list(executor.map(pow, range(10), range(10), chunksize=chunksize)) == [n**n for n in range(10)]


@pytest.mark.parametrize("iterables", [(), ([],), ([1], [])])
def test_map_of_nothing_gives_nothing(make, iterables):
    with make() as executor:
        assert list(executor.map(pow, *iterables)) == []


@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_chunksize_below_one_is_a_value_error(make, chunksize):
    with make() as executor, pytest.raises(ValueError, match="chunksize must be >= 1"):
        executor.map(abs, [1], chunksize=chunksize)


def test_map_reads_its_iterables_and_submits_before_it_returns(make, tmp_path):
    path = str(tmp_path / "lines")
    numbers = iter(range(4))
    with make() as executor:
        executor.map(tasks.record, itertools.repeat(path), map(str, numbers))  # nobody asks for the results

        assert list(numbers) == []
    assert sorted(lines_of(path)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("chunksize", [1, 2])
def test_an_error_is_raised_in_its_place_and_ends_the_iteration(make, chunksize):
    with make() as executor:
        results = executor.map(tasks.fail_if_odd, [0, 2, 3, 4], chunksize=chunksize)

        assert [next(results), next(results)] == [0, 2]
        with pytest.raises(tasks.Mishap):
            next(results)
        assert list(results) == []


def test_an_error_of_the_iterable_is_raised_by_map_itself(make):
    with make() as executor, pytest.raises(ZeroDivisionError):
        executor.map(abs, (1 // number for number in (1, 0)))


def test_map_raises_timeout_error_when_a_result_is_not_there_in_time(make, gate):
    with make(1) as executor:
        results = executor.map(tasks.slow, [gate.path], timeout=0.05)

        with pytest.raises(TimeoutError):
            next(results)
        gate.open()


def test_map_gives_what_is_there_though_time_ran_out(make, gate):
    with make(2) as executor:
        executor.submit(tasks.noop).result(PATIENCE)
        results = executor.map(tasks.slow, [gate.path] * 2, [1, 2], timeout=0)
        gate.open()
        executor.submit(tasks.noop).result(PATIENCE)
        executor.shutdown()

        assert list(results) == [1, 2]


@pytest.mark.parametrize("way", ["closed", "dropped", "failed", "late"])
def test_what_has_not_started_is_cancelled_with_the_iterator_of_map(make, gate, tmp_path, way):
    path = tmp_path / "lines"
    first = (tasks.fail,) if way == "failed" else (tasks.noop,)
    calls = [first, (tasks.slow, gate.path), *((tasks.record, str(path), str(number)) for number in range(9))]
    with make(1) as executor:
        executor.submit(tasks.noop).result(PATIENCE)
        results = executor.map(tasks.call, calls, timeout=0.5 if way == "late" else None)
        if way == "failed":
            with pytest.raises(tasks.Mishap):
                next(results)
        else:
            assert next(results) is None
            gate.wait_for_arrivals(1)
        if way == "closed":
            results.close()
        elif way == "late":
            with pytest.raises(TimeoutError):
                next(results)
        del results

        gate.open()
    assert not {"6", "7", "8"} & set(lines_of(path))


def test_the_iterator_of_map_keeps_no_result_alive(make):
    with make() as executor:
        for value in executor.map(tasks.Mishap, "abc"):
            known = weakref.ref(value)
            del value
            gc.collect()

            eventually(partial(is_collected, known))


@pytest.mark.parametrize(
    ("buffersize", "error"), [(1.5, TypeError), ("2", TypeError), (0, ValueError), (-1, ValueError)]
)
def test_a_buffersize_that_is_no_number_of_tasks_is_refused(make_3_14, buffersize, error):
    with make_3_14() as executor, pytest.raises(error, match="buffersize must be"):
        executor.map(abs, [1], buffersize=buffersize)


def test_map_with_a_buffersize_reads_an_endless_iterable_no_further(make_3_14):
    numbers = itertools.count()
    with make_3_14() as executor:
        results = executor.map(abs, numbers, buffersize=3)

        assert next(numbers) == 3
        assert [next(results), next(results)] == [0, 1]
        assert next(numbers) == 6


@pytest.mark.parametrize("buffersize", [1, 2, 100])
def test_map_with_a_buffersize_gives_everything_in_order(make_3_14, buffersize):
    with make_3_14() as executor:
        assert list(executor.map(pow, range(9), [2] * 9, buffersize=buffersize)) == [n * n for n in range(9)]


def test_a_buffer_holds_chunks(make_3_14):
    numbers = itertools.count()
    with make_3_14() as executor:
        results = executor.map(abs, numbers, chunksize=5, buffersize=2)

        assert next(numbers) == 10
        assert next(results) == 0


# ---- shutdown


def test_after_shutdown_nothing_can_be_submitted(make):
    executor = make()
    executor.shutdown()

    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(tasks.noop)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(abs, [1])


def test_shutdown_may_be_called_again(make):
    executor = make()
    executor.submit(tasks.noop)

    executor.shutdown()
    executor.shutdown(wait=False)
    executor.shutdown(cancel_futures=True)


def test_shutdown_waits_until_everything_is_done(make):
    executor = make()
    futures = [executor.submit(tasks.same, number) for number in range(100)]

    executor.shutdown()

    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == list(range(100))


def test_shutdown_without_waiting_returns_and_what_was_submitted_is_done(make, gate, tmp_path):
    path = str(tmp_path / "lines")
    executor = make(1)
    (held,) = run_at_gate(executor, gate)
    futures = fill_behind(executor, path)

    executor.shutdown(wait=False)

    assert not held.done()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(tasks.noop)
    gate.open()
    assert held.result(PATIENCE) == 0
    assert len([future.result(PATIENCE) for future in futures]) == 8


def test_shutdown_can_cancel_what_has_not_started_and_leaves_what_runs(make, gate, tmp_path):
    path = str(tmp_path / "lines")
    executor = make(1)
    (held,) = run_at_gate(executor, gate)
    futures = fill_behind(executor, path, 20)
    threading.Timer(0.05, gate.open).start()

    executor.shutdown(cancel_futures=True)

    assert held.result(0) == 0
    assert all(future.done() for future in futures)
    assert futures[-1].cancelled()
    assert len(lines_of(path)) == sum(not future.cancelled() for future in futures)


def test_leaving_the_with_block_waits_also_after_an_error(make):
    with pytest.raises(ZeroDivisionError), make() as executor:  # noqa: PT012 - the block is what is tested
        futures = [executor.submit(tasks.same, number) for number in range(50)]
        raise ZeroDivisionError

    assert [future.result(0) for future in futures] == list(range(50))


def test_the_workers_are_gone_after_shutdown(make, gate):
    executor = make(2)
    run_at_gate(executor, gate, 2)
    gate.open()

    executor.shutdown()

    assert all(is_gone(pid) for pid in gate.arrivals())


def test_an_executor_that_was_dropped_finishes_what_it_took_and_its_workers_end(make, gate):
    executor = make(1)
    (held,) = run_at_gate(executor, gate)
    behind = executor.submit(tasks.same, 5)
    known = weakref.ref(executor)

    del executor
    gc.collect()

    assert known() is None
    gate.open()
    assert (held.result(PATIENCE), behind.result(PATIENCE)) == (0, 5)
    eventually(lambda: all(is_gone(pid) for pid in gate.arrivals()))


def test_an_executor_that_was_dropped_with_its_futures_does_not_stay(make, gate):
    executor = make(1)
    run_at_gate(executor, gate)

    del executor
    gc.collect()
    gate.open()

    eventually(lambda: all(is_gone(pid) for pid in gate.arrivals()))  # and the check after each test asks for the rest


IMPORTS = {
    STANDARD: "from concurrent.futures import ProcessPoolExecutor as Executor",
    OURS: "from localq import LocalExecutor as Executor",
}


@pytest.mark.parametrize("kind", [STANDARD, OURS])
def test_work_is_finished_when_the_interpreter_ends(kind, tmp_path):
    shown = run_script(
        tmp_path,
        f"""
        import time
        {IMPORTS[kind]}
        def work(number):
            time.sleep(0.02)
            print(number, flush=True)
            return number
        executor = Executor(1)
        futures = [executor.submit(work, number) for number in range(5)]
        futures[-1].add_done_callback(lambda done: print("called back", done.result(), flush=True))
        """,
    )

    assert shown.split("\n") == [*"01234", "called back 4", ""]


@pytest.mark.parametrize("kind", [STANDARD, OURS])
def test_nothing_can_be_submitted_once_the_interpreter_has_ended_its_threads(kind, tmp_path):
    shown = run_script(
        tmp_path,
        f"""
        import atexit
        {IMPORTS[kind]}
        @atexit.register
        def late():
            try:
                executor.submit(pow, 2, 3)
            except RuntimeError as error:
                print(error)
        executor = Executor(1)
        executor.submit(pow, 2, 3)
        """,
    )

    assert re.fullmatch("cannot schedule new futures after (interpreter )?shutdown\n", shown)


# ---- workers


def test_the_initializer_runs_in_each_worker_before_its_first_task(make, gate, tmp_path):
    path = str(tmp_path / "lines")
    with make(2, initializer=tasks.record, initargs=(path, "ready")) as executor:
        run_at_gate(executor, gate, 2)

        assert lines_of(path) == ["ready", "ready"]
        gate.open()


def test_an_initializer_that_raises_breaks_the_executor(make):
    executor = make(1, initializer=tasks.fail)
    with pytest.raises(BrokenProcessPool):
        executor.submit(tasks.noop).result(PATIENCE)

    def is_broken() -> bool:
        with pytest.raises(BrokenProcessPool):
            executor.submit(tasks.noop)
        return True

    eventually(is_broken)


@pytest.mark.parametrize("thing", [1, "print", ()])
def test_an_initializer_that_cannot_be_called_is_a_type_error(make, thing):
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(initializer=thing)


def test_initargs_may_hold_a_lock_of_multiprocessing(make):
    lock = multiprocessing.get_context("fork").Lock()
    with make(1, initializer=tasks.keep, initargs=(lock,)) as executor:
        with lock:
            assert executor.submit(tasks.try_kept).result(PATIENCE) is False
        assert executor.submit(tasks.try_kept).result(PATIENCE) is True


@pytest.mark.slow
@pytest.mark.parametrize("kind", [STANDARD, OURS])
@pytest.mark.parametrize("arguments", ["", "initializer=print, initargs=('ready',)"])
def test_tasks_may_use_a_manager_of_multiprocessing(kind, arguments, tmp_path):
    shown = run_script(
        tmp_path,
        f"""
        import multiprocessing
        {IMPORTS[kind]}
        from tests.support import tasks
        if __name__ == "__main__":
            with multiprocessing.Manager() as manager:
                queue, found = manager.Queue(), manager.dict()
                with Executor(1, {arguments}) as executor:
                    executor.submit(queue.put, "queued").result()
                    executor.submit(tasks.call, (found.update, {{"a": 1}})).result()
                print(queue.get(), dict(found))
        """,
    )

    assert shown.splitlines()[-1] == "queued {'a': 1}"
    assert ("ready" in shown) == bool(arguments)


def test_a_fork_context_has_workers_inherit_the_globals_of_this_process(make):
    tasks.kept.append("inherited")
    try:
        with make(1, mp_context=multiprocessing.get_context("fork")) as executor:
            assert executor.submit(tasks.last_kept).result(PATIENCE) == "inherited"
    finally:
        tasks.kept.clear()


# The standard library's tracker of semaphores outlives its pool, so these are programs of their own.


@pytest.mark.slow
@pytest.mark.parametrize("kind", [STANDARD, OURS])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_context_of_another_kind_has_workers_start_clean(kind, method, tmp_path):
    shown = run_script(
        tmp_path,
        f"""
        import multiprocessing
        {IMPORTS[kind]}
        from tests.support import tasks
        if __name__ == "__main__":
            tasks.keep("not inherited")
            with Executor(1, mp_context=multiprocessing.get_context("{method}")) as executor:
                print(executor.submit(tasks.last_kept).result())
        """,
    )

    assert shown == "None\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [STANDARD, OURS])
def test_a_worker_is_replaced_after_as_many_tasks_as_it_may_do(kind, tmp_path):
    shown = run_script(
        tmp_path,
        f"""
        {IMPORTS[kind]}
        from tests.support import tasks
        if __name__ == "__main__":
            with Executor(1, max_tasks_per_child=3) as executor:
                pids = [executor.submit(tasks.pid).result() for _ in range(7)]
            print(len(set(pids)), pids.count(pids[0]), pids.count(pids[3]))
        """,
    )

    assert shown == "3 3 3\n"


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("3", TypeError)])
def test_a_max_tasks_per_child_that_is_no_number_of_tasks_is_refused(make, value, error):
    with pytest.raises(error, match="max_tasks_per_child must be"):
        make(max_tasks_per_child=value)


def test_max_tasks_per_child_is_refused_beside_a_fork_context(make):
    with pytest.raises(ValueError, match="max_tasks_per_child is incompatible with the 'fork'"):
        make(mp_context=multiprocessing.get_context("fork"), max_tasks_per_child=2)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_max_workers_that_is_no_number_of_processes_is_refused(make, value, error):
    with pytest.raises(error):
        make(value)


def test_without_max_workers_there_is_at_least_one(make):
    with make(None) as executor:
        assert executor._max_workers >= 1
        assert executor.submit(tasks.same, 1).result(PATIENCE) == 1


def test_an_argument_that_nobody_knows_is_a_type_error(make):
    with pytest.raises(TypeError, match="max_worker"):
        make(max_worker=2)


# ---- death


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_the_task_of_a_worker_that_dies_fails_with_broken_process_pool(make, number):
    with make(1) as executor:
        future = executor.submit(tasks.kill_self, number)

        with pytest.raises(BrokenProcessPool):
            future.result(PATIENCE)


@pytest.mark.parametrize("name", ["terminate_workers", "kill_workers"])
def test_workers_can_be_ended_whatever_they_do(make_3_14, name, gate):
    executor = make_3_14(1)
    (held,) = run_at_gate(executor, gate)
    behind = [executor.submit(tasks.same, 1) for _ in range(8)]

    getattr(executor, name)()

    with pytest.raises(BrokenProcessPool):
        held.result(PATIENCE)
    assert behind[-1].cancelled()
    with pytest.raises(RuntimeError):
        executor.submit(tasks.noop)
    eventually(lambda: all(is_gone(pid) for pid in gate.arrivals()))


@pytest.mark.parametrize("name", ["terminate_workers", "kill_workers"])
def test_workers_can_be_ended_before_they_began_and_after_the_end(make_3_14, name):
    executor = make_3_14(1)

    getattr(executor, name)()
    getattr(executor, name)()


# ---- where ours is deliberately better, or other


def test_ours_runs_lambdas_and_closures(ours):
    with ours() as executor:
        factor = 3
        assert list(executor.map(lambda number: number * factor, range(4), chunksize=2)) == [0, 3, 6, 9]


def test_ours_loses_one_task_with_a_worker_and_lives_on(ours, gate):
    with ours(2) as executor:
        (held,) = run_at_gate(executor, gate)
        dead = executor.submit(tasks.kill_self)
        behind = [executor.submit(tasks.same, number) for number in range(5)]

        with pytest.raises(WorkerCrashed):
            dead.result(PATIENCE)
        assert [future.result(PATIENCE) for future in behind] == list(range(5))
        gate.open()
        assert held.result(PATIENCE) == 0


def test_ours_takes_more_calls_than_a_queue_has_room_for_without_waiting(ours, gate):
    executor = ours(1)
    (held,) = run_at_gate(executor, gate)

    futures = [executor.submit(tasks.noop) for _ in range(70_000)]  # a queue's delay waits at 65,536

    assert not held.done()
    executor.shutdown(wait=False, cancel_futures=True)
    assert futures[-1].cancelled()
    gate.open()


def test_ours_gives_every_result_while_its_workers_are_killed(ours):
    with ours(2, max_retries=15) as executor:
        expected = [number * number for number in range(300)]
        found = []
        for number, result in enumerate(executor.map(pow, range(300), itertools.repeat(2), buffersize=20)):
            found.append(result)
            if number % 30 == 0:
                os.kill(executor.submit(tasks.pid).result(PATIENCE), signal.SIGKILL)

        assert found == expected


def test_ours_fails_only_what_the_killed_workers_ran(ours, gate):
    with ours(2) as executor:
        held = run_at_gate(executor, gate, 2)
        behind = [executor.submit(tasks.same, number) for number in range(100)]

        for pid in gate.arrivals():
            os.kill(pid, signal.SIGKILL)

        assert [type(future.exception(PATIENCE)) for future in held] == [WorkerCrashed] * 2
        assert [future.result(PATIENCE) for future in behind] == list(range(100))
        gate.open()


def test_ours_lives_as_long_as_a_map_that_still_reads_its_iterable(ours):
    results = ours(1).map(tasks.pid_with, itertools.count(), buffersize=2)
    gc.collect()

    found = [next(results) for _ in range(20)]

    assert [number for _pid, number in found] == list(range(20))
    results.close()
    eventually(lambda: is_gone(found[0][0]))


def test_ours_has_every_option_of_the_queue(ours, tmp_path):
    with ours(1, max_retries=1) as executor:
        assert executor.submit(tasks.kill_self_once, str(tmp_path / "runs")).result(PATIENCE) == 2


def test_ours_replaces_forked_workers_after_as_many_tasks_as_they_may_do(ours):
    with ours(1, max_tasks_per_child=1, start_method="fork") as executor:
        assert len({executor.submit(tasks.pid).result(PATIENCE) for _ in range(3)}) == 3


def test_ours_says_what_a_context_is_when_it_is_given_something_else(ours):
    with pytest.raises(TypeError, match="get_context"):
        ours(mp_context="fork")


def test_ours_refuses_an_initializer_that_cannot_be_sent_to_a_clean_worker(ours):
    with pytest.raises(SerializationError, match="initargs"):
        ours(mp_context=multiprocessing.get_context("spawn"), initializer=print, initargs=(threading.Lock(),))


def test_ours_shows_the_traceback_of_an_initializer_that_raised(ours):
    executor = ours(1, initializer=tasks.fail, initargs=("no licence",))

    with pytest.raises(BrokenProcessPool, match=r"(?s)in fail.*no licence"):
        executor.submit(tasks.noop).result(PATIENCE)


def test_ours_waits_in_a_second_shutdown_for_what_the_first_did_not_wait_for(ours, gate):
    executor = ours(1)
    (held,) = run_at_gate(executor, gate)
    executor.shutdown(wait=False)
    gate.open()

    executor.shutdown()

    assert held.result(0) == 0


def test_ours_says_that_it_was_the_caller_who_ended_the_workers(ours, gate):
    executor = ours(1)
    (held,) = run_at_gate(executor, gate)

    executor.kill_workers()

    assert isinstance(held.exception(0), WorkersEnded)


def test_ours_ends_a_with_block_at_once_after_ctrl_c(ours, gate):
    with pytest.raises(KeyboardInterrupt), ours(1) as executor:  # noqa: PT012 - the block is what is tested
        (held,) = run_at_gate(executor, gate)
        behind = executor.submit(tasks.noop)
        raise KeyboardInterrupt

    assert isinstance(held.exception(0), WorkersEnded)
    assert behind.cancelled()
    assert all(is_gone(pid) for pid in gate.arrivals())


def test_ours_can_be_used_by_one_of_its_own_tasks_that_opens_another(ours):
    with ours(1) as executor:
        assert executor.submit(tasks.sum_in_workers, range(10)).result(PATIENCE) == 45


def test_ours_needs_no_guard_around_the_main_program(tmp_path):
    shown = run_script(
        tmp_path,
        """
        from localq import LocalExecutor
        class Point:
            def __init__(self, x): self.x = x
        def double(point):
            return Point(point.x * 2)
        with LocalExecutor(2) as executor:
            print([point.x for point in executor.map(double, map(Point, range(3)))])
        """,
    )

    assert shown == "[0, 2, 4]\n"


def test_a_subclass_may_replace_submit_and_map_goes_by_it(ours):
    class Counting(LocalExecutor):
        submitted = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.submitted += 1
            return super().submit(fn, *args, **kwargs)

    with Counting(1) as executor:
        assert list(executor.map(abs, range(6), chunksize=2)) == list(range(6))
        assert executor.submitted == 3


# ---- LocalQueue.executor


@pytest.fixture(scope="module")
def q() -> Iterator[LocalQueue]:
    with LocalQueue(workers=1) as queue:
        yield queue


def test_an_executor_on_a_queue_ends_without_it(q):
    with q.executor() as executor:
        assert executor.submit(tasks.same, 1).result(PATIENCE) == 1

    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(tasks.noop)
    assert q.delay(tasks.same, 2).result(PATIENCE) == 2
    assert executor._max_workers == 1


def test_an_executor_on_a_queue_waits_for_its_own_tasks_only(q, tmp_path):
    with Gate(tmp_path) as gate:
        before = q.delay(tasks.same, 1)
        executor = q.executor()
        own = [executor.submit(tasks.same, number) for number in range(3)]
        others = q.delay(tasks.slow, gate.path)

        executor.shutdown()

        assert [future.done() for future in [before, *own, others]] == [True] * 4 + [False]


def test_an_executor_on_a_queue_cancels_its_own_tasks_only(q, tmp_path):
    with Gate(tmp_path) as gate:
        held = q.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        executor = q.executor()
        own, others = executor.submit(tasks.noop), q.delay(tasks.same, 3)

        executor.shutdown(cancel_futures=True)

        assert (own.cancelled(), others.cancelled()) == (True, False)
        gate.open()
        assert (held.result(PATIENCE), others.result(PATIENCE)) == (None, 3)


def test_an_executor_on_a_queue_keeps_no_future_alive_that_nobody_has(q):
    executor = q.executor()
    future = executor.submit(tasks.same, {1})
    future.result(PATIENCE)
    gone = weakref.ref(future)

    del future
    gc.collect()

    assert gone() is None


def test_an_executor_on_a_queue_waits_at_its_second_shutdown_for_what_it_left_at_the_first(q, tmp_path):
    executor = q.executor()
    with Gate(tmp_path) as gate:
        future = executor.submit(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        executor.shutdown(wait=False)
        left = future.done()
        gate.open()

        executor.shutdown()

    assert (left, future.done()) == (False, True)


def test_a_task_of_an_executor_that_had_to_wait_for_room_is_left_alone_once_it_runs(tmp_path):
    with LocalQueue(workers=1, capacity=1) as queue, Gate(tmp_path) as gate:
        executor = queue.executor()
        first = executor.submit(tasks.same, 1)
        second = executor.submit(tasks.slow, gate.path)  # there is no room for it yet
        assert first.result(PATIENCE) == 1
        gate.wait_for_arrivals(1)

        assert not second.cancel()

        gate.open()
        assert second.result(PATIENCE) is None


def test_an_executor_on_a_queue_that_was_closed_says_so():
    with LocalQueue(workers=1) as queue:
        executor = queue.executor()

    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(tasks.noop)
    executor.shutdown()
