# SPDX-License-Identifier: MIT
"""Processes are killed while large data is on its way, or while they look at it: what the others see stays right, and
nothing of it is left in the arena."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from functools import partial

import numpy as np
import pytest

from localq import LocalQueue, TaskStatus, WorkerCrashed
from localq._native import ROLE_WORKER
from localq.errors import SharedRefLost
from localq.shared import SharedRef, _reopened
from tests.support import tasks
from tests.support.arrays import MiB, add_one, arena_bytes, doubled, full, is_full, keep, refusal, settled, total
from tests.support.queues import PATIENCE, is_gone, read, supervisor_of, wait_until_staffed
from tests.support.scripts import ROOT, WATCHDOG, start_script
from tests.support.waiting import eventually

SIZES = (10, 2_000, 20_000, 70_000, 300_000)  # items: in the slot, a small block, copied, a view, a run of spans


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    """Keeps no results for later, so that what is held at the end is a leak."""
    with LocalQueue(
        workers=2, memory="256MB", max_crashes=15, result_cache_size=0, name=f"large-{os.getpid()}"
    ) as queue:
        yield queue


@contextmanager
def killing(queue: LocalQueue) -> Iterator[list[int]]:
    """Meanwhile workers are killed, at whatever they do, each when it has finished some tasks."""
    stop = threading.Event()
    killed: list[int] = []
    moments = random.Random(5)

    def kill() -> None:
        while not stop.wait(moments.random() / 50):
            for row in queue._space.rows():
                if row["role"] == ROLE_WORKER and row["succeeded"] >= 3 and row["pid"] not in killed:
                    with suppress(ProcessLookupError):
                        os.kill(row["pid"], signal.SIGKILL)
                    killed.append(row["pid"])

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        stop.set()
        killer.join()


@pytest.mark.slow
def test_workers_killed_amid_transfers_leave_right_results_and_nothing_in_the_arena(q):
    ref, shared = q.put(full(3, 300_000)), q.zeros(100_000)
    shared[:] = 2
    seen = 0
    with killing(q) as killed:
        while len(killed) < 12:
            calls = [(size, q.delay(doubled, full(size, size))) for size in SIZES]
            calls += [(3, q.delay(doubled, ref)), (2, q.delay(doubled, shared))]
            for number, future in calls:
                with suppress(WorkerCrashed):
                    assert is_full(future.result(PATIENCE), 2 * number)
                    seen += 1

    assert seen > 0
    assert is_full(ref.get(), 3)
    assert is_full(shared, 2)
    del ref, shared, future, calls
    wait_until_staffed(q)
    settled(q, at_most=4096)


def test_a_task_that_wrote_to_its_arguments_before_its_worker_died_runs_again_with_what_was_sent(q, tmp_path):
    def write_and_die(array: np.ndarray, path: str) -> float:
        array += 1
        tasks.kill_self_once(path)
        return float(array[0])

    for number, size in enumerate(SIZES):
        path = str(tmp_path / str(number))
        assert q.delay(write_and_die, full(5, size), path).result(PATIENCE) == 6
    ref = q.put(full(5))
    assert q.delay(write_and_die, ref, str(tmp_path / "ref")).result(PATIENCE) == 6
    assert is_full(ref.get(), 5)


def test_a_retried_task_sees_its_arguments_as_they_were_sent(q):
    def write_and_fail(array: np.ndarray) -> float:
        from localq import current_task

        array += 1
        task = current_task()
        assert task is not None
        if task.attempt < 3:
            raise ValueError
        return float(array[0])

    view = q.options(max_retries=3)
    ref = q.put(full(5))

    assert [view.delay(write_and_fail, full(5, size)).result(PATIENCE) for size in SIZES] == [6.0] * len(SIZES)
    assert view.delay(write_and_fail, ref).result(PATIENCE) == 6


def test_what_a_killed_worker_kept_comes_back(q):
    ref = q.put(full(1, 300_000))
    for _ in range(10):
        q.delay(keep, ref).result(PATIENCE)
        q.delay(keep, full(2, 300_000)).result(PATIENCE)
    del ref
    assert q._space.arena()[0] > 2_000_000

    for pid in wait_until_staffed(q):
        os.kill(pid, signal.SIGKILL)

    wait_until_staffed(q)
    settled(q)


def test_a_shared_value_in_the_result_of_a_worker_that_is_gone_by_then_is_there(q):
    def store() -> SharedRef[np.ndarray]:
        return LocalQueue.current().put(full(8))

    future = q.delay(store)
    wait([future], PATIENCE)
    assert future.worker_pid is not None
    for pid in wait_until_staffed(q):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_gone(future.worker_pid))

    ref = future.result(PATIENCE)

    assert is_full(ref.get(), 8)


@pytest.mark.slow
def test_the_supervisor_killed_amid_transfers_is_not_noticed_by_results(q, capfd):
    ref, shared = q.put(full(3, 300_000)), q.zeros(100_000)
    shared[:] = 2
    for _ in range(3):
        futures = [q.delay(doubled, full(number, 200_000)) for number in range(30)]

        os.kill(supervisor_of(q), signal.SIGKILL)

        for number, future in enumerate(futures):
            assert is_full(future.result(PATIENCE), 2 * number)
        assert is_full(q.delay(doubled, ref).result(PATIENCE), 6)
        assert is_full(q.delay(doubled, shared).result(PATIENCE), 4)
    del ref, shared, futures, future
    wait_until_staffed(q)
    settled(q, at_most=4096)


ATTACHED = """
    import os, signal, sys
    import numpy as np
    from localq import LocalQueue
    from tests.support import tasks
    from tests.support.arrays import add_one, doubled, full, total

    q = LocalQueue.attach(sys.argv[1])
    kept = q.put(full(9), keep=True)
    ref, array = q.put(full(8)), q.zeros(100_000)
    array[:] = 7
    views = [q.delay(doubled, each).result() for each in (kept, ref, array)]
    futures = [q.delay(tasks.slow, sys.argv[2]) for _ in range(2)]
    futures += [q.delay(total, each) for each in (ref, array, full(6))]
    print(*kept._name, *(future.task_id for future in futures[2:]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def is_done(queue: LocalQueue, task_id: str) -> bool:
    return read(queue, task_id).status is TaskStatus.SUCCESS


def test_the_queued_tasks_of_a_killed_client_find_what_they_refer_to(q, gate, tmp_path):
    with start_script(tmp_path, ATTACHED, q.name, gate.path) as process:
        out, err = process.communicate(timeout=WATCHDOG)
    assert process.returncode == -signal.SIGKILL, err
    *name, by_ref, by_place, by_value = out.split()
    for _ in range(50):  # whatever was free is used again
        q.put(full(-1))

    gate.open()

    for task_id, expected in ((by_ref, 800_000), (by_place, 700_000), (by_value, 600_000)):
        eventually(partial(is_done, q, task_id))
        assert read(q, task_id).value == expected
    again: SharedRef[np.ndarray] = _reopened(*map(int, name))
    assert is_full(again.get(), 9)
    assert q.delay(total, again).result(PATIENCE) == 900_000


def test_a_value_that_was_kept_for_good_outlives_its_client_until_it_is_deleted(q, gate, tmp_path):
    gate.open()
    with start_script(tmp_path, ATTACHED, q.name, gate.path) as process:
        out, _ = process.communicate(timeout=WATCHDOG)
    name = list(map(int, out.split()[:4]))
    ref: SharedRef[np.ndarray] = _reopened(*name)
    del ref
    ref = _reopened(*name)  # held by nobody for a moment
    view = ref.get()

    ref.delete()
    ref.delete()

    assert is_full(view, 9)
    assert is_full(ref.get(), 9)
    del ref, view
    eventually(lambda: isinstance(refusal(lambda: _reopened(*name)), SharedRefLost))


HOARDER = """
    import os, signal, sys, threading
    from localq import LocalQueue
    from tests.support.arrays import doubled, full

    q = LocalQueue.attach(sys.argv[1])
    threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
    kept = []
    while True:
        ref, array = q.put(full(3, 300_000)), q.zeros(100_000)
        kept.append((ref, array, [q.delay(doubled, each).result() for each in (ref, array, full(1, 200_000))]))
        queued = [q.delay(doubled, each) for each in (ref, array, full(1, 200_000), full(1, 3000))]
        kept = kept[-5:]
"""


@pytest.mark.slow
def test_attached_clients_killed_with_views_and_values_leave_nothing_pinned(q, tmp_path):
    for number in range(4):
        with start_script(tmp_path, HOARDER, q.name, str(0.5 + 0.1 * number)) as process:
            count = 0
            while process.poll() is None:
                assert is_full(q.delay(doubled, full(count, 60_000)).result(PATIENCE), 2 * count)
                count += 1
            process.communicate()
        assert process.returncode == -signal.SIGKILL

    # What their tasks have returned is kept for whoever knows the ids, until there is no room: that is no leak.
    def only_results_are_held() -> bool:
        assert q._space.check() is None
        cached, held = q._space.slots()["cached"], q._space.arena()[0]
        assert held <= cached * 5 * MiB, f"{held} bytes are held by {cached} results"
        return True

    eventually(only_results_are_held)
    for _ in range(10):  # so large that nothing may be left of the others
        assert is_full(q.delay(doubled, full(1, 4_000_000)).result(PATIENCE), 2)
    settled(q, at_most=70 * MiB)


@pytest.mark.slow
def test_idle_memory_is_given_back_after_workers_were_killed(q):
    wait_until_staffed(q)
    start = arena_bytes(q)
    with killing(q) as killed:
        while len(killed) < 10:
            for future in [q.delay(doubled, full(1, 2_000_000)) for _ in range(4)]:
                with suppress(WorkerCrashed):
                    future.result(PATIENCE)
    del future

    settled(q, at_most=4096)
    eventually(lambda: arena_bytes(q) <= start + 8 * MiB, within=30, what="the system has its memory back")
    assert q.delay(add_one, full(1)).result(PATIENCE) == 2


SURROUNDED = """
    import numpy as np
    from localq import LocalQueue
    from tests.support.arrays import doubled, full, is_full, total

    with LocalQueue(workers=2, memory="256MB") as q:
        ref = q.put(full(1, 5_000_000))
        assert q.delay(total, ref).result() == 5_000_000
        assert all(is_full(array, 6) for array in q.map(doubled, [full(3, 1_000_000)] * 10))
        assert not q.zeros(5_000_000, sparse=True).any()
    print("well")
"""


@pytest.mark.parametrize(
    "shm", ["mount -t tmpfs -o size=1m tmpfs /dev/shm", "mount -t tmpfs tmpfs /dev && touch /dev/null"]
)
def test_large_data_needs_nothing_of_dev_shm(tmp_path, shm):
    """Of one megabyte, or not there at all, as in containers."""
    apart = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*apart, f"{shm}; true"], capture_output=True, check=False).returncode:
        pytest.skip("mounts can't be changed here")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SURROUNDED))

    done = subprocess.run(
        [*apart, f"{shm} && exec {sys.executable} {script} 0<&- 2>&1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("well\n", 0)
