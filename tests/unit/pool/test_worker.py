# SPDX-License-Identifier: MIT
"""What a worker is before, between and after tasks: initialized, limited, replaced, and nobody's copy."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
from typing import Any

import pytest

from localq import InitializerFailed, LocalQueue, SerializationError
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, is_gone, lines_of, ready_workers, supervisor_of, wait_until_staffed
from tests.support.scripts import run_script
from tests.support.waiting import Gate, eventually


def note_pid(path: str) -> None:
    tasks.record(path, str(os.getpid()))


def set_greeting(greeting: str) -> None:
    os.environ["GREETING"] = greeting


def greeting() -> str | None:
    return os.environ.get("GREETING")


kept: list[Any] = []


def keep(value: object) -> None:
    kept.append(value)


def try_kept() -> object:
    return kept[0].acquire(block=False)


# ---- the initializer


def test_the_initializer_runs_once_in_each_worker_before_its_first_task(tmp_path):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=2, initializer=lambda path: note_pid(path), initargs=(seen,)) as queue:
        pids = wait_until_staffed(queue)
        assert queue.delay(lambda: str(os.getpid()) in lines_of(seen)).result(PATIENCE)

        assert sorted(map(int, lines_of(seen))) == sorted(pids)


def test_the_initializer_runs_in_a_worker_that_replaces_another(tmp_path):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=1, initializer=note_pid, initargs=(seen,)) as queue:
        (first,) = wait_until_staffed(queue)
        os.kill(first, signal.SIGKILL)
        second = queue.delay(tasks.pid).result(PATIENCE)

        assert lines_of(seen) == [str(first), str(second)]


def test_what_the_initializer_sets_is_there_for_tasks():
    with LocalQueue(workers=1, initializer=set_greeting, initargs=("hello",)) as queue:
        assert queue.delay(greeting).result(PATIENCE) == "hello"


def test_an_initializer_that_cannot_be_sent_is_refused_and_starts_nothing():
    import threading

    with pytest.raises(SerializationError, match=r"initargs at \[0\].*start_method='fork'"):
        LocalQueue(workers=1, initializer=print, initargs=(threading.Lock(),))
    lock = threading.Lock()
    with pytest.raises(SerializationError):
        LocalQueue(workers=1, initializer=lambda: lock)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of a fork beside threads, from 3.12 on
def test_a_forked_queue_inherits_an_initializer_that_cannot_be_sent():
    from multiprocessing import get_context

    lock = get_context("fork").Lock()
    with LocalQueue(workers=1, start_method="fork", initializer=keep, initargs=(lock,)) as queue, lock:
        assert queue.delay(try_kept).result(PATIENCE) is False


def raise_lookup_error() -> None:
    raise LookupError("no licence found")


@pytest.mark.parametrize("initializer", [raise_lookup_error, lambda: sys.exit("no licence found")])
def test_an_initializer_that_raises_fails_what_waits_and_what_comes_later_with_its_traceback(initializer):
    queue = LocalQueue(workers=2, initializer=initializer)
    waiting = [queue.delay(tasks.noop) for _ in range(3)]
    supervisor = supervisor_of(queue)
    try:
        for future in waiting:
            error = future.exception(PATIENCE)
            assert isinstance(error, InitializerFailed)
            assert "no licence found" in error.traceback
            assert "Traceback" in error.traceback
        with pytest.raises(InitializerFailed, match="no licence found"):
            queue.delay(tasks.noop).result(PATIENCE)
        with pytest.raises(InitializerFailed, match="no licence found"):
            list(queue.map(abs, [1]))
    finally:
        queue.close()
    assert is_gone(supervisor)


def test_callbacks_hear_of_an_initializer_that_raised():
    seen: list[BaseException | None] = []
    with LocalQueue(workers=1, initializer=raise_lookup_error) as queue:
        queue.delay(tasks.noop).add_done_callback(lambda future: seen.append(future.exception()))
        eventually(lambda: seen)

    assert isinstance(seen[0], InitializerFailed)


@pytest.mark.parametrize("way", [lambda: os._exit(7), lambda: os.kill(os.getpid(), 9)], ids=["exit-7", "SIGKILL"])
def test_an_initializer_that_kills_every_worker_fails_what_waits(way):
    with LocalQueue(workers=1, initializer=way) as queue:
        error = queue.delay(tasks.noop).exception(PATIENCE)

        assert isinstance(error, InitializerFailed)
        assert "status 7" in str(error) or "SIGKILL" in str(error)


def test_an_initializer_that_fails_in_one_worker_is_reported_and_tried_again(tmp_path, capfd):
    flag = str(tmp_path / "flag")

    def fail_if_told_to() -> None:
        if os.path.exists(flag):
            os.unlink(flag)
            raise LookupError("not this time")

    with LocalQueue(workers=2, initializer=fail_if_told_to) as queue:
        first, second = wait_until_staffed(queue)
        open(flag, "w").close()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not os.path.exists(flag))

        assert set(wait_until_staffed(queue)) > {second}
        assert queue.delay(tasks.same, 2).result(PATIENCE) == 2
        audit(queue)

    assert "not this time" in capfd.readouterr().err


# ---- limits


def test_a_worker_is_replaced_after_its_number_of_tasks_and_nothing_is_lost():
    with LocalQueue(workers=2, max_tasks_per_child=5) as queue:
        futures = [queue.delay(tasks.pid) for _ in range(60)]
        pids = [future.result(PATIENCE) for future in futures]

        assert max(map(pids.count, set(pids))) <= 5
        assert len(set(pids)) >= 12
        wait_until_staffed(queue)
        audit(queue)


def test_a_worker_for_each_task_is_possible():
    with LocalQueue(workers=1, max_tasks_per_child=1) as queue:
        pids = [queue.delay(tasks.pid).result(PATIENCE) for _ in range(10)]

        assert len(set(pids)) == 10


def test_a_map_goes_on_over_replaced_workers():
    with LocalQueue(workers=2, max_tasks_per_child=3) as queue:
        assert list(queue.map(tasks.same, range(200), chunksize=5)) == list(range(200))
        audit(queue)


def test_a_worker_that_has_grown_beyond_its_memory_is_replaced():
    with LocalQueue(workers=1, max_memory_per_child="64MiB") as queue:
        small = [queue.delay(tasks.pid).result(PATIENCE) for _ in range(40)]
        assert len(set(small)) == 1

        def has_changed(pid: int) -> bool:
            return queue.delay(tasks.pid).result(PATIENCE) != pid

        for _ in range(3):
            large = queue.delay(tasks.hoard, 80_000_000).result(PATIENCE)
            eventually(functools.partial(has_changed, large))
        audit(queue)


# ---- what a worker has and has not


def test_workers_read_nothing_from_the_program_s_input(q):
    assert q.delay(lambda: os.read(0, 10)).result(PATIENCE) == b""
    assert q.delay(lambda: sys.stdin.read()).result(PATIENCE) == ""


def test_what_tasks_print_to_inherited_streams_is_out_with_its_line(tmp_path):
    said = run_script(
        tmp_path,
        """
        import os, sys
        from localq import LocalQueue

        def say():
            print("from a task")

        q = LocalQueue(workers=1, output="inherit")
        q.delay(say).result()
        os._exit(0)
        """,
    )

    assert said == "from a task\n"


def test_workers_do_not_draw_the_same_random_numbers(tmp_path):
    def draw(path: str) -> tuple[int, float]:
        pid = tasks.slow(path, os.getpid())
        return pid, random.random()  # type: ignore[return-value]

    with LocalQueue(workers=2, preload=("random",)) as queue, Gate(tmp_path) as gate:
        futures = [queue.delay(draw, gate.path) for _ in range(2)]
        gate.wait_for_arrivals(2)
        gate.open()
        (first, one), (second, other) = (future.result(PATIENCE) for future in futures)

    assert first != second
    assert one != other


def test_workers_do_not_draw_the_same_random_numbers_of_numpy(tmp_path):
    pytest.importorskip("numpy")

    def draw(path: str) -> float:
        import numpy

        tasks.slow(path)
        return float(numpy.random.random())

    with LocalQueue(workers=2, preload=("numpy", "numpy.random")) as queue, Gate(tmp_path) as gate:
        futures = [queue.delay(draw, gate.path) for _ in range(2)]
        gate.wait_for_arrivals(2)
        gate.open()
        one, other = (future.result(PATIENCE) for future in futures)

    assert one != other


def test_programs_that_a_task_starts_can_be_interrupted(q):
    def ignored() -> int:
        status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
        (line,) = (line for line in status.splitlines() if line.startswith("SigIgn"))
        return int(line.split()[1], 16)

    assert q.delay(ignored).result(PATIENCE) & 1 << (signal.SIGINT - 1) == 0


def test_a_worker_has_no_descriptor_of_the_client(tmp_path):
    with open(tmp_path / "open-in-the-client", "w") as file:
        os.set_inheritable(file.fileno(), True)
        with LocalQueue(workers=1) as queue:

            def targets() -> list[str]:
                found = []
                for name in os.listdir("/proc/self/fd"):
                    try:
                        found.append(os.readlink(f"/proc/self/fd/{name}"))
                    except FileNotFoundError:
                        continue
                return found

            found = queue.delay(targets).result(PATIENCE)

    assert not [target for target in found if "open-in-the-client" in target]


def test_a_task_may_fork(q):
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(5)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert q.delay(fork).result(PATIENCE) == 5
    audit(q)


def test_a_task_may_have_a_queue_of_its_own(q):
    def nested() -> int:
        from localq import LocalQueue

        with LocalQueue(workers=1) as inner:
            return inner.delay(tasks.add, 1, 2).result(PATIENCE)

    assert q.delay(nested).result(PATIENCE) == 3


def test_workers_are_named_after_their_queue():
    with LocalQueue(workers=1, name="abc") as queue:
        (pid,) = wait_until_staffed(queue)
        with open(f"/proc/{pid}/comm") as worker, open(f"/proc/{supervisor_of(queue)}/comm") as supervisor:
            assert (worker.read(), supervisor.read()) == ("localq-w:abc\n", "localq:abc\n")


def test_an_idle_queue_keeps_its_workers(q):
    before = sorted(wait_until_staffed(q))
    for _ in range(100):
        q.delay(tasks.noop).result(PATIENCE)

    assert sorted(ready_workers(q)) == before
