# SPDX-License-Identifier: MIT
"""The benchmark of large data: what it measures is what it says, and the table and the plot show it."""

from __future__ import annotations

import io
import os
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks import bench_transfer, limits, measure, report
from benchmarks.bench_transfer import BENCH, MANY, ONE, PLAIN, PUT, READ, RETURNED, STORED, TOUCHED
from benchmarks.measure import Comparison, take_turn
from benchmarks.terms import Terms, size_name
from benchmarks.workloads import last

TERMS = replace(
    Terms.quick(),
    workers=2,
    transfer_bytes=(1_000, 2_000_000),
    transfer_seconds=0.0,
    transfer_in_flight=4,
    transfer_in_flight_bytes=3_000_000,
)

MANY_SIZES = replace(Terms(), transfer_bytes=[10**n for n in range(3, 10)])

#: Panels and ways that any subject has, as the 1 kB of them.
EVERYBODY = {f"{panel}, {manner}, {PLAIN}, 1 kB" for panel in (TOUCHED, READ, RETURNED) for manner in (ONE, MANY)}


def compared(peer: str, sizes: dict[int, tuple[list[float], list[float]]], way: str = PLAIN) -> list[Comparison]:
    """Made-up comparisons of the first panel, by size: our values and the peer's."""
    panel = f"{TOUCHED}, {ONE}"
    works = [work for work in BENCH.works(MANY_SIZES) if work.panel == panel and work.way == way and work.size in sizes]
    return [Comparison("transfer", work, "localq", peer, *sizes[work.size]) for work in works]


def printed(comparisons: list[Comparison]) -> str:
    console = Console(file=io.StringIO(), width=80)
    report.print_bench(console, BENCH, comparisons)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.slow
def test_a_turn_of_ours_times_every_way_that_the_queue_has():
    values = take_turn("transfer", "localq", TERMS)

    assert set(values) >= EVERYBODY
    assert all(0 < value < 10_000 for value in values.values()), values


@pytest.mark.slow
def test_arrays_that_are_too_large_together_are_not_sent_at_once():
    values = take_turn("transfer", "localq", TERMS)

    assert f"{TOUCHED}, {ONE}, {PLAIN}, 2 MB" in values
    assert f"{TOUCHED}, {MANY}, {PLAIN}, 2 MB" not in values


@pytest.mark.slow
def test_a_peer_that_cannot_store_stands_with_the_way_that_it_has():
    values = take_turn("transfer", "pool", TERMS)

    assert values[f"{TOUCHED}, {ONE}, {PUT}, 1 kB"] == values[f"{TOUCHED}, {ONE}, {PLAIN}, 1 kB"]
    assert f"{STORED}, {PUT}, 1 kB" not in values


@pytest.mark.slow
def test_joblib_is_given_files_in_memory_by_hand_and_leaves_none():
    pytest.importorskip("joblib")
    before = set(os.listdir("/dev/shm"))

    values = take_turn("transfer", "joblib", TERMS)

    assert values[f"{TOUCHED}, {ONE}, {PUT}, 2 MB"] != values[f"{TOUCHED}, {ONE}, {PLAIN}, 2 MB"]
    assert f"{STORED}, {PUT}, 2 MB" in values
    assert not {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("localq")}


def test_a_task_that_gives_a_wrong_answer_is_not_timed():
    def lie(fn: object, arguments: object) -> list[float]:
        return [41.0]

    with pytest.raises(ValueError, match=r"last of an array is 41\.0 in a worker, not 42"):
        bench_transfer._give(lie, last, [None], 42.0)


@pytest.mark.slow
def test_the_floors_share_a_turn_of_ours_and_a_millisecond_is_one():
    comparisons, failures = measure.compare(BENCH, "pool", ["1ms"], replace(TERMS, long_rounds=1))

    assert failures == []
    assert {comparison.peer for comparison in comparisons} == {"1ms"}
    assert all(comparison.peer_values == (1.0,) for comparison in comparisons)
    assert {comparison.work.way for comparison in comparisons} == {PUT, bench_transfer.EMPTY}


@pytest.mark.slow
def test_copies_of_any_size_take_time_in_c():
    try:
        with limits.program() as program:
            answers = [limits.ask(program, "memcpy", str(size)) for size in (1_000, 4_000_000)]
    except limits.LimitsUnavailable as unavailable:
        pytest.skip(str(unavailable))

    for answer in answers:
        assert 0 < answer["warm_seconds"] <= answer["warm_p50_seconds"]
        assert 0 < answer["cold_seconds"] <= answer["cold_p50_seconds"]
    assert answers[0]["warm_p50_seconds"] < answers[1]["warm_p50_seconds"]


def test_the_table_has_a_column_for_each_size_and_a_line_for_each_peer():
    sizes = {10**3: ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]), 10**8: ([30.0], [10.0])}

    shown = printed(compared("pool", sizes) + compared("ray", {10**8: ([30.0], [60.0])}))

    assert [line.split() for line in shown.splitlines() if "MB" in line] == [["1", "kB", "100", "MB"]]
    assert ["/", "pool", "0.5", "3"] in [line.split() for line in shown.splitlines()]
    assert ["/", "ray", "0.5"] in [line.split() for line in shown.splitlines()]
    assert shown.count("±") == 1  # one round has no spread


@pytest.mark.parametrize(("mine", "said"), [(14.0, "≤ 1.5 met"), (16.0, "≤ 1.5 missed")])
def test_the_table_says_whether_its_goal_is_met(mine, said):
    shown = printed(compared("memcpy-warm", {10**7: ([99.0], [1.0]), 10**8: ([mine], [10.0])}))

    assert [line.split("goal ")[1] for line in shown.splitlines() if "goal " in line] == [said]


def test_of_many_sizes_with_a_goal_the_worst_decides():
    shown = printed(compared("1ms", {10**3: ([0.1], [1.0]), 10**6: ([1.2], [1.0]), 10**9: ([0.3], [1.0])}, PUT))

    assert [line.strip() for line in shown.splitlines() if "goal " in line] == [
        "1 MB (worst of 3) beside 1ms: 1.2, quartiles 1.2 .. 1.2, goal ≤ 1 missed"
    ]


def test_the_table_of_all_sizes_fits_80_columns_from_a_billionth_to_a_million():
    sizes = dict.fromkeys(MANY_SIZES.transfer_bytes, ([1.0, 1.0], [1e-6, 1e-6]))
    tiny = dict.fromkeys(MANY_SIZES.transfer_bytes, ([1.0, 1.0], [1.25e5, 1.3e5]))

    shown = printed(compared("memcpy-warm", sizes) + compared("ppe-fork", tiny))

    lines = [line.split() for line in shown.splitlines()]
    assert ["/", "memcpy-warm", *["1M"] * 7] in lines
    assert max(map(len, shown.splitlines())) <= 80
    assert ["/", "ppe-fork", *["1/130k"] * 7] in lines


def test_a_reference_may_take_a_millisecond_at_any_size():
    goals = {
        work.size: work.goals for work in BENCH.works(Terms()) if (work.panel, work.way) == (f"{TOUCHED}, {ONE}", PUT)
    }

    assert set(goals) == set(Terms().transfer_bytes)
    assert all(goal == {"1ms": 1.0} for goal in goals.values())


def test_sizes_have_names():
    assert [size_name(size) for size in (10, 1_000, 250_000, 10**7, 10**9)] == [
        "10 B",
        "1 kB",
        "250 kB",
        "10 MB",
        "1 GB",
    ]
    assert [size_name(size, "tasks") for size in (0, 10, 1_000, 990_000, 10**6)] == ["0", "10", "1 k", "990 k", "1 M"]
