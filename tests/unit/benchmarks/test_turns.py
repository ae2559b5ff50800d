# SPDX-License-Identifier: MIT
"""Turns of the benches that stand beside all peers: they measure what they say, on terms so small that it is quick."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import bench_latency, bench_map, bench_payload, limits
from benchmarks.measure import take_turn
from benchmarks.terms import Terms
from benchmarks.turn import bench_named
from benchmarks.workloads import give_bytes, length

TERMS = replace(
    Terms.quick(),
    seconds=0.0,
    latency_seconds=0.02,
    map_seconds=0.0,
    map_items=2_000,
    map_items_unchunked=20,
    payload_bytes=(0, 10_000),
    calls=50,
    starts=1,
    workers=2,
)


@pytest.mark.slow
@pytest.mark.parametrize("bench", ["throughput", "latency", "map", "payload", "startup"])
def test_ours_has_every_work_of_the_bench(bench):
    values = take_turn(bench, "localq", TERMS)

    planned = {work.name for work in bench_named(bench).works(TERMS)}
    assert set(values) == planned
    assert all(value > 0 for value in values.values()), values


@pytest.mark.slow
def test_a_peer_lacks_only_what_it_cannot_do():
    values = bench_latency.turn("ppe-fork", TERMS)

    planned = {work.name for work in bench_latency.BENCH.works(TERMS)}
    assert planned - set(values) == {f"{bench_latency.PROCESSES}, {p}" for p in ("p50", "p99")}


@pytest.mark.slow
def test_calls_under_load_are_made_while_the_other_worker_is_busy():
    trips_ns = bench_latency._loaded_trips("pool", workers=2, seconds=0.2, gap_seconds=0.001)

    assert len(trips_ns) > 1
    assert sum(trips_ns) <= 0.4e9


def test_a_long_map_is_longer_than_a_short_one_whatever_an_item_costs():
    for cost in bench_map.COSTS:
        for terms in (Terms(), Terms.quick(), TERMS):
            long, short = bench_map._lengths(cost, terms)
            assert long > short > 0


def test_bytes_are_as_many_as_they_are_asked_for():
    assert [length(give_bytes(size)) for size in (0, 1, 10_000)] == [0, 1, 10_000]
    assert give_bytes(10_000) is give_bytes(10_000)


def test_the_bare_queue_is_spared_what_its_memory_does_not_hold():
    pytest.importorskip("faster_fifo")
    terms = replace(TERMS, payload_bytes=(10, 10**8))

    values = bench_payload.turn("fifo", terms)

    assert set(values) == {f"{panel}, 10 B" for panel in (bench_payload.THERE, bench_payload.BACK)}


def test_a_call_in_python_takes_nanoseconds():
    assert 1 < limits.python_call()["ns"] < 100_000
