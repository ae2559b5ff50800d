# SPDX-License-Identifier: MIT
"""The benchmark of tasks that need others: both ways of its shapes do the same, and a wrong answer is not timed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import bench_fan, peers
from benchmarks.bench_fan import BENCH, chained, chained_waiting_in_between, fan_out_and_in, fan_waiting_in_between
from benchmarks.measure import started, take_turn
from benchmarks.terms import Terms

TERMS = replace(Terms.quick(), workers=2, seconds=0.0, dependent=20)


class Counting:
    """A peer that counts what is submitted to it."""

    def __init__(self, peer: peers.Peer) -> None:
        self.peer = peer
        self.wait = peer.wait
        self.submitted = 0

    def submit(self, *call: object) -> object:
        self.submitted += 1
        return self.peer.submit(*call)

    map = close = None  # no shape uses them


@pytest.mark.parametrize(
    ("shape", "others"),
    [(fan_out_and_in, 2), (fan_waiting_in_between, 2), (chained, 1), (chained_waiting_in_between, 1)],
)
def test_a_shape_is_of_as_many_tasks_as_its_name_says(shape, others):
    with started("localq", workers=2) as peer:
        counting = Counting(peer)
        answer = shape(counting, 7)

    assert answer == 14
    assert counting.submitted == 7 + others


def test_a_shape_with_a_wrong_answer_is_not_timed():
    with pytest.raises(ValueError, match="20 tasks that need others have come to 39, not 40"):
        bench_fan._milliseconds(lambda peer, tasks: 2 * tasks - (tasks == 20), None, TERMS)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_turn_measures_every_work():
    assert set(take_turn("fan", "localq", TERMS)) == {work.name for work in BENCH.works(TERMS)}
