# SPDX-License-Identifier: MIT
"""A queue is steered from outside: stacks, drain, kill, more workers, task modules and their reload."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localq import AttachError, ConfigError, InitializerFailed, LocalQueue, TaskCancelled, WorkerCrashed, _native
from localq.addresses import address_of
from localq.pool import control
from localq.pool.control import lease
from localq.pool.stacks import NUMBER
from localq.pool.visitors import ASK
from tests.support import stopping, tasks
from tests.support.coroutines import arrive
from tests.support.queues import PATIENCE, audit, id_of, is_gone, lines_of, ready_workers, wait_until_staffed
from tests.support.waiting import eventually


@pytest.fixture
def queue() -> Iterator[LocalQueue]:
    """One of the test's own, with two workers."""
    with LocalQueue(workers=2, name="steered", grace_period=0.2) as made:
        wait_until_staffed(made)
        yield made


def ask(name: str, request: dict[str, Any], timeout: float = PATIENCE) -> dict[str, Any]:
    """As everybody asks, but that a queue may take long to start on a busy machine."""
    return control.ask(name, request, timeout)


def stack_of(pid: int) -> str:
    text = ask("steered", {"do": "stack", "pid": pid})["stack"]
    assert isinstance(text, str)
    return text


# --- stacks ---------------------------------------------------------------------------------------------------------


def test_the_stack_of_a_running_task_begins_where_it_is_and_ends_where_it_was_called(queue, gate):
    with gate:
        future = queue.delay(tasks.slow, gate.path)
        (pid,) = gate.wait_for_arrivals(1)

        stack = stack_of(pid)

        assert ", line " in stack
        assert stack.rstrip().splitlines()[-1].endswith(" in slow")
        assert "worker.py" not in stack
    assert future.result(PATIENCE) is None


def test_a_task_in_c_code_that_keeps_the_gil_is_seen_too(queue, tmp_path):
    seen = str(tmp_path / "seen")
    future = queue.delay(stopping.hold_the_gil, seen)
    eventually(lambda: lines_of(seen))
    pid = eventually(lambda: queue._space.running()[0]["pid"])

    assert "in hold_the_gil" in eventually(lambda: text if "hold_the_gil" in (text := stack_of(pid)) else None)

    assert ask("steered", {"do": "kill", "task_id": id_of(future)}) == {"killed": True}
    with pytest.raises(TaskCancelled):
        future.result(PATIENCE)


def run_two_threads(gate: str) -> None:
    thread = threading.Thread(target=tasks.slow, args=(gate,), name="second")
    thread.start()
    tasks.slow(gate)
    thread.join()


def test_all_threads_are_shown(queue, gate):
    with gate:
        future = queue.delay(run_two_threads, gate.path)
        pid = gate.wait_for_arrivals(2)[0]

        assert stack_of(pid).count(" in slow") == 2
    future.result(PATIENCE)


def test_an_idle_worker_is_said_to_wait(queue):
    for pid in ready_workers(queue):
        assert "it waits for a task" in stack_of(pid)


def test_coroutines_on_their_way_are_named_with_their_ids(tmp_path):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=1, name="steered", concurrency=8) as queue:
        futures = [queue.delay(arrive, seen, 4, number) for number in range(3)]
        running = eventually(lambda: found if len(found := queue._space.running()) == 3 else None)

        stack = stack_of(running[0]["pid"])

        assert all(id_of(future) in stack for future in futures)
        tasks.record(seen, "the fourth")
        assert [future.result(PATIENCE)[0] for future in futures] == [0, 1, 2]


def test_many_ask_at_once_and_each_is_answered(queue, gate):
    with gate:
        queue.delay(tasks.slow, gate.path)
        (pid,) = gate.wait_for_arrivals(1)
        answers: list[str] = []
        askers = [threading.Thread(target=lambda: answers.append(stack_of(pid))) for _ in range(20)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()

        assert len(answers) == 20
        assert all(" in slow" in answer for answer in answers)


def lose_handler(gate: str) -> None:
    import signal

    for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
        signal.signal(number, signal.SIG_DFL)
    tasks.slow(gate)


def close_everything(gate: str, mine: str) -> str:
    """As programs do that make daemons of themselves; and then use the descriptors anew. A child has them still."""
    if os.fork() == 0:
        tasks.slow(gate)
        os._exit(0)
    os.closerange(3, 256)
    files = [open(mine, "a") for _ in range(40)]  # noqa: SIM115
    tasks.slow(gate)
    return files[0].name


def test_a_worker_that_has_lost_its_handler_is_not_killed_by_the_question(queue, gate):
    with gate:
        future = queue.delay(lose_handler, gate.path)
        (pid,) = gate.wait_for_arrivals(1)

        with pytest.raises(AttachError, match="changed what its signals do"):
            stack_of(pid)
    assert future.result(PATIENCE) is None


def test_nothing_is_written_into_a_file_that_took_the_place_of_the_pipe(queue, gate, tmp_path):
    with gate:
        future = queue.delay(close_everything, gate.path, str(tmp_path / "mine"))
        (pid,) = set(gate.wait_for_arrivals(2)) & set(ready_workers(queue))

        with pytest.raises(AttachError, match="closed its pipe"):
            stack_of(pid)
    future.exception(PATIENCE)
    assert (tmp_path / "mine").read_text() == ""


def test_a_crash_after_a_question_tells_of_the_crash_only(queue, gate):
    with gate:
        futures = [queue.delay(die_after, gate.path, how) for how in ("abort", "kill")]
        for pid in gate.wait_for_arrivals(2):
            assert " in slow" in stack_of(pid)
            os.kill(pid, NUMBER)  # as one that answers too late

    aborted, killed = (future.exception(PATIENCE) for future in futures)
    assert isinstance(aborted, WorkerCrashed)
    assert isinstance(killed, WorkerCrashed)
    assert " in abort" in aborted.stack
    assert " in slow" not in aborted.stack
    assert killed.stack == ""


def die_after(gate: str, how: str) -> None:
    tasks.slow(gate)  # which goes on when the signal has been handled
    tasks.abort() if how == "abort" else tasks.kill_self()


# --- drain and kill -------------------------------------------------------------------------------------------------


def test_a_drained_worker_finishes_its_task_and_is_replaced(queue, gate):
    with gate:
        future = queue.delay(tasks.slow, gate.path, "through")
        (pid,) = gate.wait_for_arrivals(1)

        assert ask("steered", {"do": "drain", "pid": pid}) == {}
        assert not is_gone(pid)
    assert (future.result(PATIENCE), future.attempts) == ("through", 1)
    eventually(lambda: pid not in wait_until_staffed(queue))


def test_coroutines_on_their_way_hold_up_no_reload_and_end_well(tmp_path):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=2, name="steered", concurrency=8) as queue:
        before = set(wait_until_staffed(queue))
        futures = [queue.delay(arrive, seen, 9, number) for number in range(8)]
        eventually(lambda: len(lines_of(seen)) == 8)
        assert ask("steered", {"do": "facts"})["workers_busy"] >= 1

        assert ask("steered", {"do": "reload"}) == {"workers": 2}

        others = {queue.delay(tasks.pid).result(PATIENCE) for _ in range(20)}
        assert others.isdisjoint(before)
        tasks.record(seen, "the ninth")
        assert [future.result(PATIENCE)[0] for future in futures] == list(range(8))
        eventually(lambda: before.isdisjoint(wait_until_staffed(queue)))


def test_an_idle_worker_is_drained_at_once(queue):
    before = set(ready_workers(queue))
    for pid in before:
        ask("steered", {"do": "drain", "pid": pid})

    eventually(lambda: before.isdisjoint(wait_until_staffed(queue)))
    assert queue._space.tallies["workers_crashed"] == 0


def test_a_killed_task_is_cancelled_at_once_whatever_it_may_run_again(gate):
    with LocalQueue(workers=1, name="steered", max_retries=5, grace_period=60) as queue, gate:
        future = queue.delay(tasks.slow, gate.path)
        (pid,) = gate.wait_for_arrivals(1)
        queued = queue.delay(tasks.same, 1)

        assert ask("steered", {"do": "kill", "task_id": id_of(queued)}) == {"killed": False}
        assert ask("steered", {"do": "kill", "task_id": id_of(future)}) == {"killed": True}

        with pytest.raises(TaskCancelled):
            future.result(PATIENCE)
        assert is_gone(pid)
        assert queued.result(PATIENCE) == 1
        assert len(gate.arrivals()) == 1
        assert ask("steered", {"do": "kill", "task_id": id_of(future)}) == {"killed": False}
        audit(queue)


def test_what_is_no_task_or_no_worker_of_this_queue_is_refused(queue):
    with LocalQueue(workers=1, name="other") as other:
        theirs = other.delay(tasks.same, 1)
        theirs.result(PATIENCE)
        ids = (id_of(theirs), "", "-", "0-0", f"{'f' * 40}-1-1", "x-1-1", "00000000--1-5", "0-ffffffffffff-1", "ü-1-1")
        for task_id in ids:
            with pytest.raises(AttachError, match="no task of this queue"):
                ask("steered", {"do": "kill", "task_id": task_id})
    for pid in (0, 1, -1, os.getpid(), 1 << 60):
        for do in ("stack", "drain"):
            with pytest.raises(AttachError, match="no worker"):
                ask("steered", {"do": do, "pid": pid})
    assert queue.delay(tasks.same, 1).result(PATIENCE) == 1


# --- workers for a while --------------------------------------------------------------------------------------------


def test_a_lease_brings_workers_and_takes_idle_ones_away_again(queue, gate):
    with gate:
        with lease("steered", 2) as held:
            assert held.workers == 4
            futures = [queue.delay(tasks.slow, gate.path) for _ in range(4)]
            busy = gate.wait_for_arrivals(4)
            assert queue._space.workers == 4
        eventually(lambda: queue._space.workers == 2)
        assert not any(map(is_gone, busy))
    assert [future.result(PATIENCE) for future in futures] == [None] * 4
    eventually(lambda: sum(not is_gone(pid) for pid in busy) == 2)
    assert len(wait_until_staffed(queue)) == 2
    assert held.ended is None


def test_a_busy_worker_stays_when_an_idle_one_can_go(queue, gate):
    with gate:
        futures = [queue.delay(tasks.slow, gate.path, number) for number in range(2)]
        busy = gate.wait_for_arrivals(2)
        with lease("steered", 3):
            eventually(lambda: len(ready_workers(queue)) == 5)
        eventually(lambda: set(ready_workers(queue)) == set(busy))
    assert [future.result(PATIENCE) for future in futures] == [0, 1]


def test_leases_add_up_and_a_crashed_worker_of_one_is_replaced(queue):
    with lease("steered", 1), lease("steered", 2) as second:
        assert second.workers == 5
        eventually(lambda: len(ready_workers(queue)) == 5)
        queue.delay(tasks.kill_self).exception(PATIENCE)
        eventually(lambda: len(ready_workers(queue)) == 5)
    eventually(lambda: len(ready_workers(queue)) == 2)


def test_more_workers_than_there_is_room_for_are_refused(queue):
    for count in (0, -1, 239, 1 << 40):
        with pytest.raises(AttachError, match="room for 238 more"):
            lease("steered", count)
    assert queue._space.workers == 2


def test_a_lease_ends_with_its_queue_and_says_so():
    with LocalQueue(workers=1, name="brief") as queue:
        wait_until_staffed(queue)
        held = lease("brief", 1)
    assert held.wait(PATIENCE)
    assert held.ended is not None
    assert "brief" in held.ended
    held.close()


def test_a_lease_is_not_taken_over_to_another_queue_of_that_name():
    with LocalQueue(workers=1, name="brief"):
        held = lease("brief", 1)
    with LocalQueue(workers=1, name="brief") as other:
        assert held.wait(PATIENCE)
        eventually(lambda: other._space.workers == 1)
    held.close()


# --- task modules ---------------------------------------------------------------------------------------------------


def write_module(folder: Path, name: str, answer: str, more: str = "") -> None:
    (folder / f"{name}.py").write_text(
        "from localq import task\n\n"
        "@task(priority='high', timeout=5, max_retries=2)\n"
        "def answer(to: str = 'you') -> str:\n"
        '    """Answer politely.\n\n    At length.\n    """\n'
        f"    return {answer!r}\n{more}"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, which is on the path of task modules."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


both_methods = pytest.mark.parametrize("start_method", ["clean", "fork"])


def of_the_module(answer):
    """What is told of the tasks of `polite`: a forked queue also has those that were registered here."""
    return [told for told in answer["tasks"] if told["module"] == "polite"]


@both_methods
def test_tasks_are_called_by_name_and_told_of_without_a_free_worker(folder, gate, start_method):
    write_module(folder, "polite", "yes")
    with LocalQueue(workers=1, name="steered", task_modules=("polite",), start_method=start_method) as queue, gate:
        held = queue.delay(tasks.slow, gate.path)
        (told,) = of_the_module(ask("steered", {"do": "tasks"}))
        gate.open()

        assert held.result(PATIENCE) is None
        assert queue.delay("polite.answer").result(PATIENCE) == "yes"
    assert told == {
        "name": "polite.answer",
        "module": "polite",
        "signature": "(to: str = 'you') -> str",
        "doc": "Answer politely.",
        "queue": None,
        "priority": "high",
        "timeout": 5.0,
        "max_retries": 2,
    }


@both_methods
def test_a_reload_takes_up_what_the_files_hold_and_disturbs_nothing(folder, gate, start_method):
    write_module(folder, "polite", "first")
    with LocalQueue(workers=3, name="steered", task_modules=("polite",), start_method=start_method) as queue, gate:
        before = set(wait_until_staffed(queue))
        held = queue.delay(tasks.slow, gate.path, "through")
        (busy,) = gate.wait_for_arrivals(1)
        write_module(folder, "polite", "the second", "\n@task\ndef more() -> None: ...\n")

        assert ask("steered", {"do": "reload"}) == {"workers": 3}

        answers = [queue.delay("polite.answer") for _ in range(20)]
        assert {each.result(PATIENCE) for each in answers} == {"the second"}
        names = {told["name"] for told in of_the_module(ask("steered", {"do": "tasks"}))}
        assert names == {"polite.answer", "polite.more"}
        gate.open()
        assert (held.result(PATIENCE), held.attempts) == ("through", 1)
        eventually(lambda: is_gone(busy))
        eventually(lambda: before.isdisjoint(found := wait_until_staffed(queue)) and len(found) == 3)


def test_a_reload_that_fails_leaves_the_workers_as_they_are_and_says_why(folder, capfd):
    write_module(folder, "polite", "first")
    with LocalQueue(workers=2, name="steered", task_modules=("polite",)) as queue:
        before = wait_until_staffed(queue)
        write_module(folder, "polite", "second", "\nraise RuntimeError('out of order')\n")

        with pytest.raises(AttachError, match=r"'polite' could not be imported(.|\n)*out of order"):
            ask("steered", {"do": "reload"})

        assert sorted(wait_until_staffed(queue)) == sorted(before)
        assert queue.delay("polite.answer").result(PATIENCE) == "first"
        texts = [event[5] for event in queue._space.journal()]
        assert any("reload failed" in text and "out of order" in text for text in texts)
        write_module(folder, "polite", "third one")
        ask("steered", {"do": "reload"})
        assert queue.delay("polite.answer").result(PATIENCE) == "third one"
    assert "out of order" in capfd.readouterr().err


def test_reloads_that_are_asked_for_at_once_all_end(folder):
    write_module(folder, "polite", "first")
    with LocalQueue(workers=2, name="steered", task_modules=("polite",)) as queue:
        wait_until_staffed(queue)
        answers: list[int] = []
        askers = [
            threading.Thread(target=lambda: answers.append(ask("steered", {"do": "reload"}, PATIENCE)["workers"]))
            for _ in range(5)
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()

        assert answers == [2] * 5
        assert len(wait_until_staffed(queue)) == 2
        audit(queue)


def test_a_reload_that_hangs_in_an_import_is_begun_anew_by_the_next(folder, gate):
    write_module(folder, "polite", "first")
    with LocalQueue(workers=1, name="steered", task_modules=("polite",)) as queue, gate:
        wait_until_staffed(queue)
        write_module(folder, "polite", "second", f"\nfrom tests.support import tasks\ntasks.slow({gate.path!r})\n")
        answers: list[int] = []
        asker = threading.Thread(target=lambda: answers.append(ask("steered", {"do": "reload"}, PATIENCE)["workers"]))
        asker.start()
        (hangs,) = gate.wait_for_arrivals(1)
        assert queue.delay("polite.answer").result(PATIENCE) == "first"
        write_module(folder, "polite", "the third")

        assert ask("steered", {"do": "reload"}) == {"workers": 1}
        asker.join()

        assert queue.delay("polite.answer").result(PATIENCE) == "the third"
        assert (answers, is_gone(hangs)) == ([1], True)
        assert not any("reload failed" in event[5] for event in queue._space.journal())


def test_a_module_that_can_not_be_imported_breaks_the_queue_and_is_named(folder):
    (folder / "broken.py").write_text("import no_such_module_at_all")
    with LocalQueue(workers=1, name="steered", task_modules=("broken",)) as queue:
        with pytest.raises(InitializerFailed, match="task module 'broken'") as caught:
            queue.delay(tasks.noop).result(PATIENCE)
        assert caught.value.task_module == "broken"
        assert "no_such_module_at_all" in caught.value.traceback
        with pytest.raises(AttachError):
            ask("steered", {"do": "tasks"})


@pytest.mark.parametrize("wrong", ["polite", ("no name",), (1,), ("",)])
def test_task_modules_are_names(wrong):
    with pytest.raises(ConfigError, match="task_modules"):
        LocalQueue(workers=1, task_modules=wrong)


def test_more_tasks_than_a_packet_holds_are_told(folder):
    functions = "".join(f"@task\ndef f{n}() -> None:\n    '''{'x' * 200}'''\n" for n in range(1000))
    write_module(folder, "many", "yes", f"\n{functions}")
    with LocalQueue(workers=1, name="steered", task_modules=("many",)):
        assert len(ask("steered", {"do": "tasks"})["tasks"]) == 1001


# --- facts, and nonsense --------------------------------------------------------------------------------------------


def test_the_facts_of_a_queue(queue, gate):
    with gate:
        for _ in range(2):
            queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(2)
        queue.delay(tasks.noop)
        facts = ask("steered", {"do": "facts"})
    assert (facts["name"], facts["owner_pid"], facts["phase"]) == ("steered", os.getpid(), "open")
    assert (facts["workers"], facts["workers_alive"], facts["workers_busy"]) == (2, 2, 2)
    assert (facts["queued"], facts["running"]) == ({"default": 1}, 2)
    assert facts["uptime"] >= 0


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"do": 5},
        {"do": "nothing"},
        {"do": "stack"},
        {"do": "stack", "pid": "1"},
        {"do": "stack", "pid": True},
        {"do": "stack", "pid": 1.0},
        {"do": "tasks", "more": 1},
        {"do": "drain", "pid": 1, "task_id": "x"},
        {"do": "kill", "task_id": 5},
        {"do": "kill", "task_id": None},
        {"do": "workers", "count": [1]},
    ],
)
def test_a_request_that_is_none_is_refused(queue, request_):
    with pytest.raises(AttachError, match="refuses"):
        ask("steered", request_)
    assert ask("steered", {"do": "facts"})["workers"] == 2


def test_bytes_without_sense_harm_nobody(queue):
    chance = random.Random(7)
    for number in range(300):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(address_of("steered"))
            connection.settimeout(PATIENCE)
            connection.send(ASK + chance.randbytes(chance.randrange(200)) if number % 3 else ASK)
            if number % 2:
                assert b"refused" in connection.recv(1 << 16)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(address_of("steered"))
        said = _native.encode_value({"do": "facts"})
        assert said is not None
        connection.send(ASK + said)
        with contextlib.suppress(BrokenPipeError):  # it may have answered and hung up
            connection.send(b"and more")
    assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
    assert ask("steered", {"do": "facts"})["workers"] == 2


def test_who_asks_and_goes_leaves_nothing(queue, gate):
    supervisor = ask("steered", {"do": "facts"})["supervisor_pid"]
    before = len(os.listdir(f"/proc/{supervisor}/fd"))
    said = _native.encode_value({"do": "stack", "pid": ready_workers(queue)[0]})
    assert said is not None
    for _ in range(100):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(address_of("steered"))
            connection.send(ASK + said)

    eventually(
        lambda: len(os.listdir(f"/proc/{supervisor}/fd")) <= before
    )  # less: who asked for the facts had not gone
    assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
