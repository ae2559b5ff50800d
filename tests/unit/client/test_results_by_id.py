# SPDX-License-Identifier: MIT
"""Results by id: from any client, of any client, until they are pushed out or expire; and which of the two it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localq import LocalQueue, ResultGone, TaskFuture, TaskStatus
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, id_of, is_kept, lines_of, read
from tests.support.scripts import start_script
from tests.support.waiting import Gate, eventually

GUEST = """
    import os, sys, time
    from localq import LocalQueue
    from tests.support import tasks

    q = LocalQueue.attach(sys.argv[1])
"""


def run(queue: LocalQueue, value: object) -> str:
    future = queue.delay(tasks.same, value)
    assert future.result(PATIENCE) == value
    return id_of(future)


def said_by_a_guest(folder: Path, queue: LocalQueue, text: str, *arguments: str) -> str:
    """What a client that attaches prints, as it leaves."""
    folder.mkdir(exist_ok=True)
    with start_script(folder, GUEST + text, queue.name, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    return out.strip()


# which of the two


def test_what_newer_results_pushed_out_is_told_so() -> None:
    with LocalQueue(workers=1, result_cache_size=2) as queue:
        held = queue.delay(tasks.same, 0)
        first = run(queue, 1)
        for value in (2, 3):
            run(queue, value)
        assert held.result() == 0

        assert queue.get_status(first) is TaskStatus.EVICTED
        found = read(queue, first)
        assert (found.task_id, found.status, found.value) == (first, TaskStatus.EVICTED, None)
        with pytest.raises(ResultGone, match=r"newer ones took its place: raise result_cache_size") as raised:
            found.unwrap()
        assert (raised.value.reason, raised.value.task_id) == ("evicted", first)


def test_a_result_whose_time_is_over_is_told_so() -> None:
    with LocalQueue(workers=1, result_ttl=0.05) as queue:
        expired = run(queue, "value")

        eventually(lambda: queue.get_status(expired) is TaskStatus.EXPIRED)
        with pytest.raises(ResultGone, match=r"result_ttl was over: raise that, or read it earlier") as raised:
            read(queue, expired).unwrap()
        assert raised.value.reason == "expired"
        eventually(lambda: queue._space.slots()["cached"] == 0, what="the sweep has taken it")
        assert queue.get_status(expired) is TaskStatus.EXPIRED


def test_of_an_id_that_was_never_given_nothing_is_known() -> None:
    with LocalQueue(workers=1) as queue:
        known = run(queue, 1)
        name, slot, generation = known.split("-")

        for strange in (f"{name}-{slot}-{int(generation, 16) + 1:x}", f"{name}-ffff-1", "", "ffffffff-0-1"):
            assert queue.get_status(strange) is None
            assert queue.get_task_result(strange) is None


def test_of_a_slot_that_serves_another_task_nothing_false_is_said() -> None:
    with LocalQueue(workers=1, capacity=16, result_cache_size=2) as queue:
        ids = [run(queue, value) for value in range(200)]

        kept = [task_id for task_id in ids if is_kept(queue, task_id)]
        assert len(kept) == 2
        assert {queue.get_status(task_id) for task_id in ids} <= {TaskStatus.SUCCESS, TaskStatus.EVICTED, None}
        assert [read(queue, task_id).value for task_id in kept] == [ids.index(task_id) for task_id in kept]


def test_reading_makes_a_result_the_newest() -> None:
    with LocalQueue(workers=1, result_cache_size=2) as queue:
        first, second = run(queue, 1), run(queue, 2)

        assert read(queue, first).value == 1
        run(queue, 3)

        assert [is_kept(queue, task_id) for task_id in (first, second)] == [True, False]


def test_a_failure_and_a_cancelled_task_can_be_read_until_then(q: LocalQueue) -> None:
    failed: TaskFuture[Any] = q.delay(tasks.fail)
    assert isinstance(failed.exception(PATIENCE), tasks.Mishap)

    found = read(q, id_of(failed))

    assert found.status is TaskStatus.FAILURE
    with pytest.raises(tasks.Mishap):
        found.unwrap()


# whose task it is


def test_a_guest_reads_what_the_owner_ran(q: LocalQueue, tmp_path: Path) -> None:
    task_id = run(q, "the owner's")

    text = "    print(q.get_status(sys.argv[2]), q.get_task_result(sys.argv[2]).unwrap())"

    assert said_by_a_guest(tmp_path, q, text, task_id) == "success the owner's"


def test_a_guest_learns_why_a_result_is_gone(tmp_path: Path) -> None:
    with LocalQueue(workers=1, result_cache_size=1, name="small") as queue:
        first, _ = run(queue, 1), run(queue, 2)

        text = "    print(q.get_status(sys.argv[2]))"

        assert said_by_a_guest(tmp_path, queue, text, first) == "evicted"


def test_the_result_of_a_guest_that_has_left_stays(q: LocalQueue, tmp_path: Path) -> None:
    text = """
    future = q.delay(tasks.same, "kept")
    future.result()
    print(future.task_id)
    q.close()
    """

    task_id = said_by_a_guest(tmp_path, q, text)

    assert read(q, task_id).value == "kept"


@pytest.mark.parametrize("leaves", ["q.close(wait=False)", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_task_lives_on_when_its_client_leaves_and_its_result_can_be_read(
    tmp_path: Path, gate: Gate, leaves: str
) -> None:
    with LocalQueue(workers=1, name="service") as queue, gate:
        first = queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        text = f"""
    print(q.delay(tasks.record, sys.argv[2], "ran").task_id, q.delay(tasks.fail).task_id, flush=True)
    {leaves}
        """
        record = str(tmp_path / "record")
        process = start_script(tmp_path, GUEST + text, queue.name, record)
        out, _err = process.communicate(timeout=PATIENCE)
        well, ill = out.split()
        assert queue.get_status(well) is TaskStatus.PENDING

        gate.open()

        assert first.result(PATIENCE) is None
        eventually(lambda: queue.get_status(ill) is TaskStatus.FAILURE)
        assert read(queue, well).value == len("ran\n")
        assert isinstance(read(queue, ill).error, tasks.Mishap)
        assert lines_of(record) == ["ran"]
        audit(queue)


def test_a_result_of_a_client_that_is_gone_expires_like_any_other(tmp_path: Path) -> None:
    with LocalQueue(workers=1, name="brief", result_ttl=0.2) as queue:
        text = """
    print(q.delay(tasks.same, 1).task_id)
    q.close(wait=False)
    """
        task_id = said_by_a_guest(tmp_path, queue, text)

        eventually(lambda: queue.get_status(task_id) is TaskStatus.EXPIRED)
        eventually(lambda: queue._space.slots()["cached"] == 0, what="the sweep has taken it")


def test_results_of_clients_that_are_gone_are_pushed_out_like_any_other(tmp_path: Path) -> None:
    with LocalQueue(workers=1, name="few", result_cache_size=3) as queue:
        text = """
    print(*[q.delay(tasks.same, number).task_id for number in range(20)])
    q.close(wait=False)
    """
        ids = said_by_a_guest(tmp_path, queue, text).split()
        eventually(lambda: not any(queue._space.slots()[state] for state in ("queued", "claimed", "running", "done")))
        for value in range(5):
            run(queue, value)

        eventually(lambda: sum(is_kept(queue, task_id) for task_id in ids) == 0)
        assert queue._space.slots()["cached"] <= 3
        audit(queue)


def test_an_owner_that_closes_waits_for_tasks_of_clients_that_are_gone(tmp_path: Path, gate: Gate) -> None:
    record = str(tmp_path / "record")
    with LocalQueue(workers=1, name="closing") as queue:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        text = """
    for number in range(20):
        q.delay(tasks.record, sys.argv[2], str(number))
    q.close(wait=False)
    """
        said_by_a_guest(tmp_path, queue, text, record)
        gate.open()

    assert lines_of(record) == [str(number) for number in range(20)]


def test_a_lambda_of_a_guest_that_has_left_still_runs(tmp_path: Path, gate: Gate) -> None:
    with LocalQueue(workers=1, name="values") as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        text = """
    base = 40
    print(q.delay(lambda number: base + number, 2).task_id)
    q.close(wait=False)
    """
        task_id = said_by_a_guest(tmp_path, queue, text)
        gate.open()

        found: Any = eventually(lambda: r if (r := read(queue, task_id)).status is TaskStatus.SUCCESS else None)
        assert found.value == 42
