# SPDX-License-Identifier: MIT
"""`localq trace`: a file, a summary, and an end when it is asked to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from localq import LocalQueue
from localq.cli import localq as command
from tests.support import tasks
from tests.support.queues import PATIENCE, wait_until_staffed
from tests.support.scripts import ROOT, WATCHDOG
from tests.support.waiting import eventually


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(command, ["trace", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "localq", "trace", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_a_file_is_written_and_a_summary_printed(tmp_path: Path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="idle"):
        result = run("idle", "--seconds", "0.05", "-o", str(path))

    assert result.exit_code == 0, result.stderr
    assert json.loads(path.read_text())["otherData"]["queue"] == "idle"
    assert result.stdout.startswith("Queue idle, 0.0")
    assert "its workers were idle" in result.stdout
    assert str(path) in result.stdout.replace("\n", "")


def test_the_file_has_the_name_of_the_queue_where_none_was_given(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with LocalQueue(workers=1, name="idle"):
        assert run("idle", "--seconds", "0.01").exit_code == 0

    assert (tmp_path / "localq-idle.json").exists()


def test_a_summary_for_programs_is_one_document(tmp_path: Path):
    with LocalQueue(workers=1, name="idle"):
        result = run("idle", "--seconds", "0.05", "--json", "-o", str(tmp_path / "run.json"))

    told = json.loads(result.stdout)
    assert (told["queue"], told["runs"], told["workers"]) == ("idle", 0, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cuts_it_short_and_the_file_is_whole(tmp_path: Path, number: int):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="busy") as q:
        wait_until_staffed(q)
        with start("busy", "--seconds", "60", "--json", "-o", str(path)) as recorder:

            def is_recorded() -> bool:
                q.delay(tasks.same, 1).result(PATIENCE)
                return path.exists() and path.stat().st_size > 20_000

            eventually(is_recorded, what="something is in the file")
            recorder.send_signal(number)
            said, errors = recorder.communicate(timeout=WATCHDOG)

    assert (recorder.returncode, errors) == (0, "")
    runs = [each for each in json.loads(path.read_text())["traceEvents"] if each.get("cat") == "run"]
    assert len(runs) == json.loads(said)["runs"] > 0


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nowhere"], 2, "no queue named 'nowhere' is running"),
        (["idle", "--seconds", "0"], 2, "--seconds"),
        (["idle", "-o", "no/such/folder/run.json"], 1, "No such file or directory"),
        ([], 2, "NAME"),
    ],
)
def test_what_cannot_be_done_is_told_with_an_exit_status(arguments, status, says):
    with LocalQueue(workers=1, name="idle"):
        result = run(*arguments)

    assert result.exit_code == status
    assert says in result.stderr


def test_a_queue_that_ends_meanwhile_ends_the_recording(tmp_path: Path):
    path = tmp_path / "run.json"
    with LocalQueue(workers=1, name="ending") as q:
        recorder = start("ending", "--seconds", "60", "-o", str(path))
        with recorder:
            eventually(path.exists)
            q.close()
            said, errors = recorder.communicate(timeout=WATCHDOG)

    assert (recorder.returncode, errors) == (0, "")
    assert said.startswith("Queue ending")
    json.loads(path.read_text())
