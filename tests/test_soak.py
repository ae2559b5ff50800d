# SPDX-License-Identifier: MIT
"""The soak runs, counts right, and can fail: a few seconds with a fixed seed, and ledgers in which a thing is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak.verify import Evidence, verify

ROOT = Path(__file__).resolve().parent.parent
OUTCOMES = ("succeeded", "failed", "cancelled", "crashed", "closed", "abandoned", "orphaned")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_few_seconds_of_faults_leave_every_task_with_one_outcome(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.07", "--seed", "5", "--clients", "2", "--json"]
    finished = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=110
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    told = json.loads(finished.stdout)
    ledger = told["ledger"]
    assert (told["holds"], told["failures"], told["folder"], told["seed"]) == (True, [], None, 5)
    assert ledger["submitted"] == sum(ledger[name] for name in OUTCOMES)
    assert ledger["succeeded"] > 100
    assert ledger["wrong"] == 0
    assert sum(told["faults"].values()) > 5
    assert told["supervisors_started"] >= 1
    assert list(tmp_path.glob("localq-soak-*")) == []


SOUND = {
    "ledger-1": "S 1 add 0\nS 2 add 1\nS 3 add 0\nS 4 noop 0\n"
    "O 1 succeeded 1 70 5 \nO 2 succeeded 2 71 6 \nO 3 cancelled 0 0 7 \nO 4 crashed 1 72 8 9 None\n",
    "ledger-2": "S 9 add 0\n",
    "runs": "1 1 70\n2 1 70\n2 2 71\n4 1 72\n9 1 70\n",
    "faults": '{"what": "kill", "role": "worker", "pid": 72}\n',
}


def judge(folder: Path, **changed: str) -> list[str]:
    for name, text in {**SOUND, **changed}.items():
        (folder / name.replace("_", "-")).write_text(text)
    return verify(Evidence(folder, killed={2}, end_ms=100)).violations


def test_a_sound_ledger_has_no_violations_and_adds_up(tmp_path: Path) -> None:
    assert judge(tmp_path) == []
    verdict = verify(Evidence(tmp_path, {2}, 100))
    assert dict(verdict.ledger) == {"submitted": 5, "succeeded": 2, "cancelled": 1, "crashed": 1, "orphaned": 1}
    assert verdict.runs == 5


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("ledger-1", "O 1 succeeded 1 70 9 \n", "2 outcomes"),
        ("ledger-1", "S 5 add 0\n", "no outcome"),
        ("ledger-1", "S 5 add 0\nO 5 wrong 1 70 9 value 7\n", "value 7"),
        ("ledger-1", "S 5 add 0\nO 5 succeeded 1 70 9 \n", "without running"),
        ("ledger-1", "S 5 noop 0\nO 5 crashed 1 72 9 9 None\n", "took 2 tasks"),
        ("ledger-1", "S 5 noop 0\nO 5 crashed 1 73 9 9 None\n", "nobody killed"),
        ("ledger-1", "S 5 noop 0\nO 5 closed 0 0 99 over\n", "too early"),
        ("ledger-1", "X something\n", "something"),
        ("ledger-1", "C 1\n", "was told so"),
        ("runs", "1 2 70\n", "ran 2 times"),
        ("runs", "2 2 72\n", "twice as the same run"),
        ("runs", "77 1 70\n", "nobody submitted"),
        ("runs", "9 2 70\n", "ran 2 times"),
        ("stderr-owner-1", "Traceback\n", "unexpected"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, more: str, said: str) -> None:
    violations = judge(tmp_path, **{name: SOUND.get(name, "") + more})

    assert any(said in violation for violation in violations), violations
