# SPDX-License-Identifier: MIT
"""Where the time went, and what is advised: each sentence appears where it helps, and not where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from localq.monitor.spent import MOST_FUNCTIONS, OTHERS, TimeSpent, TraceSummary
from localq.monitor.spent_view import NAME, WIDTH, lines
from localq.monitor.tracks import Record
from tests.support.readings import BEGAN, SECOND


def record(
    *,
    at: float = 0.0,
    wait: float = 0.0,
    transfer: float = 1e-6,
    run: float = 1e-3,
    back: float = 1e-6,
    function: str = "f",
    **changes: Any,
) -> Record:
    """A run that was taken `at` so many seconds after the beginning. Durations in seconds."""
    taken = BEGAN + int(at * SECOND)
    begun = taken + int(transfer * SECOND)
    ended = begun + int(run * SECOND)
    usual = Record(
        slot=1,
        generation=1,
        function=function,
        kind=0,
        pid=300,
        submit_ns=taken - int(wait * SECOND),
        taken_ns=taken,
        begun_ns=begun,
        ended_ns=ended,
        sent_ns=ended + int(back * SECOND),
        received_ns=0,
        attempt=1,
        items=0,
        bytes_in=10,
        bytes_out=10,
        outcome="success",
    )
    return usual._replace(**changes)


def summary(*records: Record, seconds: float = 1.0, workers: int = 2, lost: int = 0, **counted: int) -> TraceSummary:
    spent = TimeSpent(BEGAN)
    for each in records:
        spent.add(each, each.outcome != "success")
    counts = {"tasks": len(records), "items": 0, **counted}
    return spent.summary(queue="thumbs", path="run.json", seconds=seconds, lost=lost, workers=workers, **counts)


def busy(**changes: Any) -> list[Record]:
    """Runs that keep both workers busy for a second."""
    return [record(at=n * 0.01, run=0.02 - 2e-6, **changes) for n in range(100)]


def test_nothing_recorded_is_a_summary_too():
    found = summary()

    assert (found.runs, found.functions, found.tasks_per_second, found.busy) == (0, (), 0.0, 0.0)
    assert found.shares == {"wait": 0.0, "transfer": 0.0, "run": 0.0, "return": 0.0}
    assert found.advice == ("No task ended while the queue was traced, and its workers were idle.",)


def test_sums_and_shares_are_by_function_the_most_time_first():
    found = summary(
        record(function="small", run=0.001),
        record(function="large", wait=0.1, transfer=0.1, run=0.1, back=0.1, bytes_out=500),
        record(function="large", wait=0.1, transfer=0.1, run=0.1, back=0.1, outcome="failure"),
        seconds=2.0,
    )

    large, small = found.functions
    assert (large.name, large.runs, large.failed, large.per_second) == ("large", 2, 1, 1.0)
    assert large.shares == pytest.approx(dict.fromkeys(("wait", "transfer", "run", "return"), 0.25), rel=1e-6)
    assert [large.wait, large.run] == pytest.approx([0.2, 0.2])
    assert large.bytes_out == 510
    assert small.runs_spread.most == pytest.approx(0.001)
    assert found.failed == 1


def test_a_later_attempt_has_no_wait_of_its_own():
    found = summary(record(wait=0.5), record(wait=0.9, attempt=2))

    assert found.functions[0].wait == pytest.approx(0.5)
    assert found.functions[0].waits_spread.count == 1


def test_workers_are_busy_only_while_it_was_recorded():
    assert summary(record(at=-9.0, run=9.5), seconds=1.0, workers=1).busy == pytest.approx(0.5, rel=1e-3)


def test_what_was_lost_counts_for_rates_and_for_how_busy_workers_were():
    found = summary(*[record(at=n * 0.01, run=0.005) for n in range(50)], lost=50, tasks=100, workers=1)

    assert (found.runs, found.lost, found.tasks_per_second) == (50, 50, 100.0)
    assert found.busy == pytest.approx(0.5, rel=1e-2)


def test_functions_beyond_many_are_counted_together():
    found = summary(*[record(function=f"f{n}") for n in range(MOST_FUNCTIONS + 3)])

    assert len(found.functions) == MOST_FUNCTIONS + 1
    assert next(each for each in found.functions if each.name == OTHERS).runs == 3


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([record(run=3e-6) for _ in range(20)], "Tasks of f run 3 us each"),
        ([record(run=3e-6), record(kind=1, items=9, run=1.0)] * 20, "Tasks of f run 3 us each"),
        ([record(kind=1, items=5, run=20e-6) for _ in range(20)], "larger ones cost less, chunksize=500"),
        ([record(bytes_in=80_000_000, transfer=0.01, run=0.01)], "Arguments of f have 80 MB each"),
        ([record(bytes_out=80_000_000, back=0.01, run=0.01)], "Results of f have 80 MB each"),
        ([record(transfer=0.002) for _ in range(20)], "Unpacking the arguments of f takes longer (2 ms)"),
        ([record(outcome="failure" if n % 4 == 0 else "success") for n in range(20)], "25% of the runs of f failed"),
        ([*[record(run=0.01) for _ in range(20)], record(run=2.0)], "One run of f took 2 s"),
        ([record(at=0.1), record(at=0.2)], "Workers were idle 100% of the time: tasks come more slowly"),
        ([record(at=0.1, wait=0.5), record(at=0.2, wait=0.5)], "they wait for processors"),
        (busy(wait=1.0), "All 2 workers were busy 100% of the time, and a task waited 1 s for one"),
    ],
)
def test_what_may_be_done_is_said(records, says):
    advice = summary(*records).advice

    assert any(says in sentence for sentence in advice), advice


@pytest.mark.parametrize(
    "records",
    [
        busy(),
        busy(bytes_in=80_000_000),
        [record(run=3e-6) for _ in range(5)] + busy(function="g"),
        [record(kind=1, items=5000, run=200e-6) for _ in range(20)] + busy(function="g"),
    ],
)
def test_where_nothing_stands_out_nothing_is_said(records):
    assert summary(*records).advice == ()


def test_the_lines_fit_and_say_the_essentials():
    found = summary(
        *[record(function="package.module.function_with_a_very_long_name\x1b[31m", run=3e-6) for _ in range(30)],
        *[record(function=f"f{n}") for n in range(30)],
        lost=5,
        items=7,
    )

    shown = list(lines(found))

    assert all(len(line) <= WIDTH and line.isprintable() for line in shown)
    assert any("5 records were lost" in line for line in shown)
    assert any("use map" in line for line in shown)
    assert any("and 11 more" in line for line in shown)
    assert "run.json" in shown[-1]
    assert any(line.startswith("...") and len(line.split()[0]) <= NAME for line in shown)
