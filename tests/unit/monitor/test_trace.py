# SPDX-License-Identifier: MIT
"""Traces of real queues: every run is in the file, the file is sound, and recording ends by itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from localq import LocalqError, LocalQueue, QueueClosed, _native
from localq.monitor.trace import AHEAD
from tests.support import tasks
from tests.support.queues import PATIENCE, gate, id_of, wait_until_staffed
from tests.support.scripts import ROOT, WATCHDOG, run_script
from tests.support.waiting import Gate, eventually

__all__ = ["gate"]


def events_of(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["traceEvents"])


def slices(path: Path, category: str) -> list[dict[str, Any]]:
    return [event for event in events_of(path) if event["ph"] == "X" and event["cat"] == category]


def test_every_run_is_in_the_file_with_its_way_there_and_back(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=2, name="traced") as q:
        wait_until_staffed(q)
        with q.trace(path) as trace:
            futures = [q.delay(tasks.same, n) for n in range(50)]
            assert [future.result(PATIENCE) for future in futures] == list(range(50))

    runs = slices(path, "run")
    assert sorted(run["args"]["task"] for run in runs) == sorted(id_of(future) for future in futures)
    assert {run["name"] for run in runs} == {"tests.support.tasks.same"}
    assert {run["args"]["outcome"] for run in runs} == {"success"}
    assert all(run["args"]["bytes_in"] > 0 for run in runs)
    assert [len(slices(path, each)) for each in ("transfer", "return", "submit", "result")] == [50] * 4
    arrows = [event for event in events_of(path) if event["ph"] in "sf"]
    assert len(arrows) == 200
    names = {event["args"]["name"] for event in events_of(path) if event["name"] == "thread_name"}
    assert f"client {os.getpid()}" in names
    assert trace.summary.runs == 50
    assert trace.summary.lost == 0
    assert trace.summary.path == str(path)


def test_transfer_run_and_return_of_a_worker_follow_each_other(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="order") as q:
        wait_until_staffed(q)
        with q.trace(path):
            for n in range(20):
                q.delay(tasks.same, n).result(PATIENCE)

    found = [event for event in events_of(path) if event["ph"] == "X" and event["cat"] in ("transfer", "run", "return")]
    found.sort(key=lambda event: event["ts"])
    assert [event["cat"] for event in found] == ["transfer", "run", "return"] * 20
    for one, next_one in pairwise(found):
        assert one["ts"] + one["dur"] <= next_one["ts"] + 0.0015  # microseconds; nothing is drawn narrower than 0.001


def test_failures_retries_and_maps_are_told(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="kinds") as q:
        wait_until_staffed(q)
        with q.trace(path) as trace:
            assert q.options(max_retries=1).delay(tasks.fail, "no").exception(PATIENCE)
            assert list(q.map(tasks.same, range(100), chunksize=50)) == list(range(100))

    runs = slices(path, "run")
    assert [run["args"]["attempt"] for run in runs if run["name"].endswith("fail")][-1] == 2
    assert [run["args"]["outcome"] for run in runs if run["name"].endswith("fail")][-1] == "failure"
    assert [run["args"]["items"] for run in runs if run["name"].endswith("same")] == [50, 50]
    functions = {each.name: each for each in trace.summary.functions}
    assert functions["tests.support.tasks.same"].items == 100
    assert functions["tests.support.tasks.fail"].failed >= 1


def test_what_runs_before_and_after_is_shown_as_far_as_it_goes(tmp_path, gate: Gate):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="long") as q:
        future = q.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        trace = q.trace(path, seconds=0.1)
        gate.open()
        future.result(PATIENCE)

    (run,) = slices(path, "run")
    assert run["args"]["task"] == id_of(future)
    assert run["args"]["outcome"] == "not ended yet"
    assert run["args"]["run_us"] >= run["dur"]
    assert trace.summary.runs == 0
    assert trace.summary.busy == pytest.approx(1.0, abs=0.05)


def test_a_task_that_was_taken_before_and_ends_meanwhile_has_no_transfer(tmp_path, gate: Gate):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="across") as q:
        future = q.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        with q.trace(path) as trace:
            gate.open()
            future.result(PATIENCE)

    (run,) = slices(path, "run")
    assert not slices(path, "transfer")
    assert run["args"]["wait_us"] >= 0
    (function,) = trace.summary.functions
    assert function.transfer == 0
    assert trace.summary.busy <= 1.0


def test_coroutines_of_one_worker_have_tracks_of_their_own(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="lanes", concurrency=3) as q:
        wait_until_staffed(q)
        q.delay(tasks.add_later, 1).result(PATIENCE)
        with q.trace(path):
            for future in [q.delay(nap, 0.05) for _ in range(3)]:
                future.result(PATIENCE)

    runs = slices(path, "run")
    assert len(runs) == 3
    assert len({run["tid"] for run in runs}) == 3


async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_other_clients_are_recorded_too(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="others") as q, LocalQueue.attach("others") as other:
        wait_until_staffed(q)
        with other.trace(path) as trace:
            for n in range(10):
                q.delay(tasks.same, n).result(PATIENCE)

    assert trace.summary.runs == 10
    assert len(slices(path, "result")) == 10


def test_a_flood_is_recorded_as_far_as_it_can_be_and_the_rest_is_counted(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=2, name="flood") as q:
        wait_until_staffed(q)
        with q.trace(path) as trace:
            for future in [q.delay(tasks.same, 1) for _ in range(20_000)]:
                future.result(PATIENCE)

    assert trace.summary.runs + trace.summary.lost >= 20_000
    assert len(slices(path, "run")) == trace.summary.runs
    assert any("use map" in sentence for sentence in trace.summary.advice)


def test_a_recording_has_no_summary_before_it_has_ended(tmp_path):
    with LocalQueue(workers=1, name="early") as q:
        with (
            q.trace(tmp_path / "run.json") as trace,
            pytest.raises(LocalqError, match="before its recording has ended"),
        ):
            trace.summary  # noqa: B018 - it raises
        assert trace.summary.runs == 0
        with pytest.raises(LocalqError, match="recorded already"), trace:
            pass


def test_a_file_that_cannot_be_written_is_an_error_and_starts_nothing(tmp_path):
    with LocalQueue(workers=1, name="nofile") as q:
        with pytest.raises(FileNotFoundError), q.trace(tmp_path / "no" / "run.json"):
            pass
        with pytest.raises(IsADirectoryError):
            q.trace(tmp_path, seconds=1)
        assert threading.active_count() == len([t for t in threading.enumerate() if t.name != "localq-trace"])


def test_an_error_in_the_block_leaves_the_file_whole(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="error") as q, pytest.raises(tasks.Mishap), q.trace(path) as trace:
        q.delay(tasks.fail).result(PATIENCE)

    assert len(slices(path, "run")) == 1
    assert trace.summary.failed == 1


def test_a_process_that_is_forked_meanwhile_writes_nothing_into_the_file(tmp_path):
    path = tmp_path / "run.json"
    script = """
    import os, sys, warnings
    from localq import LocalQueue

    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside a thread, from 3.12 on: the recorder's
    with LocalQueue(workers=1, name="forks") as q:
        with q.trace(sys.argv[1]):
            for _ in range(20):
                q.delay(abs, -1).result()
                if os.fork() == 0:
                    sys.exit()
                os.waitpid(-1, 0)
    """
    run_script(tmp_path, script, str(path))

    assert len(slices(path, "run")) == 20


def test_a_closed_queue_is_not_traced(tmp_path):
    q = LocalQueue(workers=1, name="closed")
    q.close()

    with pytest.raises(QueueClosed):
        q.trace(tmp_path / "run.json")
    assert not (tmp_path / "run.json").exists()


def test_a_queue_that_is_closed_while_it_is_traced_leaves_the_file_whole(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="ending") as q:
        trace = q.trace(path)
        with trace:
            q.delay(tasks.same, 1).result(PATIENCE)
            q.close()

    assert len(slices(path, "run")) == 1


@pytest.mark.slow
def test_a_recorder_that_is_killed_is_forgotten_in_a_moment(tmp_path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="killed") as q:
        wait_until_staffed(q)
        q.delay(tasks.same, 1).result(PATIENCE)
        command = [sys.executable, "-m", "localq", "trace", "killed", "--seconds", "60", "-o", str(path)]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as recorder:
            cursor = bytearray()
            eventually(lambda: is_recorded(q, cursor), what="runs are recorded")
            recorder.kill()
            recorder.wait(WATCHDOG)
        killed_ns = _native.now_ns()
        eventually(lambda: not is_recorded(q, cursor), what="runs are not recorded any more")
        assert _native.now_ns() - killed_ns <= (AHEAD + 2) * 1e9
        assert path.exists()


def is_recorded(q: LocalQueue, cursor: bytearray) -> bool:
    q._space.trace(cursor)
    q.delay(tasks.same, 1).result(PATIENCE)
    return bool(q._space.trace(cursor)[0])
