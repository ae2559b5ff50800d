# SPDX-License-Identifier: MIT
"""A queue in a real Jupyter kernel, used as people use notebooks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.kernels import Kernel
from tests.support.queues import is_gone
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # those of Jupyter itself

PROMPTLY = 1.0  # seconds; it takes some 30 ms, but other tests may be at work here too

OPEN = """
import os, signal, time
from localq import LocalQueue
q = LocalQueue(workers=2, name={name!r})
q.delay(len, "").result()
"""
PIDS = """
from localq._native import ROLE_SUPERVISOR, ROLE_WORKER
rows = [row for row in q._space.rows() if row["live"]]
[[row["pid"] for row in rows if row["role"] == role] for role in (ROLE_SUPERVISOR, ROLE_WORKER)]
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as started:
        assert started.run(OPEN.format(name="notebook")).error == ""
        yield started


def value(kernel: Kernel, code: str) -> str:
    """What the last line of a cell is."""
    cell = kernel.run(code)
    assert cell.error == "", cell.traceback
    return cell.displays[-1]["text/plain"]


# ---- functions and classes of cells


def test_the_function_of_a_later_cell_runs_and_not_the_one_it_replaced(kernel):
    assert value(kernel, "def f(x):\n    return x + 1\nq.delay(f, 1).result()") == "2"
    assert (
        value(kernel, "def f(x):\n    return helper(x)\ndef helper(x):\n    return -x\nq.delay(f, 1).result()") == "-1"
    )
    assert value(kernel, "def helper(x):\n    return 'newest'\nq.delay(f, 1).result()") == "'newest'"


def test_a_map_after_a_redefinition_runs_the_new_function(kernel):
    assert value(kernel, "def g(x):\n    return 1\nsum(q.map(g, range(50)))") == "50"
    assert value(kernel, "def g(x):\n    return 2\nsum(q.map(g, range(50)))") == "100"


def test_lambdas_and_variables_of_the_notebook_have_the_value_that_they_have_at_the_call(kernel):
    assert value(kernel, "factor = 3\ntimes = lambda x: x * factor\nlist(q.map(times, range(3)))") == "[0, 3, 6]"
    assert value(kernel, "factor = 4\nlist(q.map(times, range(3)))") == "[0, 4, 8]"


def test_a_closure_over_a_large_array_travels(kernel):
    code = """
import numpy as np
table = np.arange(4_000_000, dtype=np.float64)
def total(part):
    return float(table[part::4].sum())
bool(sum(q.map(total, range(4))) == table.sum())
"""
    assert value(kernel, code) == "True"


def test_instances_of_a_class_of_the_notebook_come_back_as_such(kernel):
    code = """
class Point:
    def __init__(self, x):
        self.x = x
def move(point):
    return Point(point.x + 1)
moved = q.delay(move, Point(1)).result()
isinstance(moved, Point), moved.x
"""
    assert value(kernel, code) == "(True, 2)"


def test_a_class_that_was_redefined_is_the_new_one_in_what_comes_back(kernel):
    old = "class Thing:\n    kind = 'old'\ndef make():\n    return Thing()\nisinstance(q.delay(make).result(), Thing)"
    assert value(kernel, old) == "True"

    new = "class Thing:\n    kind = 'new'\nmade = q.delay(make).result()\nisinstance(made, Thing), made.kind"
    assert value(kernel, new) == "(True, 'new')"


def test_an_exception_of_the_notebook_can_be_caught_as_such(kernel):
    code = """
class Refusal(Exception):
    pass
def refuse():
    raise Refusal("no") from KeyError("reason")
try:
    q.delay(refuse).result()
except Refusal as error:
    caught = type(error.__cause__).__name__
caught
"""
    assert value(kernel, code) == "'KeyError'"


# ---- what a cell shows


def test_prints_warnings_and_logging_of_tasks_appear_in_the_cell_that_waits_for_them(kernel):
    cell = kernel.run(
        """
import logging, sys, warnings
def speak(x):
    print("said", x)
    print("complained", file=sys.stderr)
    warnings.warn("careful")
    logging.getLogger("mine").warning("logged")
q.delay(speak, 1).result()
"""
    )

    assert cell.error == ""
    assert cell.out == "speak | said 1\n"
    assert "speak | complained\n" in cell.err
    assert "UserWarning: careful" in cell.err
    assert "speak | logged\n" in cell.err


def test_lines_that_repeat_are_counted_at_the_end_of_the_cell(kernel):
    cell = kernel.run("def same(x):\n    print('again')\nfor _ in q.map(same, range(300)):\n    pass")

    assert cell.out == "same | again\nsame | again ... repeated 299 times\n"


def test_lines_of_a_task_appear_while_the_cell_waits(kernel, tmp_path):
    path = str(tmp_path / "go")
    cell = kernel.start(
        f"""
def wait():
    print("waiting")
    while not os.path.exists({path!r}):
        time.sleep(0.001)
q.delay(wait).result()
"""
    )
    kernel.wait_until(lambda: cell.out, "the task has said something")

    assert cell.out == "wait | waiting\n"
    assert not cell.ended
    open(path, "w").close()
    assert kernel.wait(cell).error == ""


def test_a_traceback_points_into_the_cell(kernel):
    cell = kernel.run(
        """
def divide(x):
    # a line before
    return 1 / x  # here it fails
q.delay(divide, 0).result()
"""
    )

    assert cell.error == "ZeroDivisionError"
    assert "in divide\n    return 1 / x  # here it fails\nZeroDivisionError" in cell.traceback


def test_progress_is_a_bar_in_the_cell_that_is_replaced_and_ends_full(kernel):
    cell = kernel.run("def nap(x):\n    time.sleep(0.01)\nresults = list(q.map(nap, range(30), progress=True))")

    assert (cell.error, cell.err) == ("", "")
    assert len(cell.displays) >= 2
    assert "30/30" in cell.displays[-1]["text/plain"]
    assert cell.displays[-1]["text/html"].startswith("<pre")


@pytest.mark.parametrize("expression", ["q", "q.delay(len, '')", "q.get_task_result(q.delay(len, '').task_id)"])
def test_queue_future_and_result_are_shown_as_tables(kernel, expression):
    cell = kernel.run(expression)

    assert cell.displays[-1]["text/html"].startswith("<table>")


# ---- interrupting


@pytest.mark.parametrize(
    "wait",
    [
        "q.delay(time.sleep, 20).result()",
        "list(q.map(time.sleep, [20] * 3))",
        "list(q.map(time.sleep, [20] * 3, ordered=False))",
    ],
    ids=["result", "map", "unordered"],
)
def test_an_interrupted_cell_ends_at_once_and_the_queue_goes_on(kernel, wait):
    cell = kernel.start(
        f"""
try:
    print("waiting")
    {wait}
except KeyboardInterrupt:
    interrupted = time.monotonic()
    raise
"""
    )
    kernel.wait_until(lambda: cell.out, "the cell waits")
    began = time.monotonic()
    kernel.manager.interrupt_kernel()
    kernel.wait(cell)

    assert cell.error == "KeyboardInterrupt"
    assert cell.traceback.count("File ") <= 4  # showing more of localq would take longer than all the rest
    assert float(value(kernel, "interrupted")) - began < PROMPTLY
    _, workers = eval(value(kernel, PIDS))
    for pid in workers:  # still at their naps, where nobody has cancelled those
        os.kill(pid, signal.SIGKILL)
    assert value(kernel, "q.delay(len, 'abc').result()") == "3"


# ---- the end of a kernel


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_a_kernel_that_ends_leaves_no_process(end):
    with Kernel() as doomed:
        doomed.run(OPEN.format(name=f"doomed-{end}"))
        supervisors, workers = eval(value(doomed, PIDS))
        pids = supervisors + workers
        assert len(pids) == 3
        busy = doomed.start("print('busy')\nlist(q.map(time.sleep, [20] * 10))")
        doomed.wait_until(lambda: busy.out, "the cell waits")

        if end == "kill":
            os.kill(doomed.pid, signal.SIGKILL)
        else:
            doomed.restart()

        eventually(lambda: all(map(is_gone, pids)), what="supervisor and workers have ended")
