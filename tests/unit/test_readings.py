# SPDX-License-Identifier: MIT
"""What processes tell, read from the Space: meters, functions, tasks in hand, notes, journal, trace, what is gone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from localq import LocalQueue, TaskTimeout, WorkerCrashed, _native
from localq._native import FUNCTION_BOUNDS, METER_BOUNDS, OTHERS, Space, now_ns
from tests.support import tasks
from tests.support.queues import PATIENCE
from tests.support.queues import gate as gate
from tests.support.waiting import Gate, eventually

FAR = 60 * 10**9


@pytest.fixture
def lone() -> Iterator[LocalQueue]:
    """One worker, and nobody else's sums in the meters."""
    with LocalQueue(workers=1) as queue:
        yield queue


@pytest.fixture
def seen(lone: LocalQueue) -> Space:
    """The Space of a queue of one worker, as a monitor has it: for reading only."""
    control, payload = map(os.dup, lone._space.fds)
    return Space.open(control, payload, False)


def calls_of(space: Space, name: str) -> dict[str, object]:
    (found,) = [one for one in space.functions() if one["name"] == name]
    return dict(found)


def events_of(space: Space, kind: str) -> list[tuple[int, int, int, str]]:
    return [(pid, slot, task, text) for _, its, pid, slot, task, text, _ in space.journal() if its == kind]


# ---- meters


def test_buckets_are_a_quarter_of_an_octave_from_a_microsecond_to_hours():
    assert list(METER_BOUNDS) == sorted(METER_BOUNDS)
    assert METER_BOUNDS[0] < 1e-6
    assert METER_BOUNDS[-2] > 4 * 3600
    assert METER_BOUNDS[-1] == FUNCTION_BOUNDS[-1] == float("inf")
    for bounds, octave in ((METER_BOUNDS, 4), (FUNCTION_BOUNDS, 2)):
        for i in range(octave - 1, len(bounds) - 1 - octave):
            assert bounds[i + octave] == pytest.approx(2 * bounds[i])


def test_every_task_is_counted_by_how_it_ended_and_how_long_it_waited_and_ran(lone, seen):
    for _ in range(3):
        lone.delay(tasks.same, 1).result(PATIENCE)
    with pytest.raises(tasks.Mishap):
        lone.delay(tasks.fail).result(PATIENCE)
    with pytest.raises(tasks.Mishap):
        lone.options(max_retries=2).delay(tasks.fail).result(PATIENCE)
    assert list(lone.map(tasks.same, range(10), chunksize=5)) == list(range(10))

    meters = eventually(lambda: found if sum((found := seen.meters())["run"]) == 9 else None)

    sums = {name: value for name, value in meters.items() if isinstance(value, int)}
    assert sums.pop("run_ns") > 0
    assert sums.pop("wait_ns") > 0
    assert sums.pop("bytes_in") > 0
    assert sums.pop("bytes_out") > 0
    assert sums == {"succeeded": 5, "failed": 2, "retried": 2, "cancelled": 0, "items": 10}
    assert len(meters["wait"]) == len(meters["run"]) == len(METER_BOUNDS)
    assert sum(meters["wait"]) == 7  # once a task; `run`: once a run


def test_functions_are_counted_by_name(lone, seen):
    def local(value: int) -> int:
        return value

    lone.delay(local, 1).result(PATIENCE)
    lone.delay(lambda: 1).result(PATIENCE)
    lone.delay(tasks.same, 1).result(PATIENCE)
    lone.delay(os.path.basename, "a/b").result(PATIENCE)
    list(lone.map(tasks.same, range(4), chunksize=2))
    lone.delay(tasks.fail).exception(PATIENCE)

    def is_complete() -> bool:
        return sum(sum(one["run"]) for one in seen.functions()) == 7

    eventually(is_complete)
    here = test_functions_are_counted_by_name.__qualname__
    counts = {one["name"]: (one["succeeded"], one["failed"], one["items"]) for one in seen.functions()}
    assert counts == {
        f"{here}.<locals>.local": (1, 0, 0),
        f"{here}.<locals>.<lambda>": (1, 0, 0),
        "tests.support.tasks:same": (3, 0, 4),
        "posixpath:basename": (1, 0, 0),
        "tests.support.tasks:fail": (0, 1, 0),
    }
    same = calls_of(seen, "tests.support.tasks:same")
    assert isinstance(same["run_ns"], int)
    assert isinstance(same["most_ns"], int)
    assert 0 < same["most_ns"] <= same["run_ns"]


def test_what_is_published_anew_under_a_name_goes_on_where_it_was(lone, seen):
    for value in range(20):
        assert lone.delay(lambda value=value: value).result(PATIENCE) == value

    eventually(lambda: sum(sum(one["run"]) for one in seen.functions()) == 20)
    (found,) = seen.functions()
    assert found["succeeded"] == 20


def test_functions_beyond_the_room_of_the_table_are_counted_together(lone, seen):
    for number in range(100):
        space: dict[str, object] = {}
        exec(f"def f{number}(): return {number}", space)
        function = space[f"f{number}"]
        assert callable(function)
        assert lone.delay(function).result(PATIENCE) == number

    eventually(lambda: sum(sum(one["run"]) for one in seen.functions()) == 100)
    assert len(seen.functions()) == 64
    assert calls_of(seen, OTHERS)["succeeded"] == 100 - 63


def test_a_name_is_cut_where_a_character_ends(lone, seen):
    function = eval("lambda: 1")
    function.__qualname__ = "ü" * 80 + "ß"
    lone.delay(function).result(PATIENCE)

    eventually(lambda: sum(sum(one["run"]) for one in seen.functions()) == 1)
    assert seen.functions()[0]["name"] == "ü" * 50


def test_sums_survive_the_process_that_counted_and_the_next_one_begins_with_nothing(lone, seen):
    lone.delay(tasks.same, 1).result(PATIENCE)
    with pytest.raises(WorkerCrashed):
        lone.delay(tasks.kill_self).result(PATIENCE)
    lone.delay(tasks.same, 1).result(PATIENCE)

    eventually(lambda: seen.meters()["succeeded"] == 2)
    assert seen.meters()["failed"] == 1
    (worker,) = [row for row in seen.rows() if row["role"] == _native.ROLE_WORKER and row["live"]]
    assert (worker["succeeded"], worker["failed"]) == (1, 0)
    assert 0 < worker["joined_ns"] < now_ns()
    assert calls_of(seen, "tests.support.tasks:kill_self")["failed"] == 1


# ---- tasks in hand


def test_running_tells_every_task_in_a_worker_s_hands(lone, seen, gate):
    assert seen.running() == []
    future = lone.options(timeout=300.0).delay(tasks.slow, gate.path)
    (pid,) = gate.wait_for_arrivals(1)

    (found,) = seen.running()

    assert (found["slot"], found["task_generation"]) == (future.slot, future.generation)
    assert (found["pid"], found["state"], found["attempt"]) == (pid, "running", 1)
    assert found["function"] == seen.name_of(future.slot, future.generation) == "tests.support.tasks:slow"
    assert (found["limit_ms"], found["kind"], found["queue"], found["priority"]) == (300_000, 0, 0, 2)
    assert 0 < found["submit_ns"] <= found["start_ns"] <= now_ns()
    gate.open()
    future.result(PATIENCE)
    eventually(lambda: seen.running() == [])
    assert seen.name_of(future.slot, future.generation + 1) is None
    assert seen.name_of(1 << 30, 1) is None


# ---- notes


def test_a_note_is_seen_by_who_can_only_read(lone, seen, gate):
    future = lone.delay(tasks.note, gate.path, 0.4, "ü" * 150)
    gate.wait_for_arrivals(1)

    note = seen.notes(future.slot, future.generation)

    assert note is not None
    seq, progress, message = note
    assert (seq > 0, progress, message) == (True, 0.4, "ü" * 100)
    assert seen.notes(future.slot, future.generation + 1) is None
    assert seen.notes(1 << 30, 1) is None
    gate.open()
    assert future.result(PATIENCE) is True


@pytest.mark.parametrize(("progress", "message"), [(None, None), (0, ""), (None, "on its way"), (1.5, None)])
def test_parts_of_a_note_may_be_missing(lone, seen, gate, progress, message):
    future = lone.delay(tasks.note, gate.path, progress, message)
    gate.wait_for_arrivals(1)
    note = seen.notes(future.slot, future.generation)
    assert note is not None
    assert note[1:] == (progress, message)
    gate.open()
    future.result(PATIENCE)


def test_who_watches_is_woken_by_a_note_and_by_the_end(lone, seen, gate, tmp_path):
    with Gate(tmp_path, "first") as first:
        waits = lone.delay(tasks.slow, first.path)
        first.wait_for_arrivals(1)
        future = lone.delay(tasks.note, gate.path, 0.5, None)
        assert lone._client.watch(future.slot, future.generation)
        news: list[bool] = []
        thread = threading.Thread(target=lambda: news.append(seen.wait_note(future.slot, future.generation, 0, 60.0)))
        thread.start()
        first.open()
        thread.join(PATIENCE)
        waits.result(PATIENCE)
    assert news == [True]
    note = seen.notes(future.slot, future.generation)
    assert note is not None
    thread = threading.Thread(target=lambda: news.append(seen.wait_note(future.slot, future.generation, note[0], 60.0)))
    thread.start()
    gate.open()
    thread.join(PATIENCE)
    assert news == [True, True]
    assert future.done() or future.result(PATIENCE)
    assert not lone._client.watch(future.slot, future.generation)
    assert seen.wait_note(future.slot, future.generation, note[0], 60.0)


def test_waiting_for_a_note_ends_when_time_runs_out(lone, seen, gate):
    future = lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    assert not seen.wait_note(future.slot, future.generation, 0, 0.0)
    assert not seen.wait_note(future.slot, future.generation, 0, 0.01)
    gate.open()


def test_waiting_for_a_note_lets_signals_through(lone, gate):
    class Alarm(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise Alarm

    future = lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Alarm):
            lone._space.wait_note(future.slot, future.generation, 0, PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gate.open()


# ---- the journal


def test_the_journal_tells_failures_retries_and_lines(lone, seen):
    future = lone.options(max_retries=1).delay(tasks.fail, "bad value")
    future.exception(PATIENCE)
    said = lone.delay(tasks.log, "one\0two", "ß" * 150)
    said.result(PATIENCE)

    place = (future.worker_pid, future.slot, future.generation)
    assert events_of(seen, "retry") == [(*place, "Mishap: ('bad value', 7)")]
    assert events_of(seen, "failure") == [(*place, "Mishap: ('bad value', 7)")]
    lines = [(slot, task, text) for _, slot, task, text in events_of(seen, "log")]
    assert lines == [(said.slot, said.generation, text) for text in ("one two", "ß" * 100)]
    times = [event[0] for event in seen.journal()]
    assert times == sorted(times)
    assert times[-1] <= now_ns()


def test_the_journal_tells_crashes_timeouts_and_cancellations(lone, seen, gate):
    crashed = lone.delay(tasks.kill_self)
    with pytest.raises(WorkerCrashed):
        crashed.result(PATIENCE)
    late = lone.options(timeout=0.05).delay(tasks.slow, gate.path)
    with pytest.raises(TaskTimeout):
        late.result(PATIENCE)
    holds = lone.delay(tasks.slow, gate.path)
    waits = lone.delay(tasks.same, 1)
    assert waits.cancel()
    gate.open()
    holds.result(PATIENCE)

    ((pid, slot, task, text),) = events_of(seen, "crash")
    assert (slot, task) == (crashed.slot, crashed.generation)
    assert pid > 0
    assert "SIGKILL" in text
    ((_, slot, task, _),) = events_of(seen, "timeout")
    assert (slot, task) == (late.slot, late.generation)
    cancelled = eventually(lambda: events_of(seen, "cancelled"))
    assert [event[1:3] for event in cancelled] == [(waits.slot, waits.generation)]


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_an_error_that_can_not_be_shown_is_told_by_its_name(lone, seen, raised):
    class Mute(Exception):
        def __str__(self) -> str:
            raise raised

    def fail() -> None:
        raise Mute

    assert "crash" not in type(lone.delay(fail).exception(PATIENCE)).__name__.lower()
    assert [event[3] for event in events_of(seen, "failure")] == ["Mute"]


def test_the_journal_tells_of_items_that_failed_in_a_chunk(lone, seen):
    found = list(lone.map(tasks.fail_if_odd, range(10), chunksize=5, return_exceptions=True))
    assert [type(result) is int for result in found] == [True, False] * 5
    texts = [text for _, _, _, text in events_of(seen, "failure")]
    assert [text.split(":")[0] for text in texts] == ["2 of 5 items, the first", "3 of 5 items, the first"]
    assert "1" in texts[0].split(":", 2)[2]

    list(
        lone.map(
            lambda number: threading.Lock() if number == 2 else number, range(4), chunksize=4, return_exceptions=True
        )
    )
    assert events_of(seen, "failure")[-1][3].startswith("1 of 4 items, the first: ")


def test_the_supervisor_s_side_can_tell_of_others():
    space = Space.create(capacity=4, result_cache_size=2, queues=1, cpus=1, memory=1 << 20, ttl_ms=0, identity=1)
    label = space.join(_native.ROLE_SUPERVISOR, os.getpid())
    space.tell(label, "restart", "worker 12 exited with status 3", 12)
    for number in range(50):
        space.tell(label, "log", f"line {number}")
    assert [event[1:] for event in space.journal()][-1] == ("log", 0, 0, 0, "line 49", None)
    assert len(space.journal()) == 32
    with pytest.raises(ValueError, match="no kind of event"):
        space.tell(label, "gossip", "")  # type: ignore[arg-type]


# ---- the trace


def test_a_trace_has_a_record_of_each_task_and_of_each_result_that_was_taken(lone, seen):
    cursor = bytearray()
    lone.delay(tasks.same, 0).result(PATIENCE)
    assert seen.trace(cursor) == ([], 0)
    lone._space.trace_until(now_ns() + FAR)
    futures = [lone.delay(tasks.same, number) for number in range(50)]
    for future in futures:
        future.result(PATIENCE)
    lone.delay(tasks.fail).exception(PATIENCE)

    records, lost = seen.trace(cursor)

    assert lost == 0
    sent = [record for record in records if record[9]]
    taken = [record for record in records if not record[9]]
    assert len(sent) == len(taken) == 51
    assert {record[:2] for record in sent} == {record[:2] for record in taken}
    for record in sent:
        (_, _, name, kind, pid, submit, claim, begin, end, send, receive, attempt, items, *_, outcome) = record
        assert name in ("tests.support.tasks:same", "tests.support.tasks:fail")
        assert (kind, attempt, items, receive) == (0, 1, 0, 0)
        assert outcome == ("success" if name.endswith("same") else "failure")
        assert 0 < submit <= claim <= begin <= end <= send
        assert pid == futures[0].worker_pid
    assert all(record[4] == os.getpid() and record[10] > 0 and record[15] is None for record in taken)
    assert seen.trace(cursor) == ([], 0)
    assert len(seen.trace(bytearray())[0]) == 102  # for another who looks


def test_a_trace_ends_when_its_time_has_come_and_the_next_one_begins_anew(lone, seen):
    space = lone._space
    space.trace_until(now_ns() + FAR)
    space.trace_until(now_ns() + 1)  # somebody else wants less: it goes on
    lone.delay(tasks.same, 1).result(PATIENCE)
    assert len(seen.trace(bytearray())[0]) == 2
    space.trace_until(0)
    lone.delay(tasks.same, 2).result(PATIENCE)
    assert len(seen.trace(bytearray())[0]) == 2
    space.trace_until(now_ns() + FAR)
    assert seen.trace(bytearray()) == ([], 0)
    with pytest.raises(ValueError, match="for reading only"):
        seen.trace_until(now_ns() + FAR)
    with pytest.raises(ValueError, match="empty at first"):
        seen.trace(bytearray(7))


def test_records_that_came_and_went_are_counted(lone, seen):
    cursor = bytearray()
    lone._space.trace_until(now_ns() + FAR)
    futures = [lone.delay(tasks.same, number) for number in range(3000)]
    for future in futures:
        future.result(PATIENCE)

    records, lost = seen.trace(cursor)

    assert len(records) == 2048
    assert lost == 6000 - 2048


# ---- what is gone


def test_a_result_that_is_not_kept_any_more_says_why():
    with LocalQueue(workers=1, result_cache_size=2, result_ttl=0.2) as queue:
        futures = [queue.delay(tasks.same, number) for number in range(4)]
        for future in futures:
            future.result(PATIENCE)
        space = queue._space
        assert [space.gone(future.slot, future.generation) for future in futures[:2]] == ["evicted", "evicted"]
        last = futures[-1]
        eventually(lambda: space.gone(last.slot, last.generation) == "expired")
        assert space.read(last.slot, last.generation) is None
        assert space.gone(last.slot, last.generation + 1) is None
        assert space.gone(1 << 30, 1) is None
        eventually(lambda: space.slots()["cached"] == 0)  # swept
        assert space.gone(last.slot, last.generation) == "expired"


def test_all_clients_together_keep_no_more_results_than_they_may():
    with LocalQueue(workers=1, result_cache_size=3) as queue, LocalQueue.attach(queue.name) as other:
        for number in range(4):
            queue.delay(tasks.same, number).result(PATIENCE)
            other.delay(tasks.same, number).result(PATIENCE)
        eventually(lambda: queue._space.slots()["cached"] <= 3)
