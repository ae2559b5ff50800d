# SPDX-License-Identifier: MIT
"""The pictures of a run: they show what its JSON says, and are small files with fixed names."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks import bench_transfer, measure, plot, report
from benchmarks.bench_transfer import MANY, ONE, PLAIN, PUT, TOUCHED
from benchmarks.measure import Comparison
from benchmarks.plot import Bar
from benchmarks.terms import Terms, Work

MOST_BYTES = 150_000  # of a picture: it goes into a README


def told(comparisons: list[Comparison]) -> dict[str, object]:
    facts = {"cpu": "a processor", "cpus_usable": 2, "python": "CPython 3"}
    made: dict[str, object] = json.loads(json.dumps(report.Told(Terms(), facts, {}, comparisons=comparisons).as_json()))
    return made


def rates(bench: str, work: str, peer: str, ours: float, theirs: float) -> Comparison:
    return Comparison(bench, Work(work, "calls/s", more_is_better=True), "localq", peer, [ours], [theirs])


def transfers(
    peer: str, sizes: dict[int, tuple[list[float], list[float]]], way: str = PLAIN, manner: str = ONE
) -> list[Comparison]:
    """Made-up comparisons of one panel, by size: our values and the peer's."""
    panel = f"{TOUCHED}, {manner}"
    terms = replace(Terms(), transfer_bytes=list(sizes))
    works = [work for work in bench_transfer.BENCH.works(terms) if (work.panel, work.way) == (panel, way)]
    return [Comparison("transfer", work, "localq", peer, *sizes[work.size]) for work in works]


def growth(way: str, sizes: dict[int, tuple[list[float], list[float]]]) -> list[Comparison]:
    """A made-up curve of ours, by size: its values and those at its smallest size."""
    return [
        Comparison(
            "scale",
            Work(f"{way}, {size}", "us", more_is_better=False, panel="workers", way=way, size=size, axis="workers"),
            "localq",
            "its smallest",
            *values,
        )
        for size, values in sizes.items()
    ]


def test_lines_are_medians_and_a_way_that_is_no_other_is_not_drawn_again():
    sizes = {10**3: ([1.0, 2.0, 9.0], [4.0, 5.0, 6.0]), 10**7: ([3.0], [7.0])}
    by_put = {10**3: ([0.5] * 3, [4.0, 5.0, 6.0]), 10**7: ([0.5], [7.0])}
    floor = {10**3: ([1.0], [0.1]), 10**7: ([3.0], [0.2])}
    by_put_beside_floor = {10**3: ([0.5], [0.1]), 10**8: ([0.5], [0.3])}

    lines = plot.lines_of(told(transfers("pool", sizes) + transfers("pool", by_put, PUT)))
    with_floor = plot.lines_of(told(transfers("1ms", floor) + transfers("1ms", by_put_beside_floor, PUT)))

    assert lines == {
        f"{TOUCHED}, {ONE}": {
            ("localq", PLAIN): {10**3: 2.0, 10**7: 3.0},
            ("pool", PLAIN): {10**3: 5.0, 10**7: 7.0},
            ("localq", PUT): {10**3: 0.5, 10**7: 0.5},
        }
    }
    assert with_floor[f"{TOUCHED}, {ONE}"]["1ms", ""] == {10**3: 0.1, 10**7: 0.2, 10**8: 0.3}


def test_bars_of_throughput_are_those_of_one_worker_the_fastest_first():
    run = told(
        [
            rates("throughput", "submit + gather, 1 worker", "loky", 900.0, 3.0),
            rates("throughput", "submit + gather, 1 worker", "pool", 1100.0, 20.0),
            rates("throughput", "submit + gather, 2 workers", "mpire", 5.0, 7.0),
        ]
    )

    assert plot.bars_of_throughput(run) == [
        Bar("localq", 1000.0, 1.0),
        Bar("pool", 20.0, 55.0),
        Bar("loky", 3.0, 300.0),
    ]


def test_bars_of_map_are_those_beside_peers_that_were_tuned_by_cost_of_an_item():
    run = told(
        [
            rates("map", "0 us an item, 300 items, peer's default", "pool", 9.0, 1.0),
            rates("map", "0 us an item, 300 items, peer tuned by hand", "pool", 8.0, 4.0),
            rates("map", "1 ms an item, 30 items, peer tuned by hand", "pool", 2.0, 4.0),
        ]
    )

    assert plot.bars_of_map(run) == {
        "0 us": [Bar("localq", 8.0, 1.0), Bar("pool", 4.0, 2.0)],
        "1 ms": [Bar("pool", 4.0, 0.5), Bar("localq", 2.0, 1.0)],
    }


def test_a_curve_is_what_each_size_took_beside_its_smallest():
    run = told(
        growth("all", {1: ([2.0], [2.0]), 64: ([3.0, 4.0, 5.0], [2.0, 2.0, 2.0])}) + growth("one", {2: ([9.0], [3.0])})
    )

    first, second = plot.curves_of(run)

    assert (first.panel, first.axis, first.way, first.unit) == ("workers", "workers", "all", "us")
    assert first.smallest == 2.0
    assert first.ratios == {1: (1.0, 1.0, 1.0), 64: (1.75, 2.0, 2.25)}
    assert second.ratios == {2: (3.0, 3.0, 3.0)}


def test_a_curve_of_anything_but_bytes_is_no_transfer():
    run = told(growth("all", {1: ([2.0], [2.0])}) + transfers("pool", {10**3: ([1.0], [4.0])}))

    assert plot.benches_of_bytes(run) == ["transfer"]
    assert list(plot.lines_of(run)) == [f"{TOUCHED}, {ONE}"]


def test_a_run_that_compared_nothing_that_is_drawn_is_refused_in_words(tmp_path):
    with pytest.raises(plot.PlotUnavailable, match="nothing was compared that is drawn"):
        plot.draw_all(told([]), tmp_path / "pictures")

    assert not (tmp_path / "pictures").exists()


@pytest.mark.slow
def test_each_picture_is_a_small_file_of_its_name(tmp_path):
    pytest.importorskip("matplotlib")
    sizes = {10**3: ([1.0, 1.1], [4.0, 4.4]), 10**7: ([3.0, 3.3], [7.0, 7.7])}
    run = [
        rates("throughput", "submit + gather, 1 worker", "pool", 1000.0, 20.0),
        rates("map", "0 us an item, 300 items, peer tuned by hand", "pool", 8.0, 4.0),
        rates("map", "1 ms an item, 30 items, peer tuned by hand", "ray", 8.0, 4.0),
        *growth("all", {1: ([2.0], [2.0]), 64: ([3.0], [2.0])}),
        *(each for manner in (ONE, MANY) for way in (PLAIN, PUT) for each in transfers("pool", sizes, way, manner)),
    ]
    results, pictures = tmp_path / "results.json", tmp_path / "pictures"
    results.write_text(json.dumps(told(run)))

    command = [sys.executable, "-m", "benchmarks.plot", results, pictures]  # its fonts stay open until it ends
    subprocess.run(command, cwd=measure.ROOT, check=True)

    found = {path.name: path.read_bytes() for path in pictures.iterdir()}
    assert set(found) == {"throughput.png", "map.png", "curves.png", "transfer.png"}
    assert all(picture.startswith(b"\x89PNG") for picture in found.values())
    assert max(map(len, found.values())) < MOST_BYTES
