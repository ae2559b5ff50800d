# SPDX-License-Identifier: MIT
"""The table of faults: what it observes is what happens, what hangs is cut off, and nothing is left of it."""

from __future__ import annotations

import sys

import pytest

from benchmarks.what_happens import sandbox
from benchmarks.what_happens.cells import cell, verdict
from benchmarks.what_happens.faults import FAULTS
from benchmarks.what_happens.systems import SYSTEMS
from tests.support.queues import is_gone
from tests.support.waiting import eventually

HANGING = """
import os, signal, subprocess, sys, time
from benchmarks.what_happens import faults, systems

class Hanging(systems.Executor):
    "Leaves a sleeper in a session of its own and one that is stopped, and never comes back from its batch."

    def batch(self, calls, retries=0):
        strayed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        stopped = os.fork()
        if stopped == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        print('{"started": [%d, %d, %d]}' % (os.getpid(), strayed.pid, stopped), flush=True)
        time.sleep(600)

systems.SYSTEMS["ppe-fork"] = systems.Entry("hanging", Hanging, "")
faults.main("killed", "ppe-fork", sys.argv[1])
"""


@pytest.mark.slow
def test_a_scenario_that_hangs_is_cut_off_and_nothing_is_left_of_it():
    facts = sandbox.observe([sys.executable, "-c", HANGING], limit=1.0)

    assert facts["hangs"]
    assert len(facts["started"]) == 3
    eventually(lambda: all(map(is_gone, facts["started"])))  # killed; two of them are init's to bury
    assert verdict(facts).words == "**the client hangs** (cut off after 1 s)"


@pytest.mark.slow
def test_a_process_that_outlives_its_client_is_counted_and_killed():
    program = """
import json, os, time
pid = os.fork()
if pid == 0:
    time.sleep(600)
print(json.dumps({"pid": pid}), flush=True)
open(os.path.join(os.environ["TMPDIR"], "forgotten"), "w").close()
"""
    facts = sandbox.observe([sys.executable, "-c", program])

    assert not facts["hangs"]
    assert len(facts["orphans"]) == 1
    assert "forgotten" in facts["files"]
    eventually(lambda: is_gone(facts["pid"]))


@pytest.mark.slow
def test_a_killed_worker_costs_localq_one_task():
    facts = sandbox.play("killed", "localq")

    assert facts["bad"]["type"] == "WorkerCrashed"
    assert facts["names"] == ["pid", "signal"]
    assert facts["others"] == {"value": 9}
    assert facts["after"]["how"] == "value"
    assert facts["orphans"] == []
    assert verdict(facts).harm == 0


@pytest.mark.slow
def test_a_killed_worker_costs_a_process_pool_executor_everything_that_waits():
    facts = sandbox.play("killed", "ppe-fork")

    assert facts["bad"]["type"] == "BrokenProcessPool"
    assert facts["others_errors"]["BrokenProcessPool"] >= 5  # the other worker finished two or three in the meantime
    assert facts["after"]["how"] == "error"
    assert "takes no more work" in verdict(facts).words


@pytest.mark.slow
@pytest.mark.parametrize("system", ["localq", "ppe-fork"])
def test_an_argument_that_cannot_be_sent_fails_alone(system):
    facts = sandbox.play("argument-unsendable", system)

    assert facts["bad"]["how"] == "error"
    assert "its type" in facts["names"]
    assert facts["others"] == {"value": 9}
    assert facts["runs"] == 0


def test_a_cell_merges_runs_that_differ_in_numbers_and_tells_others_apart():
    def ended(seconds, tracebacks, orphans=()):
        return {
            "hangs": False,
            "signal": 2,
            "signal_group": True,
            "ended_seconds": seconds,
            "tracebacks": tracebacks,
            "error_lines": 20,
            "orphans": list(orphans),
            "files": [],
        }

    alike = cell([ended(0.1, 1), ended(0.3, 2), ended(0.2, 1)])
    assert alike.words == "ends after 0.20 s; tracebacks on stderr: 1 to 2, lines: 20; no process left"
    assert alike.harm == 0

    apart = cell([ended(0.1, 1), ended(0.1, 1), ended(0.1, 1, orphans=["python"])])
    assert apart.words.startswith("2 of 3 runs: ends after")
    assert "1 of 3 runs: " in apart.words
    assert apart.harm == 1


def test_every_fault_and_every_system_has_a_title_of_its_own():
    assert len({fault.title for fault in FAULTS.values()}) == len(FAULTS)
    assert len({entry.title for entry in SYSTEMS.values()}) == len(SYSTEMS)
