# SPDX-License-Identifier: MIT
"""Round trips and their percentiles."""

from __future__ import annotations

import pytest

from benchmarks.trips import LEAST_TRIPS, percentile, round_trips


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 51), (95, 96), (99, 100), (100, 100)])
def test_so_many_percent_of_all_values_are_below_their_percentile(percent, value):
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_a_few_round_trips_are_made_when_there_is_no_time():
    calls: list[None] = []

    trips = round_trips(lambda: calls.append(None), seconds=0.0)

    assert len(trips) == len(calls) == LEAST_TRIPS
    assert all(trip > 0 for trip in trips)
