# SPDX-License-Identifier: MIT
"""Percentiles and spreads from the counts of buckets."""

from __future__ import annotations

from itertools import accumulate
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.monitor.buckets import Histogram, coarser, quantile, since, spread

BOUNDS = (1.0, 2.0, 4.0, inf)

counts_of = st.lists(st.integers(0, 50), min_size=4, max_size=4)


def test_nothing_that_was_counted_has_no_figures():
    assert quantile((0, 0, 0, 0), BOUNDS, 0.5) is None
    found = spread((0, 0, 0, 0), BOUNDS, 0.0)
    assert (found.count, found.mean, found.p50, found.p99, found.most) == (0, None, None, None, None)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0, 10, 0, 0), 0.5, 1.5),
        ((0, 10, 0, 0), 1.0, 2.0),
        ((10, 0, 0, 0), 0.5, 0.5),
        ((5, 0, 5, 0), 0.5, 1.0),
        ((5, 0, 5, 0), 0.75, 3.0),
        ((0, 0, 0, 7), 0.5, 4.0),
        ((1, 0, 0, 1), 0.99, 4.0),
    ],
)
def test_a_percentile_lies_within_its_bucket_as_far_as_its_rank(counts, share, expected):
    assert quantile(counts, BOUNDS, share) == pytest.approx(expected)


@given(counts_of, st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_larger_share_never_has_a_shorter_duration(counts, one, other):
    low, high = sorted((one, other))
    shorter, longer = quantile(counts, BOUNDS, low), quantile(counts, BOUNDS, high)

    assert (shorter is None) == (sum(counts) == 0)
    if shorter is not None and longer is not None:
        assert shorter <= longer


def test_what_came_since_is_the_difference_and_never_negative():
    assert since((5, 7), ()) == [5, 7]
    assert since((5, 7), (5, 3)) == [0, 4]
    assert since((5, 7), (6, 3)) == [0, 4]


def test_no_figure_is_beyond_the_longest_that_is_known():
    found = spread((0, 1, 0, 0), BOUNDS, 1.25, most=1.25)

    assert (found.p50, found.p99, found.most, found.mean) == (1.25, 1.25, 1.25, 1.25)


@given(counts_of, st.integers(1, 5))
def test_fewer_buckets_say_the_same_of_their_bounds(counts, step):
    bounds, sums = coarser(counts, BOUNDS, step)

    exact = dict(zip(BOUNDS, accumulate(counts), strict=True))
    assert bounds[-1] == inf
    assert [exact[bound] for bound in bounds] == sums


@given(st.lists(st.floats(0.0, 1e6), min_size=1))
def test_a_histogram_that_is_filled_here_counts_everything_once(durations):
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)

    found = histogram.spread()
    assert found.count == len(durations)
    assert found.most == max(durations)
    assert found.p99 is not None
    assert found.p99 <= max(durations)


def test_a_histogram_that_is_filled_here_is_as_exact_as_its_buckets():
    histogram = Histogram()
    for number in range(1, 1001):
        histogram.add(number / 1000)

    found = histogram.spread()
    assert found.mean == pytest.approx(0.5005)
    assert found.p50 == pytest.approx(0.5, rel=0.2)
    assert found.p95 == pytest.approx(0.95, rel=0.2)
