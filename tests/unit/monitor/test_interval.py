# SPDX-License-Identifier: MIT
"""What two raw readings say together: rates of what came in between, totals of the later one, who does what."""

from __future__ import annotations

import pytest

from localq._native import PHASE_DRAINING
from localq.monitor.interval import MOST_EVENTS, MOST_TASKS, UNKNOWN, snapshot_of
from localq.monitor.raw import Calls, Entry, Figures, Meters, Note
from tests.support.readings import (
    ABOUT,
    BEGAN,
    OWNER,
    SECOND,
    SUPERVISOR,
    WALL,
    WORKER,
    in_hand,
    owner,
    raw,
    supervisor,
    worker,
)


def test_an_idle_queue_has_figures_of_nothing():
    found = snapshot_of(ABOUT, raw(10), None)

    assert found.queue.name == "thumbnails"
    assert found.queue.supervisor_pid == SUPERVISOR
    assert found.queue.phase == "open"
    assert (found.queue.uptime, found.queue.started_at) == (10.0, WALL)
    assert found.taken_at == WALL + 10
    assert (found.queued, found.running, found.delayed) == (0, 0, 0)
    assert (found.rates.done, found.wait.count, found.run.p50) == (0.0, 0, None)
    assert [worker.state for worker in found.workers] == ["idle", "idle"]
    assert [each.queue for each in found.depths] == ["default", "mail"]
    assert found.problems == ()


def test_rates_of_the_first_reading_are_since_the_queue_began():
    meters = Meters(done=20, failed=5, retried=1, items=100, bytes_in=1000, bytes_out=50, wait=(0,) * 4, run=(0,) * 4)

    rates = snapshot_of(ABOUT, raw(10, meters=meters), None).rates

    assert rates.seconds == 10.0
    assert (rates.done, rates.failed, rates.retried, rates.items) == (2.0, 0.5, 0.1, 10.0)
    assert (rates.bytes_in, rates.bytes_out) == (100.0, 5.0)


def test_later_rates_and_spreads_are_of_what_came_in_between():
    before = raw(10, meters=Meters(done=20, wait=(9, 0, 0, 0), run=(0, 0, 9, 0), run_ns=SECOND))
    meters = Meters(done=24, failed=2, wait=(9, 4, 0, 0), run=(6, 0, 9, 0), run_ns=SECOND + 3_000_000)

    found = snapshot_of(ABOUT, raw(12, meters=meters), before)

    assert (found.rates.seconds, found.rates.done, found.rates.failed) == (2.0, 2.0, 1.0)
    assert (found.totals.done, found.totals.failed) == (24, 2)
    assert found.wait.count == 4
    assert found.wait.p50 == pytest.approx(0.0015)
    assert found.run.count == 6
    assert found.run.mean == pytest.approx(0.0005)
    assert found.run.most == 0.001


def test_two_readings_at_the_same_moment_divide_by_nothing():
    before = raw(10)

    assert snapshot_of(ABOUT, raw(10), before).rates.done == 0.0


def test_a_worker_is_busy_as_far_as_it_ran_in_between_the_task_in_hand_included():
    at = BEGAN + 10 * SECOND
    before = raw(10, rows=(supervisor(), worker(run_ns=3 * SECOND), worker(1, task_id="a", task_since_ns=at - SECOND)))
    rows = (
        supervisor(),
        worker(run_ns=4 * SECOND),
        worker(1, run_ns=2 * SECOND, task_id="b", task_since_ns=at + SECOND),
    )

    one, two = snapshot_of(ABOUT, raw(14, rows=rows), before).workers

    assert one.busy == pytest.approx(0.25)
    assert two.busy == pytest.approx(1.0)


def test_processor_time_is_a_share_of_the_time_in_between():
    before = raw(10, rows=(worker(figures=Figures("alive", 5.0, 100)),))
    now = raw(12, rows=(worker(figures=Figures("alive", 6.0, 200)),))

    (first,) = snapshot_of(ABOUT, before, None).workers
    (found,) = snapshot_of(ABOUT, now, before).workers

    assert first.cpu is None
    assert found.cpu == pytest.approx(50.0)
    assert found.memory == 200


def test_a_new_process_under_an_old_pid_is_a_new_worker():
    before = raw(10, rows=(worker(figures=Figures("alive", 5.0)),))
    now = raw(12, rows=(worker(started=999, joined_ns=BEGAN + 11 * SECOND, figures=Figures("alive", 0.1)),))

    (found,) = snapshot_of(ABOUT, now, before).workers

    assert found.cpu is None
    assert found.age == 1.0


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (worker(ready=False), "starting"),
        (worker(), "idle"),
        (worker(task_id="a", task_since_ns=BEGAN), "running"),
        (worker(task_id="a", task_since_ns=BEGAN, figures=Figures("stopped")), "stopped"),
        (worker(figures=Figures("ended")), "dead"),
        (worker(figures=None), "idle"),
    ],
)
def test_the_state_of_a_worker_is_told_by_the_kernel_first(row, state):
    assert [each.state for each in snapshot_of(ABOUT, raw(5, rows=(row,)), None).workers] == [state]


def test_a_worker_with_several_tasks_shows_the_one_that_has_run_longest():
    tasks = (
        in_hand(task_id="young", start_ns=BEGAN + 4 * SECOND),
        in_hand(task_id="old", start_ns=BEGAN + 2 * SECOND),
        in_hand(task_id="unpacked", is_running=False, start_ns=0),
    )
    row = worker(task_id="young", task_since_ns=BEGAN + 4 * SECOND)

    found = snapshot_of(ABOUT, raw(5, rows=(row,), in_hand=tasks), None)

    (shown,) = found.workers
    assert (shown.task_id, shown.task_seconds, shown.tasks_in_hand) == ("old", 3.0, 3)
    assert shown.function == "images.shrink"
    assert [task.task_id for task in found.slowest] == ["old", "young"]


def test_a_running_task_is_described():
    task = in_hand(
        function=None,
        queue=1,
        priority=0,
        limit_ms=1500,
        is_chunk=True,
        items_begun=7,
        attempt=2,
        note=Note(0.5, "half"),
    )

    (found,) = snapshot_of(ABOUT, raw(3, in_hand=(task,)), None).slowest

    assert found.function == UNKNOWN
    assert (found.seconds, found.waited, found.limit) == (2.0, 1.0, 1.5)
    assert (found.queue, found.priority, found.items, found.attempt) == ("mail", "critical", 7, 2)
    assert (found.progress, found.message) == (0.5, "half")


def test_a_task_of_a_queue_or_priority_that_is_not_there_is_told_of_all_the_same():
    (found,) = snapshot_of(ABOUT, raw(3, in_hand=(in_hand(queue=9, priority=200),)), None).slowest

    assert (found.queue, found.priority) == (UNKNOWN, UNKNOWN)


def test_functions_are_in_the_order_of_their_run_time_and_have_rates_of_their_own():
    def calls(name: str, done: int, seconds: int) -> Calls:
        return Calls(name=name, done=done, run_ns=seconds * SECOND, most_ns=SECOND, run=(done, 0, 0, 0))

    before = raw(10, functions=(calls("a", 10, 1),))
    now = raw(20, functions=(calls("a", 30, 3), calls("b", 10, 9)))

    slow, quick = snapshot_of(ABOUT, now, before).functions

    assert (slow.name, slow.per_second, slow.run_seconds) == ("b", 1.0, 9.0)
    assert (quick.name, quick.per_second, quick.done) == ("a", 2.0, 30)
    assert quick.run.mean == pytest.approx(0.1)


def test_events_are_sorted_by_kind_with_the_time_of_the_wall():
    def entry(kind: str, after: int) -> Entry:
        return Entry(at_ns=BEGAN + after * SECOND, kind=kind, pid=1, task_id=None, function=None, text=kind)

    kinds = ("log", "failure", "restart", "crash", "cancelled", "timeout", "retry")
    found = snapshot_of(ABOUT, raw(9, journal=tuple(entry(kind, 8 - n) for n, kind in enumerate(kinds))), None)

    assert [event.kind for event in found.failures] == ["failure", "crash", "timeout", "retry"]
    assert [(event.kind, event.at) for event in found.log] == [("log", WALL + 8)]
    assert [event.kind for event in found.restarts.causes] == ["restart"]


def test_what_is_shown_of_many_tasks_and_events_has_an_end():
    tasks = tuple(in_hand(number) for number in range(MOST_TASKS + 5))
    log = tuple(
        Entry(at_ns=BEGAN, kind="log", pid=1, task_id=None, function=None, text="x") for _ in range(MOST_EVENTS + 5)
    )

    found = snapshot_of(ABOUT, raw(9, in_hand=tasks, journal=log), None)

    assert (len(found.slowest), len(found.log)) == (MOST_TASKS, MOST_EVENTS)


def test_clients_are_told_apart_and_the_owner_comes_first():
    rows = (owner(pid=50, unread=3), owner(unread=1, pinned=9), supervisor())

    found = snapshot_of(ABOUT, raw(9, rows=rows), None).clients

    assert [(each.pid, each.is_owner, each.unread, each.pinned) for each in found] == [
        (OWNER, True, 1, 9),
        (50, False, 3, 0),
    ]


def test_slots_tallies_and_memory_are_handed_on():
    found = snapshot_of(
        ABOUT,
        raw(
            9,
            phase=PHASE_DRAINING,
            slots={"queued": 5, "claimed": 1, "running": 2, "done": 3, "cached": 4, "delayed": 6},
            depths=((1, 2, 3, 4), (0, 0, 5, 0)),
            tallies={"workers_started": 7, "lines_lost": 1},
            holdings={"results": 1000, "idle": 50},
        ),
        None,
    )

    assert (found.queued, found.running, found.delayed) == (5, 3, 6)
    assert (found.results.unread, found.results.kept, found.results.room, found.results.ttl) == (3, 4, 50, 60.0)
    assert [each.total for each in found.depths] == [10, 5]
    assert (found.depths[0].critical, found.depths[0].low) == (1, 4)
    assert found.restarts.workers_started == 7
    assert (found.arena.size, found.arena.used) == (1_000_000, 1000)
    assert found.queue.phase == "draining"


def test_a_supervisor_that_has_ended_is_none():
    assert snapshot_of(ABOUT, raw(9, rows=(supervisor(figures=Figures("ended")),)), None).queue.supervisor_pid is None


def test_the_worker_of_a_task_is_found_by_its_process():
    found = snapshot_of(ABOUT, raw(5, in_hand=(in_hand(1),)), None).workers

    assert [(each.pid, each.state) for each in found] == [(WORKER, "idle"), (WORKER + 1, "running")]
