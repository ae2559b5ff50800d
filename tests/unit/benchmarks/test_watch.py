# SPDX-License-Identifier: MIT
"""The bench of what watching costs: each way is measured in each round, and something is read."""

from __future__ import annotations

from benchmarks.bench_watch import WAYS, measure


def test_every_way_is_measured_in_every_round(monkeypatch):
    monkeypatch.setitem(WAYS, "every 1 s", 0.01)
    monkeypatch.setitem(WAYS, "every 0.25 s", 0.01)

    found, each = measure(rounds=2, seconds=0.05, workers=1)

    assert {way: len(values) for way, values in found.items()} == dict.fromkeys(WAYS, 2)
    assert all(value > 0 for values in found.values() for value in values)
    assert each > 0
