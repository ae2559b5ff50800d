# SPDX-License-Identifier: MIT
"""`localq ls` and `localq list`: what runs, what does not answer, and what can be run by name."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from localq import LocalQueue
from localq.pool.processes import is_stopped
from tests.support import tasks
from tests.support.queues import supervisor_of, wait_until_staffed
from tests.support.scripts import ROOT, WATCHDOG
from tests.support.waiting import eventually


def execute(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localq", *arguments],
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def on_terminal(columns: int, *arguments: str, **environment: str) -> list[str]:
    """The lines that a terminal of that width gets."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "localq", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while more := os.read(ours, 4096):
                said += more
        except OSError:  # how Linux says that the other side is gone
            pass
        os.close(ours)
        assert process.wait(WATCHDOG) == 0
    return said.decode().splitlines()


def queues(*arguments: str) -> dict[str, dict[str, Any]]:
    result = execute("ls", "--json", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return {queue["name"]: queue for queue in json.loads(result.stdout)["queues"]}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: is_stopped(pid))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_without_queues_there_is_only_the_header(runtime):
    assert queues() == {}
    result = execute("ls")
    assert result.stdout.split("\t")[0] == "NAME"
    assert result.stdout.count("\n") == 1
    (said,) = on_terminal(200, "ls")
    assert "No queue of yours is running" in said


def test_running_queues_are_listed_with_what_they_do(gate):
    with (
        LocalQueue(workers=2, name="first", queues=("default", "mail")) as first,
        LocalQueue(workers=1, name="second") as second,
        gate,
    ):
        wait_until_staffed(first)
        wait_until_staffed(second)
        second.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        for _ in range(3):
            second.delay(tasks.noop)
        found = queues()
        lines = [line.split("\t") for line in execute("ls").stdout.splitlines()]
    assert list(found) == ["first", "second"]
    told = found["second"]
    assert (told["state"], told["phase"], told["pid"]) == ("running", "open", os.getpid())
    assert (told["workers"], told["workers_alive"], told["workers_busy"]) == (1, 1, 1)
    assert (told["queued"], told["running"]) == ({"default": 3}, 1)
    assert found["first"]["queued"] == {"default": 0, "mail": 0}
    assert found["first"]["uptime"] >= 0
    assert found["first"]["command"]
    assert lines[2][:3] == ["second", "running", str(os.getpid())]
    assert lines[2][4:7] == ["1/1", "3", "1"]


def test_what_does_not_answer_is_marked_and_the_others_are_listed(runtime):
    with LocalQueue(workers=1, name="well") as well, LocalQueue(workers=1, name="ill") as ill:
        wait_until_staffed(well)
        wait_until_staffed(ill)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(runtime / "old.sock"))
            listener.listen()
        (runtime / "notes.sock").write_text("mine")
        with stopped(supervisor_of(ill)):
            found = queues("--timeout", "0.3")
            listed = execute("list", "--json", "--timeout", "0.3")
    states = {name: queue["state"] for name, queue in found.items()}
    assert states == {"well": "running", "ill": "silent", "old": "stale", "notes": "foreign"}
    assert json.loads(listed.stdout) == {"queues": {"well": []}}
    assert listed.returncode == 1
    assert listed.stderr.count("\n") == 3
    assert found["ill"]["pid"] == os.getpid()
    assert "does not answer" in found["ill"]["problem"]
    (runtime / "old.sock").unlink()
    (runtime / "notes.sock").unlink()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_fits_its_terminal(columns):
    with LocalQueue(workers=1, name="a-queue-with-a-rather-long-name") as queue:
        wait_until_staffed(queue)
        lines = on_terminal(columns, "ls", NO_COLOR="1")
    plain = [line.replace("\x1b[2m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") for line in lines]
    assert len(plain) == 2
    assert max(map(len, plain)) <= columns
    assert "\x1b[3" not in "".join(lines)


def write_module(folder: Path) -> None:
    (folder / "mail.py").write_text(
        "from localq import task\n\n@task(queue='bulk', timeout=2.5)\n"
        "def send(to: str) -> None:\n    '''Send \\x1b[31mit.'''\n"
    )


def test_tasks_are_listed_by_queue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path)
    with (
        LocalQueue(workers=1, name="mail", queues=("default", "bulk"), task_modules=("mail",)),
        LocalQueue(workers=1, name="none"),
    ):
        result = execute("list", "mail", "--json")
        every = execute("list", "--json")
        text = execute("list", "mail").stdout
        (shown,) = on_terminal(200, "list", "none")
    assert (result.returncode, result.stderr) == (0, "")
    (told,) = json.loads(result.stdout)["queues"]["mail"]
    assert (told["name"], told["queue"], told["timeout"], told["priority"]) == ("mail.send", "bulk", 2.5, None)
    assert json.loads(every.stdout)["queues"].keys() == {"mail", "none"}
    assert text.splitlines()[1].split("\t") == [
        "mail.send",
        "(to: str) -> None",
        "queue=bulk timeout=2.5",
        "Send  [31mit.",
    ]
    assert "no registered tasks" in shown


def test_a_queue_that_is_not_there_is_named_with_what_is():
    with LocalQueue(workers=1, name="there"):
        result = execute("list", "elsewhere")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no queue named 'elsewhere'" in result.stderr
    assert "there" in result.stderr


def test_a_reader_that_has_seen_enough_ends_it_quietly():
    with LocalQueue(workers=1, name="there"):
        process = subprocess.Popen(
            [sys.executable, "-m", "localq", "ls"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
        process.wait(WATCHDOG)
