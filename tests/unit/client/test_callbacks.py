# SPDX-License-Identifier: MIT
"""What happens when a task is done: functions that are called here, tasks that run next."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localq import ConfigError, LocalQueue, TaskResult, TaskStatus, WorkerCrashed
from localq.tasks import Task
from tests.support import sequels, tasks
from tests.support.queues import PATIENCE, audit, lines_of, wait_until_staffed
from tests.support.scripts import start_script
from tests.support.waiting import Gate, eventually


@pytest.fixture
def record(tmp_path: Path) -> str:
    return str(tmp_path / "record")


@pytest.fixture
def queue(record: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalQueue]:
    """Its workers know where to write, and the tasks of `sequels` by name."""
    monkeypatch.setenv(sequels.RECORD, record)
    with LocalQueue(workers=2, queues=("one", "two"), preload=("tests.support.sequels",)) as made:
        yield made
        audit(made)


class Heard:
    """Functions to be called, and what they were."""

    def __init__(self) -> None:
        self.well: list[TaskResult[Any]] = []
        self.ill: list[TaskResult[Any]] = []

    def view(self, queue: LocalQueue, **options: Any) -> Any:
        return queue.options(on_success=self.well.append, on_failure=self.ill.append, **options)


# functions


def test_a_function_is_called_here_with_the_result(q: LocalQueue) -> None:
    heard = Heard()

    future = heard.view(q, metadata="kept").delay(tasks.add, 2, 3)

    assert future.result(PATIENCE) == 5
    (result,) = eventually(lambda: heard.well)
    assert (result.task_id, result.status, result.value) == (future.task_id, TaskStatus.SUCCESS, 5)
    assert heard.ill == []


def test_a_function_is_called_with_the_error_of_a_failure(q: LocalQueue) -> None:
    heard = Heard()

    future = heard.view(q, max_retries=1).delay(tasks.fail)

    assert isinstance(future.exception(PATIENCE), tasks.Mishap)
    (result,) = eventually(lambda: heard.ill)
    assert (result.task_id, result.status, result.attempts) == (future.task_id, TaskStatus.FAILURE, 2)
    assert isinstance(result.error, tasks.Mishap)
    assert heard.well == []


def test_functions_are_called_though_nobody_waits(q: LocalQueue) -> None:
    heard = Heard()

    for number in range(20):
        heard.view(q).delay(tasks.fail_if_odd, number)

    eventually(lambda: len(heard.well) == len(heard.ill) == 10)


def test_a_call_that_can_not_be_sent_has_failed_too(q: LocalQueue) -> None:
    heard = Heard()

    heard.view(q).delay(tasks.same, threading.Lock())

    (result,) = heard.ill
    assert "_thread.lock" in str(result.error)


def test_what_a_function_raises_is_logged_and_disturbs_nobody(q: LocalQueue, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(result: TaskResult[int]) -> None:
        raise ValueError("the callback's own")

    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        assert q.options(on_success=refuse).delay(tasks.add, 1).result(PATIENCE) == 2
        eventually(lambda: "the callback's own" in caplog.text)


def test_a_cancelled_task_calls_neither(lone: LocalQueue, gate: Gate) -> None:
    heard = Heard()
    lone.delay(tasks.slow, gate.path)
    future = heard.view(lone).delay(tasks.noop)

    assert future.cancel()
    gate.open()

    assert heard.view(lone).delay(tasks.add, 1).result(PATIENCE) == 2
    eventually(lambda: [result.value for result in heard.well] == [2])
    assert heard.ill == []


def test_functions_work_where_calls_are_json() -> None:
    heard = Heard()
    with LocalQueue(workers=1, serialization="json") as made:
        heard.view(made).delay(tasks.add, 1).result(PATIENCE)
        eventually(lambda: heard.well)
        with pytest.raises(ConfigError, match="can't travel as JSON"):
            made.options(on_success=sequels.after)


@pytest.mark.parametrize("wrong", [3, "", ["f"]])
def test_what_is_neither_a_function_nor_a_task_is_refused(q: LocalQueue, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="on_failure must be a function of one TaskResult, a @task or the name"):
        q.options(on_failure=wrong)


def test_a_map_refuses_them(q: LocalQueue) -> None:
    with pytest.raises(ConfigError, match="for single calls"):
        q.options(on_success=print).map(tasks.same, [1])


# tasks


def test_a_task_runs_next_with_the_result(queue: LocalQueue, record: str) -> None:
    assert queue.options(on_success=sequels.after).delay(tasks.add, 2, 3).result(PATIENCE) == 5
    assert queue.options(on_success="sequel").delay(tasks.same, (1, "x")).result(PATIENCE) == (1, "x")

    eventually(lambda: sorted(lines_of(record)) == ["after 5", "named (1, 'x')"])


def test_a_task_runs_next_after_a_coroutine(queue: LocalQueue, record: str) -> None:
    assert queue.options(on_success=sequels.after).delay(sequels.add_later, 2, 3).result(PATIENCE) == 5

    eventually(lambda: lines_of(record) == ["after 5"])


def test_a_task_runs_next_after_the_last_failure_and_not_before(queue: LocalQueue, record: str) -> None:
    view = queue.options(on_success=sequels.after, on_failure=sequels.rescue, max_retries=2)

    assert isinstance(view.delay(tasks.fail).exception(PATIENCE), tasks.Mishap)

    queue.delay(tasks.noop).result(PATIENCE)
    assert eventually(lambda: lines_of(record)) == ["rescue known Mishap(('on purpose', 7)) from RemoteTraceback"]


def test_an_error_that_can_not_be_packed_arrives_as_text(queue: LocalQueue, record: str) -> None:
    view = queue.options(on_failure=sequels.rescue_briefly)

    assert view.delay(sequels.fail_unpicklable).exception(PATIENCE) is not None

    assert eventually(lambda: lines_of(record)) == ["rescue TaskFailed None"]


def test_a_task_runs_next_after_a_crash(queue: LocalQueue, record: str) -> None:
    view = queue.options(on_success=sequels.after, on_failure=sequels.rescue_briefly)

    assert isinstance(view.delay(tasks.kill_self).exception(PATIENCE), WorkerCrashed)

    assert eventually(lambda: lines_of(record)) == ["rescue WorkerCrashed None"]


def test_a_task_runs_next_after_one_that_never_started(queue: LocalQueue, record: str, gate: Gate) -> None:
    wait_until_staffed(queue)
    held = [queue.delay(tasks.slow, gate.path) for _ in range(2)]
    gate.wait_for_arrivals(2)
    view = queue.options(on_failure=sequels.rescue_briefly, ttl=0.01)

    future = view.delay(tasks.noop)
    view.delay(tasks.same, threading.Lock())
    eventually(lambda: future.submit_ns and time.monotonic_ns() - future.submit_ns > 20_000_000)
    gate.open()

    assert [each.result(PATIENCE) for each in held] == [None, None]
    eventually(lambda: sorted(lines_of(record)) == ["rescue SerializationError None", "rescue TaskExpired None"])


def test_nothing_runs_next_after_a_cancelled_task(queue: LocalQueue, record: str, gate: Gate) -> None:
    view = queue.options(on_success=sequels.after, on_failure=sequels.rescue)
    future = view.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)

    assert future.cancel()
    gate.open()
    assert view.delay(tasks.same, 1).result(PATIENCE) == 1

    eventually(lambda: lines_of(record) == ["after 1"])


def test_a_task_of_the_callers_own_runs_next(queue: LocalQueue, record: str) -> None:
    def note(value: object) -> int:
        return tasks.record(record, f"own {value}")

    own = Task(note, name="own")

    queue.options(on_success=own).delay(tasks.same, 4).result(PATIENCE)

    eventually(lambda: lines_of(record) == ["own 4"])


def test_what_runs_next_has_queue_and_priority_of_the_first(record: str, gate: Gate) -> None:
    with LocalQueue(workers=1, queues=("one", "two"), preload=("tests.support.sequels",)) as made, gate:
        start = made.options(priority="critical").delay(tasks.slow, gate.path + "2")
        Path(gate.path + "2").touch()
        view = made.options(queue="two", priority="high", on_success=sequels.wait)
        firsts = [view.delay(tasks.same, gate.path) for _ in range(2)]
        start.result(PATIENCE)

        assert [first.result(PATIENCE) for first in firsts] == [gate.path] * 2
        gate.wait_for_arrivals(1)  # one of the two runs, the other is queued

        assert made._space.depths() == [[0, 0, 0, 0], [0, 1, 0, 0]]


def test_what_can_not_be_submitted_is_logged_and_the_task_is_none_the_worse(queue: LocalQueue) -> None:
    future = queue.options(on_success="nobody").delay(tasks.add, 1)

    assert future.result(PATIENCE) == 2
    assert "'nobody', which should run next, could not be submitted" in future.logs()


def test_a_full_queue_keeps_nobody_from_going_on(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sequels.RECORD, record)
    with LocalQueue(workers=2, capacity=16, preload=("tests.support.sequels",)) as made:
        view = made.options(on_success=sequels.after)
        futures = [view.delay(tasks.same, number) for number in range(300)]

        assert [future.result(PATIENCE) for future in futures] == list(range(300))
        eventually(lambda: sorted(lines_of(record)) == sorted(f"after {number}" for number in range(300)))


def test_a_queue_that_is_closed_waits_for_what_runs_next(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sequels.RECORD, record)
    with LocalQueue(workers=1, preload=("tests.support.sequels",)) as made:
        for number in range(50):
            made.options(on_success=sequels.after).delay(tasks.same, number)

    assert len(lines_of(record)) == 50


def test_a_queue_that_is_closed_waits_also_when_the_worker_that_sent_it_is_gone(
    record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sequels.RECORD, record)
    with LocalQueue(workers=2, max_tasks_per_child=3, preload=("tests.support.sequels",)) as made:
        for number in range(60):
            made.options(on_success=sequels.after).delay(tasks.same, number)

    assert len(lines_of(record)) == 60


def test_an_array_that_results_are_written_to_is_handed_on(queue: LocalQueue, record: str) -> None:
    numpy = pytest.importorskip("numpy")
    out = queue.zeros(1000)

    queue.options(out=out, on_success=sequels.total).delay(tasks.same, numpy.ones(1000)).result(PATIENCE)

    assert eventually(lambda: lines_of(record)) == ["total 1000 of 1000"]
    del out


# deaths


def test_a_task_runs_next_though_the_client_is_gone(queue: LocalQueue, record: str, gate: Gate, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    program = """
        import sys, time
        from localq import LocalQueue
        from tests.support import sequels, tasks

        q = LocalQueue.attach(sys.argv[1])
        q.options(on_success=sequels.after).delay(tasks.slow, sys.argv[2], "result")
        print("up", flush=True)
        time.sleep(1000)
    """
    process = start_script(folder, program, queue.name, gate.path)
    gate.wait_for_arrivals(1)
    process.kill()
    process.communicate()

    gate.open()

    eventually(lambda: lines_of(record) == ["after 'result'"])


def test_a_worker_that_dies_while_it_hands_on_loses_nothing(queue: LocalQueue, record: str, tmp_path: Path) -> None:
    marker = str(tmp_path / "marker")
    view = queue.options(on_success=sequels.after, max_crashes=1)

    future = view.delay(sequels.make_deadly, marker)

    assert future.result(PATIENCE).packed == 0
    assert future.attempts == 2
    assert os.path.exists(marker)
    assert eventually(lambda: lines_of(record)) == ["after Deadly"]
