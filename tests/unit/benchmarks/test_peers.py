# SPDX-License-Identifier: MIT
"""The libraries that are measured: each does the work that it is asked for, and says why it cannot be had."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks import adapters, peers
from benchmarks.measure import ROOT
from benchmarks.workloads import same

#: In a process of its own: some of these leave helpers to the end of theirs.
USE_EACH = """
import json
from benchmarks import peers
from benchmarks.measure import started
from benchmarks.workloads import same
if __name__ == "__main__":
    found = {}
    for subject in peers.SUBJECTS:
        if not subject.is_heavy and not peers.missing(subject) and subject.name != "ppe-forkserver":
            with started(subject.name, workers=2) as peer:
                handles = [peer.submit(same, n) for n in range(20)] if subject.submits else []
                singles = [peer.wait(handle) for handle in handles]
            with started(subject.name, workers=2) as peer:
                found[subject.name] = singles, list(peer.map(same, range(100), 7))
    print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_library_that_is_here_gives_the_results_that_it_is_asked_for_in_order():
    said = subprocess.run([sys.executable, "-c", USE_EACH], cwd=ROOT, check=True, capture_output=True, text=True)

    found = json.loads(said.stdout)
    assert set(found) >= {"localq", "ppe-fork", "pool"}
    for name, (singles, mapped) in found.items():
        assert singles == (list(range(20)) if peers.find(name).submits else [])
        assert mapped == list(range(100))


@pytest.mark.slow
def test_an_error_in_a_worker_of_the_bare_queue_is_raised_by_wait():
    pytest.importorskip("faster_fifo")
    program = """
from benchmarks.measure import started
from benchmarks.workloads import last
with started("fifo", workers=1) as peer:
    peer.wait(peer.submit(last, []))
"""

    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True)

    assert said.stderr.splitlines()[-1] == "IndexError: list index out of range"


def test_a_map_in_chunks_made_by_hand_sends_no_range():
    chunks = adapters._in_chunks(lambda each, fn, chunk: [chunk], list, same, range(5), 2)

    assert chunks == [[0, 1], [2, 3], [4]]


def test_a_library_that_is_not_installed_says_how_to_install_it():
    stranger = replace(peers.find("ray"), package="no_such_library")

    assert peers.missing(stranger) == "is not installed (pip install 'localq[bench-ray]')"
    assert peers.version(stranger) == "not here"


def test_a_library_that_this_python_cannot_have_says_which_one_can():
    stranger = replace(peers.find("pool"), needs=lambda: "needs Python 4")

    assert peers.missing(stranger) == "needs Python 4"
    assert peers.missing(peers.find("pool")) == ""
