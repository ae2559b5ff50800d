# SPDX-License-Identifier: MIT
"""The text that Prometheus reads, from made-up readings, read back strictly."""

from __future__ import annotations

import msgspec
import pytest

from localq.monitor.interval import snapshot_of
from localq.monitor.metrics import text_of
from localq.monitor.raw import Calls, Figures, Meters
from tests.support.prometheus import Family, parse
from tests.support.readings import ABOUT, SECOND, raw, supervisor, worker


def page(*readings, ended=()) -> dict[str, Family]:
    made = []
    for number, reading in enumerate(readings):
        about = msgspec.structs.replace(ABOUT, name=f"q{number}")
        made.append((snapshot_of(about, reading, None), reading))
    return parse(text_of(made, ended))


def test_every_name_of_a_full_reading_is_ours_and_the_page_is_sound():
    reading = raw(5, functions=(Calls(name="f", done=1, run=(1, 0, 0, 0)),))

    found = page(reading, reading)

    assert all(name.startswith("localq_") for name in found)
    assert all(family.help for family in found.values())
    assert found["localq_up"].of(queue="q0") == found["localq_up"].of(queue="q1") == 1


def test_counts_are_the_totals():
    meters = Meters(done=7, failed=2, cancelled=1, retried=3, items=50, bytes_in=10, bytes_out=20)

    found = page(raw(5, meters=meters, tallies={"workers_crashed": 4, "tasks_requeued": 6}))

    tasks = found["localq_finished_tasks_total"]
    assert (tasks.of(state="succeeded"), tasks.of(state="failed"), tasks.of(state="cancelled")) == (7, 2, 1)
    assert found["localq_retries_total"].of() == 3
    assert found["localq_items_total"].of() == 50
    assert (found["localq_argument_bytes_total"].of(), found["localq_result_bytes_total"].of()) == (10, 20)
    assert found["localq_workers_crashed_total"].of() == 4
    assert found["localq_tasks_requeued_total"].of() == 6


def test_histograms_are_cumulative_in_seconds():
    meters = Meters(wait=(1, 2, 3, 4), run=(5, 0, 0, 0), wait_ns=SECOND * 3 // 2, run_ns=250)

    found = page(raw(5, meters=meters))

    wait = found["localq_wait_seconds"]
    assert wait.of("_bucket", le="0.001") == 1
    assert wait.of("_bucket", le="+Inf") == wait.of("_count") == 10
    assert wait.of("_sum") == 1.5
    assert found["localq_run_seconds"].of("_sum") == 2.5e-7


def test_depths_have_the_name_of_their_ring_and_their_priority():
    found = page(raw(5, depths=((1, 2, 3, 4), (0, 5, 0, 0)), slots={"queued": 15, "claimed": 1, "running": 2}))

    queued = found["localq_queued_tasks"]
    assert queued.of(ring="default", priority="low") == 4
    assert queued.of(ring="mail", priority="high") == 5
    assert found["localq_tasks"].of(state="running") == 3


def test_workers_are_counted_by_state():
    rows = (supervisor(), worker(0), worker(1, figures=Figures("stopped", 0, 5)), worker(2, ready=False))

    found = page(raw(5, rows=rows))

    workers = found["localq_workers"]
    assert [workers.of(state=state) for state in ("idle", "stopped", "starting", "dead")] == [1, 1, 1, 0]
    assert found["localq_workers_memory_bytes"].of() == 20_005


@pytest.mark.parametrize("name", ['quote "it"', "back\\slash", "two\nlines", "é 本 \U0001f980", "", 'a="b",c'])
def test_names_that_are_hard_to_write_are_read_back(name):
    found = page(raw(5, functions=(Calls(name=name, done=3),)))

    assert found["localq_function_tasks_total"].of(function=name, state="succeeded") == 3


def test_a_queue_that_is_not_there_is_not_up():
    found = page(ended=("gone",))

    assert set(found) == {"localq_up"}
    assert found["localq_up"].of(queue="gone") == 0


def test_without_any_queue_there_is_nothing():
    assert text_of([]) == ""
