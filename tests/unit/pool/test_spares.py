# SPDX-License-Identifier: MIT
"""Workers that are replaced after some tasks have successors that wait already: seen by nobody, and in nobody's way."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path

import pytest

from localq import AttachError, InitializerFailed, LocalQueue
from localq._native import ROLE_SPARE, ROLE_WORKER
from localq.monitor.looks import Role, take_look
from localq.pool.control import ask
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, is_gone, lines_of, ready_workers, supervisor_of, wait_until_staffed
from tests.support.waiting import Gate, eventually


def spares_of(queue: LocalQueue) -> list[int]:
    """The process ids of the spares that are set up."""
    rows = [row for row in queue._space.rows() if row["role"] == ROLE_SPARE and row["live"] and row["ready"]]
    return [row["pid"] for row in rows if not is_gone(row["pid"])]


def wait_for_spares(queue: LocalQueue, but: list[int] | None = None) -> list[int]:
    """Wait until there is one, and none of those; their process ids."""
    return eventually(
        lambda: found if (found := spares_of(queue)) and not set(found) & set(but or []) else None, what="a spare"
    )


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to write module `counted`, which workers then find."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "counted.py"


COUNTED = """
from tests.support import tasks
from tests.support.queues import lines_of
import contextlib
import os
import random
PATH = {path!r}
tasks.record(PATH, str(os.getpid()))
COUNT = len(lines_of(PATH))
{more}
def pid():
    return os.getpid()
"""


def write(module: Path, more: str = "") -> Path:
    """Each process that imports it leaves a line; then it does `more`. Returns the lines' file."""
    record = module.with_suffix(".imports")
    module.write_text(COUNTED.format(path=str(record), more=more))
    return record


# --- what they are for ----------------------------------------------------------------------------------------------


def test_the_successor_of_a_recycled_worker_has_imported_the_task_s_module_before_it_is_one(module):
    imports = write(module)
    with LocalQueue(workers=1, max_tasks_per_child=1) as queue:
        first = queue.delay("counted:pid").result(PATIENCE)
        spare = eventually(
            lambda: next((pid for pid in spares_of(queue) if str(pid) in lines_of(imports)), None), what="a warm spare"
        )

        eventually(lambda: queue.delay("counted:pid").result(PATIENCE) == spare)

        assert spare != first
        assert lines_of(imports).count(str(spare)) == 1
        audit(queue)


@pytest.mark.parametrize("limit", [{"max_tasks_per_child": 1000}, {"max_memory_per_child": "1GiB"}])
def test_a_queue_has_spares_before_it_needs_the_first(limit):
    with LocalQueue(workers=1, **limit) as queue:
        wait_for_spares(queue)

        os.kill(wait_until_staffed(queue)[0], signal.SIGKILL)  # whatever it is that a worker ends of

        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_queue_that_replaces_no_workers_has_no_spares():
    with LocalQueue(workers=1) as queue:
        os.kill(wait_until_staffed(queue)[0], signal.SIGKILL)
        queue.delay(tasks.noop).result(PATIENCE)

        assert not any(row["role"] == ROLE_SPARE for row in queue._space.rows())


def test_many_short_lives_lose_nothing_and_do_nothing_twice(tmp_path):
    record = str(tmp_path / "record")
    with LocalQueue(workers=2, max_tasks_per_child=1) as queue:
        futures = [queue.delay(tasks.record, record, str(number)) for number in range(60)]
        for future in futures:
            future.result(PATIENCE)

        assert sorted(map(int, lines_of(record))) == list(range(60))
        wait_until_staffed(queue)
        audit(queue)


def test_what_is_queued_when_a_queue_closes_is_done_by_short_lives_as_well(tmp_path):
    record = str(tmp_path / "record")
    with LocalQueue(workers=1, max_tasks_per_child=1) as queue:
        for number in range(20):
            queue.delay(tasks.record, record, str(number))

    assert lines_of(record) == [str(number) for number in range(20)]


# --- nobody sees them -----------------------------------------------------------------------------------------------


def test_a_spare_is_no_worker_for_anybody_who_looks():
    with LocalQueue(workers=2, max_tasks_per_child=100, name="spared") as queue:
        workers = wait_until_staffed(queue)
        (spare, *_) = wait_for_spares(queue)

        seen = queue.snapshot()
        assert sorted(worker.pid for worker in seen.workers) == sorted(workers)
        assert (seen.queue.workers, seen.restarts.workers_started) == (2, 2)
        assert ask("spared", {"do": "facts"})["workers_alive"] == 2
        with pytest.raises(AttachError, match="no worker with process id"):
            ask("spared", {"do": "drain", "pid": spare})
        look = take_look(queue._space, True)
        assert spare in [each.pid for each in look.of(Role.SPARE)]
        assert len(look.of(Role.WORKER)) == 2


def test_a_worker_that_lost_its_pipe_writes_its_last_word_nowhere(tmp_path):
    path = tmp_path / "precious"

    def take_the_places() -> int:
        os.closerange(3, 64)  # as programs do that become daemons
        return sum(os.open(path, os.O_RDWR | os.O_CREAT) > 0 for _ in range(61))

    with LocalQueue(workers=1, max_tasks_per_child=1) as queue:
        queue.delay(take_the_places)
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1

    assert path.read_bytes() == b""


# --- they die, stop, can't start ------------------------------------------------------------------------------------


def test_a_killed_spare_is_replaced_and_counts_as_nobody_s_crash():
    with LocalQueue(workers=1, max_tasks_per_child=100) as queue:
        workers = wait_until_staffed(queue)
        spares = wait_for_spares(queue)
        for spare in spares:
            os.kill(spare, signal.SIGKILL)

        wait_for_spares(queue, but=spares)

        assert ready_workers(queue) == workers
        assert queue._space.tallies["workers_crashed"] == 0
        assert queue.delay(tasks.pid).result(PATIENCE) == workers[0]
        audit(queue)


def test_a_stopped_spare_is_passed_over_and_ended():
    with LocalQueue(workers=1, max_tasks_per_child=1) as queue:
        queue.delay(tasks.noop).result(PATIENCE)
        (spare, *_) = wait_for_spares(queue)
        os.kill(spare, signal.SIGSTOP)

        pids = [queue.delay(tasks.pid).result(PATIENCE) for _ in range(10)]
        wait_until_staffed(queue)

        assert spare not in pids
        eventually(lambda: is_gone(spare) or queue.delay(tasks.pid).result(PATIENCE) is None)
        audit(queue)


def test_a_spare_that_is_stopped_when_the_queue_closes_ends_with_it():
    with LocalQueue(workers=1, max_tasks_per_child=100) as queue:
        (spare, *_) = wait_for_spares(queue)
        os.kill(spare, signal.SIGSTOP)

    assert is_gone(spare)


@pytest.mark.parametrize("start_method", ["clean", "fork"])
def test_the_spares_of_a_killed_supervisor_end_and_its_successor_makes_its_own(start_method):
    with LocalQueue(workers=1, max_tasks_per_child=1, start_method=start_method) as queue:
        queue.delay(tasks.noop).result(PATIENCE)
        before = wait_for_spares(queue)

        os.kill(supervisor_of(queue), signal.SIGKILL)

        eventually(lambda: all(map(is_gone, before)))
        assert len({queue.delay(tasks.pid).result(PATIENCE) for _ in range(10)}) == 10
        wait_for_spares(queue, but=before)
        wait_until_staffed(queue)
        audit(queue)


def test_a_reload_replaces_the_spares_as_well():
    with LocalQueue(workers=1, max_tasks_per_child=100, name="spared") as queue:
        workers, spares = wait_until_staffed(queue), wait_for_spares(queue)

        ask("spared", {"do": "reload"}, PATIENCE)

        wait_for_spares(queue, but=spares)
        eventually(lambda: all(map(is_gone, [*workers, *spares])))
        assert wait_until_staffed(queue)[0] not in spares


def test_a_module_that_kills_a_spare_is_left_to_the_tasks_that_need_it(module):
    imports = write(module, "if COUNT > 1: os._exit(0)")
    with LocalQueue(workers=1, max_tasks_per_child=3) as queue:
        workers = wait_until_staffed(queue)
        assert queue.delay("counted:pid").result(PATIENCE) == workers[0]
        eventually(lambda: len(lines_of(imports)) == 2, what="the death of a spare")

        wait_for_spares(queue, but=[int(pid) for pid in lines_of(imports)])

        assert [queue.delay(tasks.same, number).result(PATIENCE) for number in range(20)] == list(range(20))
        assert len(lines_of(imports)) == 2


def test_a_module_that_never_ends_to_import_in_a_spare_holds_up_nobody(module, tmp_path):
    with Gate(tmp_path) as gate:
        write(module, f"if COUNT > 1: tasks.slow({gate.path!r})")
        with LocalQueue(workers=1, max_tasks_per_child=2) as queue:
            queue.delay("counted:pid").result(PATIENCE)
            (spare,) = gate.wait_for_arrivals(1)

            assert [queue.delay(tasks.same, number).result(PATIENCE) for number in range(10)] == list(range(10))
            assert spares_of(queue) == [spare]
            queue.close()
            assert is_gone(spare)


def refuse_after(path: str, runs: int) -> None:
    tasks.record(path, "run")
    if len(lines_of(path)) > runs:
        raise ValueError("no more of us")


def test_spares_that_can_not_start_are_told_of_and_leave_the_workers_alone(tmp_path, capfd):
    record = str(tmp_path / "record")
    with LocalQueue(
        workers=1, max_tasks_per_child=100, initializer=refuse_after, initargs=(record, 1), output="inherit"
    ) as queue:
        workers = wait_until_staffed(queue)
        eventually(lambda: len(lines_of(record)) >= 3, what="a second try")

        assert queue.delay(tasks.pid).result(PATIENCE) == workers[0]
    assert "a worker can't be started: the initializer raised" in capfd.readouterr().err


def test_a_queue_that_can_start_no_more_workers_says_so_whether_they_were_to_be_spares_or_not(tmp_path):
    record = str(tmp_path / "record")
    with LocalQueue(workers=1, max_tasks_per_child=1, initializer=refuse_after, initargs=(record, 1)) as queue:
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1

        with pytest.raises(InitializerFailed, match="no more of us"):
            queue.delay(tasks.same, 2).result(PATIENCE)


def test_whoever_is_killed_of_spares_and_workers_every_task_is_done():
    chance = random.Random(3)
    with LocalQueue(workers=2, max_tasks_per_child=3, max_retries=15) as queue:
        futures = []
        for number in range(300):
            futures.append(queue.delay(tasks.same, number))
            if number % 15 == 14:
                pids = [row["pid"] for row in queue._space.rows() if row["role"] in (ROLE_SPARE, ROLE_WORKER)]
                for pid in chance.sample(pids, min(2, len(pids))):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid or 1 << 30, chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)))

        assert [future.result(PATIENCE) for future in futures] == list(range(300))
        wait_until_staffed(queue)
        audit(queue)
