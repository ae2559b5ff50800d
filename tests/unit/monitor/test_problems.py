# SPDX-License-Identifier: MIT
"""The sentences about what is wrong: each appears when it should, and nothing is said of a queue that is well."""

from __future__ import annotations

import msgspec
import pytest

from localq._native import PHASE_BROKEN, PHASE_DRAINING
from localq.monitor.interval import snapshot_of
from localq.monitor.raw import Entry, Figures, Meters
from tests.support.readings import ABOUT, BEGAN, OWNER, SECOND, in_hand, owner, raw, supervisor, worker


def counted(**counts: int) -> Meters:
    return msgspec.structs.replace(Meters(wait=(0,) * 4, run=(0,) * 4), **counts)


def busy(number: int):
    return worker(number, task_id=f"0-{number}-1", task_since_ns=BEGAN + SECOND)


def problems(now, before=None) -> tuple[str, ...]:
    last = None if before is None else snapshot_of(ABOUT, before, None)
    return snapshot_of(ABOUT, now, before, last).problems


def test_a_busy_queue_that_keeps_up_is_well():
    rows = (owner(), supervisor(), busy(0), busy(1))
    before = raw(10, rows=rows, slots={"queued": 50, "running": 2}, meters=counted(done=100))
    now = raw(11, rows=rows, slots={"queued": 50, "running": 2}, meters=counted(done=200, failed=1))

    assert problems(now, before) == ()


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (raw(9, phase=PHASE_BROKEN), "broken"),
        (raw(9, phase=PHASE_DRAINING, slots={"queued": 4}), "closing: it takes nothing more, and 4 tasks are left"),
        (raw(9, rows=(owner(), worker())), "no supervisor"),
        (raw(9, rows=(owner(), supervisor(figures=Figures("stopped")))), "supervisor is stopped by a signal"),
        (raw(9, rows=(supervisor(), worker(figures=Figures("stopped")))), "1 worker is stopped by a signal (pid 300)"),
        (raw(9, rows=(owner(), worker(figures=Figures("ended")))), "1 worker ended and was not replaced"),
        (raw(9, rows=(supervisor(),), slots={"queued": 1}), "No worker is there, and 1 task waits"),
        (raw(9, tallies={"workers_crashed": 3}), "3 workers died within 9 s"),
        (raw(9, slots={"queued": 899, "running": 1}), "nearly full: 900 of 1,000 tasks"),
        (
            raw(9, slots={"done": 5}, holdings={"results": 800_000, "kept": 150_000}),
            "950 kB of 1 MB, most of it results that were not picked up (800 kB)",
        ),
        (raw(9, holdings={"pinned": 900_000}), "900 kB of 1 MB, most of it what somebody looks at"),
        (raw(9, in_hand=(in_hand(limit_ms=2000),)), "Task 0-0-1 (images.shrink) has run 8 s with a limit of 2 s"),
        (raw(9, rows=(owner(unread=250), supervisor())), f"The owner (pid {OWNER}) has not picked up 250"),
        (raw(9, rows=(owner(pid=7, unread=400), supervisor())), "A client (pid 7) has not picked up 400"),
        (raw(9, meters=counted(done=4, failed=12)), "75% of the tasks of the last 9 s failed"),
        (raw(9, tallies={"lines_lost": 2}), "2 lines that tasks wrote were lost"),
    ],
)
def test_what_is_wrong_is_said(reading, says):
    found = problems(reading)

    assert any(says in sentence for sentence in found), found
    assert all(not sentence[0].islower() and sentence.endswith(".") for sentence in found)


@pytest.mark.parametrize(
    "reading",
    [
        raw(9, tallies={"workers_crashed": 2}),
        raw(9, slots={"queued": 899}),
        raw(9, slots={"cached": 50}, holdings={"results": 950_000, "owned": 50_000}),
        raw(9, in_hand=(in_hand(limit_ms=7500),)),
        raw(9, rows=(owner(unread=249), supervisor())),
        raw(9, meters=counted(done=4, failed=3)),
        raw(9, meters=counted(done=0, failed=9)),
        raw(9, rows=(owner(), supervisor(), worker(figures=Figures("ended")))),
    ],
)
def test_what_is_not_quite_wrong_is_not_said(reading):
    assert problems(reading) == ()


def test_what_was_counted_before_the_last_reading_is_not_news():
    reading = {"tallies": {"workers_crashed": 9, "lines_lost": 9}, "meters": counted(failed=9)}

    assert problems(raw(20, **reading), raw(10, **reading)) == ()


def test_a_queue_that_grows_while_all_are_busy_says_how_much_work_waits():
    rows = (supervisor(), busy(0), busy(1))
    before = raw(10, rows=rows, slots={"queued": 100, "running": 2}, meters=counted(done=10))
    now = raw(12, rows=rows, slots={"queued": 300, "running": 2}, meters=counted(done=20))
    stuck = raw(12, rows=rows, slots={"queued": 300, "running": 2}, meters=counted(done=10))
    shrinks = raw(12, rows=rows, slots={"queued": 90, "running": 2}, meters=counted(done=20))
    has_help = raw(12, rows=(supervisor(), busy(0), worker(1)), slots={"queued": 300}, meters=counted(done=20))

    assert problems(now, before) == (
        "All 2 workers are busy, and more comes than goes: 300 tasks wait, some 60 s of work at this rate.",
    )
    assert problems(stuck, before) == (
        "All 2 workers are busy, 300 tasks wait, and none was finished in the last 2 s.",
    )
    assert problems(shrinks, before) == ()
    assert problems(has_help, before) == ()


def test_crashes_are_told_with_the_cause_of_the_last():
    cause = Entry(at_ns=BEGAN, kind="restart", pid=1, task_id=None, function=None, text="worker 1: SIGSEGV")

    later = Entry(at_ns=BEGAN, kind="restart", pid=0, task_id=None, function=None, text="reload: 2 workers replaced")

    (sentence,) = problems(raw(9, tallies={"workers_crashed": 5}, journal=(later, cause)))

    assert sentence == "5 workers died within 9 s. The last: worker 1: SIGSEGV."


def test_the_worst_comes_first():
    found = problems(raw(9, rows=(owner(),), slots={"queued": 950}, tallies={"lines_lost": 1}))

    assert [next(word for word in ("supervisor", "No worker", "full", "lost") if word in each) for each in found] == [
        "supervisor",
        "No worker",
        "full",
        "lost",
    ]
