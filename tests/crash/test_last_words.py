# SPDX-License-Identifier: MIT
"""What the error of a task says of the worker that died in it; and memory that runs out, for real."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from pathlib import Path

import pytest

from localq import LocalQueue, WorkerCrashed
from localq.pool.recovery import Allowance
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, id_of, is_gone, lines_of, ready_workers, wait_until_staffed
from tests.support.waiting import Gate, eventually

CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))  # v1, v2


def crash_inside(depth: int) -> None:
    if depth:
        crash_inside(depth - 1)
    ctypes.string_at(0)


def recurse_in_c() -> object:
    """Deeper than the C stack: each level is a `repr` inside a `repr`."""
    sys.setrecursionlimit(10_000_000)
    nested: list[object] = []
    for _ in range(5_000_000):
        nested = [nested]
    return repr(nested)


def crash_beside_a_thread(path: str) -> None:
    begun = threading.Event()

    def idle_in_a_thread() -> None:
        begun.set()
        threading.Event().wait()

    threading.Thread(target=idle_in_a_thread, daemon=True).start()
    begun.wait()
    ctypes.string_at(0)


def exhaust(piece: int) -> None:
    """Take memory piece by piece until there is none, with 64 MiB to go."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (64 << 20), resource.RLIM_INFINITY))
    hoard = []
    while True:
        hoard.append(bytearray(piece))


def hoard_in(group: str, size: int) -> int:
    """Join a control group and take so much memory."""
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
    return len(bytearray(b"x") * size)


def close_everything() -> list[int]:
    os.closerange(3, 4096)
    return [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]


def crash_after_closing_everything(path: str) -> None:
    """What was the descriptor for last words is a file of the task's by now."""
    os.closerange(3, 4096)
    for _ in range(20):
        os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    ctypes.string_at(0)


def test_a_segmentation_fault_is_told_with_the_python_stack_and_what_ran(q):
    future = q.delay(crash_inside, 2)
    error = future.exception(PATIENCE)

    assert isinstance(error, WorkerCrashed)
    assert error.function == "tests.crash.test_last_words.crash_inside"
    assert error.stack.count("in crash_inside") == 3
    assert "string_at" in error.stack
    assert "localq/pool" not in error.stack  # what is below the task's own frames helps nobody
    assert error.stack in str(error)
    assert error.function in str(error)
    assert error.peak_memory is not None
    assert 1 << 20 < error.peak_memory < 1 << 32
    assert not error.out_of_memory
    read = q.get_task_result(id_of(future))
    assert isinstance(read.error, WorkerCrashed)
    assert (read.error.stack, read.error.peak_memory) == (error.stack, error.peak_memory)


def test_the_thread_that_crashed_comes_first(q, tmp_path):
    error = q.delay(crash_beside_a_thread, str(tmp_path)).exception(PATIENCE)

    assert error.stack.startswith("Current thread")
    assert error.stack.index("string_at") < error.stack.index("idle_in_a_thread")


def test_the_c_stack_overflows_and_only_that_task_fails(q):
    future = q.delay(recurse_in_c)
    other = q.delay(tasks.same, 1)

    error = future.exception(60)

    assert isinstance(error, WorkerCrashed | RecursionError)  # from 3.12 on the interpreter counts C calls
    assert other.result(PATIENCE) == 1


def test_who_is_killed_can_say_nothing_and_no_earlier_words_are_taken_for_its_own(q):
    q.delay(crash_inside, 0).exception(PATIENCE)
    error = q.delay(tasks.kill_self, signal.SIGKILL).exception(PATIENCE)

    assert (error.exit_signal, error.stack, error.function) == (9, "", "tests.support.tasks.kill_self")
    assert error.peak_memory


def test_words_of_a_crash_that_was_retried_are_not_told(q, tmp_path):
    path = str(tmp_path / "runs")

    assert q.options(max_retries=1).delay(tasks.kill_self_once, path, signal.SIGSEGV).result(PATIENCE) == 2


def test_more_crashes_than_there_is_room_for_words_lose_words_only():
    with LocalQueue(workers=2) as queue:
        futures = [queue.delay(tasks.read_null) for _ in range(100)]
        errors = [future.exception(60) for future in futures]

        assert {type(error) for error in errors} == {WorkerCrashed}
        assert all(error.exit_signal == signal.SIGSEGV for error in errors if isinstance(error, WorkerCrashed))
        audit(queue)


@pytest.mark.parametrize("piece", [4096, 1 << 16, 1 << 20, 1 << 24])
def test_a_task_that_meets_its_address_space_limit_raises_memory_error(piece):
    with LocalQueue(workers=1) as queue:
        assert isinstance(queue.delay(exhaust, piece).exception(60), MemoryError)
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert queue._space.tallies["workers_crashed"] == 0


@pytest.fixture
def memory_group():
    """A real control group with 64 MiB, where this machine and user may make one."""
    parent = next((folder for folder in CGROUPS if (folder / "cgroup.procs").exists()), None)
    if parent is None:
        pytest.skip("no control groups are mounted here")
    group = parent / f"localq-test-{os.getpid()}"
    limit = group / ("memory.max" if parent == CGROUPS[1] else "memory.limit_in_bytes")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"this user may not make a control group: {error}")
    try:
        limit.write_text(str(64 << 20))
        yield group
    except OSError as error:
        pytest.skip(f"this control group has no memory limit: {error}")
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_the_kernels_out_of_memory_killer_costs_only_its_task(memory_group):
    with LocalQueue(workers=1) as queue:
        assert queue.delay(hoard_in, str(memory_group), 1 << 20).result(PATIENCE) == 1 << 20

        error = queue.delay(hoard_in, str(memory_group), 200 << 20).exception(PATIENCE)

        assert isinstance(error, WorkerCrashed)
        assert error.exit_signal == signal.SIGKILL
        assert error.peak_memory is not None
        assert error.peak_memory > 40 << 20
        assert queue.delay(tasks.same, 2).result(PATIENCE) == 2


# ---- a task does what it should not


def test_a_task_that_closes_descriptors_it_does_not_own_harms_nobody(lone):
    assert len(lone.delay(close_everything).result(PATIENCE)) == 20
    assert lone.delay(tasks.same, 1).result(PATIENCE) == 1
    big = bytes(1_000_000)
    assert lone.delay(tasks.same, big).result(PATIENCE) == big


def test_last_words_are_not_written_into_a_file_of_the_tasks(lone, tmp_path):
    path = str(tmp_path / "file")

    error = lone.delay(crash_after_closing_everything, path).exception(PATIENCE)

    assert isinstance(error, WorkerCrashed)
    assert lines_of(path) == []


def test_a_task_that_raises_system_exit_fails_and_its_worker_lives(lone):
    (worker,) = wait_until_staffed(lone)

    assert isinstance(lone.delay(sys.exit, 3).exception(PATIENCE), SystemExit)
    assert ready_workers(lone) == [worker]


# ---- poison


def test_a_task_that_kills_every_worker_it_meets_is_given_up_after_its_retries(tmp_path):
    path = str(tmp_path / "runs")
    with LocalQueue(workers=2) as queue:
        future = queue.options(max_retries=3).delay(record_and_die, path)

        error = future.exception(PATIENCE)

        assert isinstance(error, WorkerCrashed)
        assert error.attempts == future.attempts == 4
        assert len(set(lines_of(path))) == 4
        assert queue._space.tallies["workers_crashed"] == 4
        assert queue._space.tallies["tasks_requeued"] == 3
        wait_until_staffed(queue)
        audit(queue)


def record_and_die(path: str) -> None:
    tasks.record(path, str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_die_all_the_time_are_replaced_ever_more_slowly_and_that_is_said_once(monkeypatch, capfd):
    monkeypatch.setattr(Allowance, "BURST", 4)  # a forked supervisor has it from here
    monkeypatch.setattr(Allowance, "RATE", 5.0)  # far below what dies in a second, on a busy machine too
    with LocalQueue(workers=1, start_method="fork") as queue:
        poison = [queue.delay(tasks.kill_self, signal.SIGKILL) for _ in range(20)]

        assert {type(future.exception(60)) for future in poison} == {WorkerCrashed}
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert queue._space.tallies["workers_crashed"] == 20
    assert capfd.readouterr().err.count("workers die faster than they may be replaced") == 1


def test_an_allowance_lets_a_burst_pass_and_then_its_rate():
    allowance = Allowance(workers=1, now=100.0)
    burst = int(2 * Allowance.BURST)

    assert [allowance.next_start(100.0) for _ in range(burst)] == [None] * burst
    assert allowance.next_start(100.0) == pytest.approx(100.0 + 1 / Allowance.RATE)
    assert allowance.is_first_refusal()
    assert allowance.next_start(100.0) == pytest.approx(100.0 + 2 / Allowance.RATE)
    assert not allowance.is_first_refusal()
    assert allowance.next_start(100.0 + 60) is None  # a minute without deaths fills it again


def test_a_killed_worker_is_gone_and_another_takes_its_task(gate: Gate):
    with LocalQueue(workers=1, max_retries=1) as queue, gate:
        future = queue.delay(tasks.slow, gate.path, "again")
        (first,) = gate.wait_for_arrivals(1)

        os.kill(first, signal.SIGKILL)
        gate.open()

        assert future.result(PATIENCE) == "again"
        assert is_gone(first)
        assert future.worker_pid != first
