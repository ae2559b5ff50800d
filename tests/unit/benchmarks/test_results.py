# SPDX-License-Identifier: MIT
"""The page of a run: what is lost comes first, the goals say what was missed, and only what was measured is told."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import bench_throughput, report, results
from benchmarks.measure import Comparison, Failure
from benchmarks.terms import Terms, Work

FACTS = {
    "cpu": "a processor",
    "cpus": 4,
    "cpus_usable": 2,
    "memory_bytes": 25e9,
    "kernel": "Linux 6",
    "python": "CPython 3",
    "load_average_1_min": 0.1,
    "versions": {"localq": "1.0", "ray": "not here"},
}
RATE = Work("calls", "calls/s", more_is_better=True, goals={"pool": 4.0})
TIME = Work("trip", "us", more_is_better=False, goals={"pool": 1.5})


def compared(work: Work, peer: str, ours: list[float], theirs: list[float]) -> Comparison:
    return Comparison("throughput", work, "localq", peer, ours, theirs)


def lines_of(*comparisons: Comparison, links: dict[str, str] | None = None) -> list[str]:
    told = report.Told(Terms(), FACTS, {"clock": {"ns": 20.0}}, skipped=["ray is not installed"])
    told.add(bench_throughput.BENCH, comparisons, [Failure("map", "loky", "it hung")], 12.0)
    return list(results.page(json.loads(json.dumps(told.as_json())), links or {}))


def section(lines: list[str], head: str) -> list[str]:
    start = lines.index(head)
    end = next((index for index in range(start + 1, len(lines)) if lines[index].startswith("## ")), len(lines))
    return lines[start + 1 : end]


def rows(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def test_what_is_worse_in_both_quartiles_is_lost_and_the_worst_comes_first():
    lines = lines_of(
        compared(RATE, "loky", [9.0, 9.0, 9.0], [10.0, 10.0, 10.0]),
        compared(RATE, "mpire", [9.0, 10.0, 11.0], [10.0, 10.0, 10.0]),
        compared(RATE, "pool", [20.0, 20.0, 20.0], [10.0, 10.0, 10.0]),
        compared(TIME, "loky", [3.0, 4.0, 5.0], [1.0, 1.0, 1.0]),
        compared(TIME, "pool", [0.5, 0.5, 0.5], [1.0, 1.0, 1.0]),
    )

    lost = section(lines, "## What is lost")
    assert lost[1].startswith("Of 5 comparisons with other libraries 2 are lost")
    assert "and 1 are equal" in lost[1]
    assert [row[:2] for row in rows(lost)] == [["throughput: trip", "loky"], ["throughput: calls", "loky"]]


def test_a_floor_is_no_library_that_one_loses_to():
    lines = lines_of(compared(RATE, "call", [1.0], [100.0]))

    assert rows(section(lines, "## What is lost")) == []
    assert ["calls", "1 calls/s", "▼ 0.01"] in rows(lines)


def test_missed_goals_come_before_those_that_are_met():
    lines = lines_of(compared(TIME, "pool", [1.0], [1.0]), compared(RATE, "pool", [3.0], [1.0]))

    goals = section(lines, "## Goals")
    assert goals[1] == "1 of 2 are met; what is missed comes first."
    assert [row[-2:] for row in rows(goals)] == [["≥ 4", "**missed**"], ["≤ 1.5", "met"]]


def test_a_bench_is_a_table_with_a_column_for_each_other_and_says_how_it_measures():
    lines = lines_of(
        compared(RATE, "pool", [10.0, 20.0, 30.0], [10.0, 10.0, 10.0]),
        compared(TIME, "loky", [3.0], [1.0]),
        links={"throughput": "pictures/throughput.png"},
    )

    told = section(lines, f"## throughput: {bench_throughput.BENCH.title}")
    assert any(line.startswith("No-op calls are submitted one by one, then") for line in told)
    assert f"![{bench_throughput.BENCH.title}](pictures/throughput.png)" in told
    assert rows(told) == [["calls", "20 calls/s", "2<br>1.5 .. 2.5", ""], ["trip", "3 us", "", "▼ 3"]]


def test_what_was_not_measured_is_said_with_its_reason():
    lines = section(lines_of(compared(RATE, "pool", [1.0], [1.0])), "## What was not measured")

    assert "- ray is not installed" in lines
    assert "- map: loky failed: it hung" in lines
    assert [row[0] for row in rows(lines)] == ["FastWorker 0.1.1", "FluxQueue"]


def test_the_versions_are_those_of_libraries_that_are_here():
    assert ["libraries", "localq 1.0"] in rows(lines_of(compared(RATE, "pool", [1.0], [1.0])))


def test_pictures_are_linked_from_where_the_page_is(tmp_path: Path):
    told = report.Told(Terms(), FACTS, {})
    told.add(bench_throughput.BENCH, [compared(RATE, "pool", [1.0], [1.0])], [], 1.0)
    page = tmp_path / "docs" / "RESULTS.md"
    page.parent.mkdir()

    results.write(json.loads(json.dumps(told.as_json())), page, [tmp_path / "pictures" / "throughput.png"])

    assert "(../pictures/throughput.png)" in page.read_text(encoding="utf-8")
