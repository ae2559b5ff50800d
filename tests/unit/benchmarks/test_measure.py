# SPDX-License-Identifier: MIT
"""Turns and rounds: who stands beside whom, how long a run may take, and what becomes of what fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import bench_throughput, command, measure
from benchmarks.__main__ import NAMES
from benchmarks.terms import Terms
from benchmarks.turn import bench_named

BENCH = bench_throughput.BENCH
TERMS = replace(Terms.quick(), seconds=0.0, calls=10, rounds=4)


@pytest.mark.slow
def test_no_round_is_begun_that_would_exceed_the_share_but_for_the_two_that_make_a_spread():
    told = []

    comparisons, failures = measure.compare(
        BENCH, "1us", ["call"], replace(TERMS, pace=1e-6), lambda what, seconds_left: told.append(what)
    )

    assert failures == []
    assert [len(comparison.our_values) for comparison in comparisons] == [2]
    assert told == [f"throughput: round {n} of 4, {subject}" for n in (1, 2) for subject in ("1us", "call")]


@pytest.mark.slow
def test_a_peer_that_fails_leaves_the_run_and_without_a_pace_all_rounds_are_played():
    comparisons, failures = measure.compare(BENCH, "1us", ["nobody", "call"], replace(TERMS, rounds=3, pace=0.0))

    assert [(comparison.peer, len(comparison.our_values)) for comparison in comparisons] == [("call", 3)]
    assert [(failure.subject, failure.reason) for failure in failures] == [("nobody", "KeyError: 'nobody'")]


def test_peers_stand_on_either_side_of_ours_and_change_sides_every_round():
    others = ["pool", "loky", "ray", "call"]

    first, second = (list(measure._groups(BENCH, others, round_number)) for round_number in (1, 2))

    assert first == [([], ["call"]), (["pool"], ["loky"]), (["ray"], [])]
    assert second == [([], ["call"]), (["loky"], ["pool"]), ([], ["ray"])]


def test_the_shares_of_all_benches_are_less_than_twenty_minutes():
    benches = [bench_named(name) for name in NAMES]

    assert sum(bench.share for bench in benches) <= 19.5 * 60  # the limits and the building of limits.c have the rest


def test_what_is_left_of_a_run_is_the_shares_of_the_benches_to_come():
    benches = [replace(BENCH, share=100.0), replace(BENCH, share=40.0), replace(BENCH, share=20.0)]

    assert command._later_seconds(benches, Terms()) == [60.0, 20.0, 0.0]
    assert command._later_seconds(benches, replace(Terms(), rounds=10, pace=0.0)) == [120.0, 40.0, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_works_have_names_of_their_own_and_goals_beside_somebody_who_takes_part(name):
    bench = bench_named(name)
    works = bench.works(Terms())

    names = [work.name for work in works]
    goals = {peer for work in works for peer in work.goals}
    assert len(set(names)) == len(names) > 0
    assert all(peer in bench.floors or bench.takes_part(peer) for peer in goals)
