# SPDX-License-Identifier: MIT
"""A worker that dies costs at most the task that it ran: moments x ways to die x outcome."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from localq import LocalQueue, TaskFuture, TaskStatus, WorkerCrashed, current_task
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, is_gone, lines_of, ready_workers, wait_until_staffed
from tests.support.waiting import Gate, eventually
from tests.support.ways_to_die import Way, each_way


class Dying:
    """Dies with `way` in the process that rebuilds it, the first time; afterwards it is the text "alive"."""

    def __init__(self, path: str, function: Callable[..., object], args: tuple[object, ...]) -> None:
        self.path = path
        self.function = function
        self.args = args

    def __reduce__(self) -> tuple[Any, ...]:
        return die_once, (self.path, self.function, self.args)


def die_once(path: str, function: Callable[..., object], args: tuple[object, ...]) -> str:
    tasks.record(path, "here")
    if len(lines_of(path)) == 1:
        function(*args)
    return "alive"


class DyingWhenSent:
    """Dies when it is pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        os.kill(os.getpid(), signal.SIGKILL)
        return str, ()


# ---- moments


@each_way
def test_a_task_that_kills_its_worker_fails_alone_and_says_how(q, way: Way):
    others = [q.delay(tasks.same, number) for number in range(20)]
    future = q.delay(way.function, *way.args)
    later = [q.delay(tasks.same, number) for number in range(20)]

    error = future.exception(PATIENCE)

    assert isinstance(error, WorkerCrashed)
    assert (error.exit_signal, error.exit_status) == (way.exit_signal, way.exit_status)
    assert (error.pid, error.attempts, error.task_id) == (future.worker_pid, 1, future.task_id)
    assert is_gone(error.pid)
    if way.exit_signal is not None:
        assert signal.Signals(way.exit_signal).name in str(error)
    assert future.status is TaskStatus.FAILURE
    assert [one.result(PATIENCE) for one in others + later] == list(range(20)) * 2
    read = q.get_task_result(future.task_id)
    assert (read.status, type(read.error), read.attempts) == (TaskStatus.FAILURE, WorkerCrashed, 1)
    assert (read.error.exit_signal, read.error.exit_status) == (way.exit_signal, way.exit_status)
    wait_until_staffed(q)
    audit(q)


@each_way
def test_a_worker_that_dies_before_user_code_began_costs_nobody_anything(q, way: Way, tmp_path):
    future = q.delay(tasks.same, Dying(str(tmp_path / "here"), way.function, way.args))

    assert future.result(PATIENCE) == "alive"
    assert future.attempts == 1
    assert lines_of(tmp_path / "here") == ["here", "here"]
    wait_until_staffed(q)
    audit(q)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGUSR1])
def test_a_worker_killed_while_it_has_nothing_to_do_is_replaced_and_costs_nobody_anything(q, number):
    before = wait_until_staffed(q)

    os.kill(before[0], number)
    eventually(lambda: is_gone(before[0]))

    assert [q.delay(tasks.same, value).result(PATIENCE) for value in range(20)] == list(range(20))
    after = wait_until_staffed(q)
    assert before[0] not in after
    assert before[1] in after
    audit(q)


def test_all_workers_killed_at_once_are_all_replaced(q):
    before = wait_until_staffed(q)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(map(is_gone, before)))

    assert q.delay(tasks.same, 1).result(PATIENCE) == 1
    assert not set(wait_until_staffed(q)) & set(before)
    audit(q)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGUSR1])
def test_a_worker_killed_by_somebody_else_fails_the_task_that_it_ran(q, gate, number):
    future = q.delay(tasks.slow, gate.path)
    (pid,) = gate.wait_for_arrivals(1)

    os.kill(pid, number)

    error = future.exception(PATIENCE)
    assert isinstance(error, WorkerCrashed)
    assert (error.pid, error.exit_signal) == (pid, number)
    gate.open()
    wait_until_staffed(q)
    audit(q)


def test_a_worker_that_dies_while_it_sends_a_result_fails_that_task(q):
    future = q.delay(DyingWhenSent)

    assert isinstance(future.exception(PATIENCE), WorkerCrashed)
    wait_until_staffed(q)
    audit(q)


def test_a_worker_that_dies_after_it_sent_a_result_takes_nothing_of_it_along(q):
    future = q.delay(tasks.same, "x" * 100_000)
    eventually(lambda: q._space.slots()["done"] or future.done())
    for pid in wait_until_staffed(q):
        os.kill(pid, signal.SIGKILL)

    assert future.result(PATIENCE) == "x" * 100_000
    wait_until_staffed(q)
    audit(q)


def test_a_task_that_leaves_by_sys_exit_is_no_death(lone):
    def leave() -> None:
        raise SystemExit(3)

    before = lone.delay(tasks.pid).result(PATIENCE)

    assert isinstance(lone.delay(leave).exception(PATIENCE), SystemExit)
    assert lone.delay(tasks.pid).result(PATIENCE) == before


def test_an_argument_that_kills_every_worker_that_reads_it_ends_as_a_crash():
    """Otherwise one bad task would kill workers for ever."""

    with LocalQueue(workers=1) as queue:
        future = queue.delay(tasks.same, Deadly())

        try:
            assert isinstance(future.exception(5), WorkerCrashed)
        except TimeoutError:
            queue.close(timeout=0)
            raise


class Deadly:
    """Kills every process that rebuilds it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return tasks.kill_self, ()


# ---- retries


def test_a_task_whose_worker_was_killed_runs_again_if_it_may(q, tmp_path):
    future = q.options(max_retries=1).delay(tasks.kill_self_once, str(tmp_path / "runs"))

    assert (future.result(PATIENCE), future.attempts) == (2, 2)


def test_a_task_that_kills_every_worker_ends_after_its_retries(q, tmp_path):
    path = str(tmp_path / "runs")

    def die() -> None:
        context = current_task()
        assert context is not None
        tasks.record(path, str(context.attempt))
        os._exit(9)

    future = q.options(max_retries=3).delay(die)
    error = future.exception(PATIENCE)

    assert isinstance(error, WorkerCrashed)
    assert (error.attempts, error.exit_status) == (4, 9)
    assert lines_of(path) == ["1", "2", "3", "4"]
    wait_until_staffed(q)
    audit(q)


def test_deaths_and_exceptions_of_a_task_are_counted_apart(q, tmp_path):
    path = str(tmp_path / "runs")

    def die_then_raise_then_return() -> int:
        context = current_task()
        assert context is not None
        tasks.record(path, str(context.attempt))
        if context.attempt == 1:
            os._exit(9)
        if context.attempt == 2:
            raise tasks.Mishap("second")
        return context.attempt

    assert q.options(max_retries=1).delay(die_then_raise_then_return).result(PATIENCE) == 3
    assert isinstance(q.options(max_crashes=1).delay(die_then_raise_then_return).exception(PATIENCE), tasks.Mishap)
    wait_until_staffed(q)
    audit(q)


def test_the_arguments_of_a_task_that_runs_again_are_whole(tmp_path):
    path = str(tmp_path / "runs")

    def die_once_with(payload: bytes, small: list[int]) -> tuple[int, list[int]]:
        tasks.record(path, "run")
        if len(lines_of(path)) == 1:
            os._exit(1)
        return len(payload), small

    with LocalQueue(workers=1, max_retries=1, result_cache_size=0) as queue:
        assert queue.delay(die_once_with, b"x" * 2_000_000, [1, 2]).result(PATIENCE) == (2_000_000, [1, 2])
        audit(queue)


# ---- what is given back


def test_the_memory_of_what_a_dead_worker_held_comes_back():
    with LocalQueue(workers=2, memory="64MiB", result_cache_size=0) as queue:
        payload = b"x" * 3_000_000
        for _ in range(12):
            futures = [queue.delay(function, payload) for function in (tasks.die_of, tasks.same)]
            assert isinstance(futures[0].exception(PATIENCE), WorkerCrashed)
            assert futures[1].result(PATIENCE) == payload
        wait_until_staffed(queue)
        audit(queue)

        assert queue._space.arena()[0] == 0


def test_a_worker_killed_while_it_holds_a_large_payload_leaves_none_of_it(tmp_path):
    with LocalQueue(workers=1, result_cache_size=0) as queue:
        for name in ("first", "second", "third"):
            with Gate(tmp_path, name) as gate:
                future = queue.delay(tasks.slow, gate.path, "x" * 5_000_000)
                (pid,) = gate.wait_for_arrivals(1)
                assert queue._space.arena()[0] > 0
                os.kill(pid, signal.SIGKILL)
                assert isinstance(future.exception(PATIENCE), WorkerCrashed)
        wait_until_staffed(queue)
        audit(queue)

        assert queue._space.arena()[0] == 0


def test_a_full_queue_whose_workers_die_has_room_again():
    with LocalQueue(workers=1, capacity=2, result_cache_size=0) as queue:
        for _ in range(10):
            assert isinstance(queue.delay(tasks.exit_hard).exception(PATIENCE), WorkerCrashed)
        assert [queue.delay(tasks.same, value).result(PATIENCE) for value in range(20)] == list(range(20))
        audit(queue)


def test_a_task_cancelled_while_its_worker_dies_is_settled(gate):
    with LocalQueue(workers=1) as queue, gate:
        running = queue.delay(tasks.slow, gate.path)
        (pid,) = gate.wait_for_arrivals(1)
        waiting = queue.delay(tasks.noop)
        assert waiting.cancel()
        os.kill(pid, signal.SIGKILL)

        assert isinstance(running.exception(PATIENCE), WorkerCrashed)
        assert waiting.cancelled()
        wait_until_staffed(queue)
        audit(queue)


# ---- under load


@pytest.mark.parametrize("max_retries", [0, 15])
def test_under_thirty_kills_every_task_has_exactly_one_outcome(max_retries):
    kills, chance = 30, random.Random(30)
    with LocalQueue(workers=2, max_retries=max_retries, result_cache_size=100) as queue:
        futures: list[TaskFuture[Any]] = []
        outcomes: list[TaskFuture[Any]] = []
        enough = threading.Event()

        def submit() -> None:
            while not enough.is_set():
                payload = "x" * chance.choice((10, 10, 10, 5_000, 200_000))
                future = queue.delay(tasks.echo, len(futures), payload)
                future.add_done_callback(outcomes.append)
                futures.append(future)
                if len(futures) % 200 == 0:
                    future.exception(PATIENCE)  # or the stream would outrun the workers

        streaming = threading.Thread(target=submit)
        streaming.start()
        try:
            for _ in range(kills):
                pid = eventually(lambda: ready_workers(queue))[-1]
                os.kill(pid, signal.SIGKILL)
                eventually(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
        finally:
            enough.set()
            streaming.join(PATIENCE)
        errors = [future.exception(PATIENCE) for future in futures]
        eventually(lambda: len(outcomes) >= len(futures))

        assert sorted(map(id, outcomes)) == sorted(map(id, futures))
        crashed = [error for error in errors if error is not None]
        assert all(isinstance(error, WorkerCrashed) for error in crashed)
        assert len(crashed) <= (0 if max_retries else kills)
        for number, (future, error) in enumerate(zip(futures, errors, strict=True)):
            assert error is not None or future.result()[0][0] == number
        wait_until_staffed(queue)
        audit(queue)


def test_a_map_under_kills_gives_every_item_once_in_its_place():
    chance = random.Random(7)
    with LocalQueue(workers=2) as queue:
        results = queue.map(tasks.same, range(20_000), chunksize=20, return_exceptions=True)
        found = []
        for number, value in enumerate(results):
            found.append(value)
            if number % 1500 == 700:
                os.kill(chance.choice(eventually(lambda: ready_workers(queue))), signal.SIGKILL)

        assert len(found) == 20_000
        assert all(value == at or isinstance(value, WorkerCrashed) for at, value in enumerate(found))
        assert sum(isinstance(value, WorkerCrashed) for value in found) <= 14
        wait_until_staffed(queue)
        audit(queue)


# ---- stopped, not dead


def test_a_stopped_worker_delays_only_its_own_task(gate):
    with LocalQueue(workers=2) as queue, gate:
        held = queue.delay(tasks.slow, gate.path, "held")
        (pid,) = gate.wait_for_arrivals(1)
        os.kill(pid, signal.SIGSTOP)
        try:
            gate.open()
            assert [queue.delay(tasks.same, value).result(PATIENCE) for value in range(50)] == list(range(50))
            assert not held.done()
        finally:
            os.kill(pid, signal.SIGCONT)

        assert held.result(PATIENCE) == "held"


def test_a_worker_stopped_while_idle_delays_nobody():
    with LocalQueue(workers=2) as queue:
        pid = wait_until_staffed(queue)[0]
        queue.delay(tasks.noop).result(PATIENCE)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert [queue.delay(tasks.same, value).result(PATIENCE) for value in range(50)] == list(range(50))
            assert list(queue.map(tasks.same, range(500), chunksize=5)) == list(range(500))
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_stopped_worker_is_killed_when_the_queue_closes():
    queue = LocalQueue(workers=1)
    (pid,) = wait_until_staffed(queue)
    os.kill(pid, signal.SIGSTOP)

    queue.close(timeout=0)

    assert is_gone(pid)
