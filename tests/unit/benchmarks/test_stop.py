# SPDX-License-Identifier: MIT
"""The benchmark of tasks that are stopped: queued ones are cancelled, or it is no measurement."""

from __future__ import annotations

import pytest

from benchmarks import bench_stop


@pytest.mark.parametrize("subject", ["localq", "ppe-fork"])
def test_queued_tasks_are_cancelled(tmp_path, subject):
    assert bench_stop._cancel_queued(subject, tmp_path, 50) > 0


def test_a_queue_whose_tasks_are_not_cancelled_is_not_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_stop, "MOST_PROMISED", -1)

    with pytest.raises(RuntimeError, match="localq has cancelled 50 of 50 queued tasks"):
        bench_stop._cancel_queued("localq", tmp_path, 50)
