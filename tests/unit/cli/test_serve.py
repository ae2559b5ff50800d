# SPDX-License-Identifier: MIT
"""`localq serve` and `localq worker`, as processes of their own: ready, drain, reload, more workers, exit statuses."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from localq import LocalQueue
from localq.cli import localq as command
from localq.cli.serve import _OPTIONS
from localq.config import QueueConfig
from localq.pool.control import ask
from tests.support import tasks
from tests.support.queues import PATIENCE, is_gone
from tests.support.scripts import ROOT, WATCHDOG
from tests.support.waiting import eventually


class Program:
    """`localq ...` that runs beside the test, with what it says in a file."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.said_at = folder / f"said-{len(list(folder.glob('said-*')))}"
        self._file = open(self.said_at, "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "localq", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=self._file,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )

    @property
    def said(self) -> str:
        return self.said_at.read_text()

    def wait_until_said(self, what: str) -> str:
        return eventually(lambda: said if what in (said := self.said) else None, WATCHDOG, f"it says {what!r}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Its exit status."""
        return self.process.wait(WATCHDOG)


@contextmanager
def run(folder: Path, *arguments: str, **environment: str) -> Iterator[Program]:
    program = Program(folder, *arguments, **environment)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait()
        program._file.close()


def finish(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """(exit status, what it said) of one that ends by itself."""
    with run(folder, *arguments, **environment) as program:
        return program.end(), program.said


def write_module(folder: Path, answer: str, more: str = "") -> None:
    (folder / "mail.py").write_text(f"from localq import task\n@task\ndef send() -> str: return {answer!r}\n{more}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_module(tmp_path, "sent")
    return tmp_path


# --- serve ----------------------------------------------------------------------------------------------------------


def test_it_says_that_it_is_ready_serves_and_drains_at_sigterm(folder, gate):
    with run(folder, "serve", "--name", "mail", "--workers", "2", "--task-modules", "mail") as served:
        said = served.wait_until_said("ready")
        assert said == f"localq: queue mail is ready: 2 workers (pid {served.process.pid})\n"
        with LocalQueue.attach("mail") as client:
            assert client.delay("mail.send").result(PATIENCE) == "sent"
            held = client.delay(tasks.slow, gate.path, "through")
            gate.wait_for_arrivals(1)
            served.signal(signal.SIGTERM)
            served.wait_until_said("draining: 1 task left")
            gate.open()
            assert held.result(PATIENCE) == "through"
        assert served.end() == 0
        assert served.said.endswith("localq: drained, and ended\n")


def test_draining_does_what_clients_left_behind(folder, gate):
    record = str(folder / "record")
    with run(folder, "serve", "--name", "mail", "--workers", "1") as served:
        served.wait_until_said("ready")
        client = LocalQueue.attach("mail")
        client.delay(tasks.slow, gate.path)
        for number in range(10):
            client.delay(tasks.record, record, str(number))
        gate.wait_for_arrivals(1)
        client.close(timeout=0.0)

        served.signal(signal.SIGINT)
        served.wait_until_said("draining: 11 tasks left")
        gate.open()

        assert served.end() == 0
    assert Path(record).read_text().split() == [str(number) for number in range(10)]


def test_what_takes_too_long_is_ended_and_told(folder, gate):
    with run(folder, "serve", "--name", "mail", "--workers", "1", "--drain-timeout", "0.2") as served:
        served.wait_until_said("ready")
        client = LocalQueue.attach("mail")
        client.delay(tasks.slow, gate.path)
        (worker,) = gate.wait_for_arrivals(1)
        served.signal(signal.SIGTERM)

        assert served.end() == 1
        assert "ended 1 task that took longer than 0.2 s" in served.said
        eventually(lambda: is_gone(worker))
        client.close()


def test_a_second_signal_ends_it_at_once(folder, gate):
    with run(folder, "serve", "--name", "mail", "--workers", "1", "--drain-timeout", "60") as served:
        served.wait_until_said("ready")
        client = LocalQueue.attach("mail")
        client.delay(tasks.slow, gate.path)
        (worker,) = gate.wait_for_arrivals(1)
        served.signal(signal.SIGINT)
        served.wait_until_said("a second signal ends")
        served.signal(signal.SIGINT)

        assert served.end() == -signal.SIGINT
        eventually(lambda: is_gone(worker))
        client.close()


def test_sighup_takes_up_changed_modules_and_one_that_fails_changes_nothing(folder):
    with run(folder, "serve", "--name", "mail", "--workers", "2", "--task-modules", "mail") as served:
        served.wait_until_said("ready")
        with LocalQueue.attach("mail") as client:
            write_module(folder, "sent anew")
            served.signal(signal.SIGHUP)
            served.wait_until_said("reloaded: 2 workers replaced")
            assert client.delay("mail.send").result(PATIENCE) == "sent anew"
            write_module(folder, "never", "raise RuntimeError('out of order')")
            served.signal(signal.SIGHUP)
            served.wait_until_said("reload failed")
            assert client.delay("mail.send").result(PATIENCE) == "sent anew"
        assert "out of order" in served.said
        served.signal(signal.SIGTERM)
        assert served.end() == 0


@pytest.mark.parametrize("how", ["closes", "closes under nohup", "stays"])
def test_a_terminal_that_is_closed_drains_and_a_signal_in_one_reloads(folder, how):
    arguments = [sys.executable, "-m", "localq", "serve", "--name", "mail", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if how == "closes under nohup" else signal.SIG_DFL)
        os.execve(sys.executable, arguments, environment)
    said = b""
    while b"is ready" not in said:
        said += os.read(terminal, 4096)
    if how == "stays":
        os.kill(pid, signal.SIGHUP)
        while b"reloaded" not in said:
            said += os.read(terminal, 4096)
    else:
        os.close(terminal)
    if how != "closes":
        assert ask("mail", {"do": "facts"})["phase"] == "open"
        os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    if how == "stays":
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("is_abstract", [False, True])
def test_whoever_started_it_is_told(folder, is_abstract):
    address = f"\0localq-test-{os.getpid()}" if is_abstract else str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as init:
        init.bind(address)
        init.settimeout(WATCHDOG)
        shown = address.replace("\0", "@")
        with run(folder, "serve", "--name", "mail", "--workers", "1", NOTIFY_SOCKET=shown) as served:
            assert init.recv(4096).decode().splitlines() == ["READY=1", "STATUS=1 worker, taking tasks"]
            with LocalQueue.attach("mail") as client:
                assert client.delay(os.environ.get, "NOTIFY_SOCKET").result(PATIENCE) is None
            served.signal(signal.SIGHUP)
            reloading, stamp = init.recv(4096).decode().splitlines()
            assert reloading == "RELOADING=1"
            assert int(stamp.removeprefix("MONOTONIC_USEC=")) > 0
            assert init.recv(4096).startswith(b"READY=1\nSTATUS=reloaded")
            served.signal(signal.SIGTERM)
            assert init.recv(4096).startswith(b"STOPPING=1")
            assert served.end() == 0


def test_workers_that_can_not_start_end_it(folder):
    status, said = finish(folder, "serve", "--name", "mail", "--task-modules", "mail,no_such")

    assert status == 1
    assert "ModuleNotFoundError: No module named 'no_such'" in said
    assert said.endswith("localq: queue mail is broken: task module 'no_such' could not be imported in a worker\n")


def test_a_supervisor_that_is_killed_is_replaced(folder):
    with run(folder, "serve", "--name", "mail", "--workers", "1") as served:
        served.wait_until_said("ready")
        os.kill(ask("mail", {"do": "facts"})["supervisor_pid"], signal.SIGKILL)
        with LocalQueue.attach("mail") as client:
            assert client.delay(tasks.same, 1).result(PATIENCE) == 1
        served.signal(signal.SIGTERM)
        assert served.end() == 0


def test_a_name_that_is_taken_is_refused(folder):
    with LocalQueue(workers=1, name="mail"):
        status, said = finish(folder, "serve", "--name", "mail")
    assert (status, said.count("\n")) == (2, 1)
    assert "'mail' is taken" in said


def test_the_environment_gives_what_the_command_line_does_not(folder):
    given = {"LOCALQ_NAME": "mail", "LOCALQ_WORKERS": "5", "LOCALQ_SERVE_WORKERS": "3", "LOCALQ_QUEUES": "a,b"}
    with run(folder, "serve", "--queues", "x,y", **given) as served:
        served.wait_until_said("3 workers")
        assert list(ask("mail", {"do": "facts"})["queued"]) == ["x", "y"]
        served.signal(signal.SIGTERM)
        assert served.end() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--name'"),
        (("--name", "a b"), "name must be"),
        (("--name", "a", "--workers", "0"), "--workers"),
        (("--name", "a", "--workers", "many"), "--workers"),
        (("--name", "a", "--memory", "lots"), "memory must be"),
        (("--name", "a", "--task-modules", "a b"), "task_modules must be"),
        (("--name", "a", "--result-ttl", "soon"), "--result-ttl"),
        (("--name", "a", "--results", "gone"), "--results"),
        (("--name", "a", "--initializer", "nothing"), "module:function"),
        (("--name", "a", "--initializer", "no_such:f"), "no_such"),
        (("--name", "a", "more"), "unexpected"),
    ],
)
def test_wrong_usage_is_told_and_nothing_starts(arguments, said, runtime):
    result = CliRunner().invoke(command, ["serve", *arguments])

    assert result.exit_code == 2
    assert said in result.output
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("verb", ["serve", "worker", "ls", "list"])
def test_the_help_has_examples_and_exit_statuses(verb):
    result = CliRunner().invoke(command, [verb, "--help"])

    assert result.exit_code == 0, result.output
    assert f"  localq {verb}" in result.output
    assert "Exit status: 0" in result.output


def test_each_argument_of_a_queue_is_an_option_or_means_nothing_here():
    options = {name for name, _, _ in _OPTIONS} | {"name"}
    assert set(QueueConfig.__slots__) - options == {"start_method", "initargs"}
    assert options <= set(QueueConfig.__slots__)


# --- worker ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_come_with_the_command_and_go_with_it(folder, number):
    with (
        LocalQueue(workers=1, name="mail") as queue,
        run(folder, "worker", "--attach", "mail", "--workers", "2") as more,
    ):
        more.wait_until_said("2 workers added to queue mail, which has 3 now")
        assert queue._space.workers == 3
        more.signal(number)

        assert more.end() == 0
        assert "2 workers taken away" in more.said
        eventually(lambda: queue._space.workers == 1)


def test_it_says_that_the_queue_has_ended(folder):
    queue = LocalQueue(workers=1, name="mail")
    with run(folder, "worker", "--attach", "mail") as more:
        more.wait_until_said("1 worker added")
        queue.close()

        assert more.end() == 1
        assert "the queue ended" in more.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--attach", "nowhere"), "no queue named 'nowhere'"),
        (("--attach", "a/b"), "letters, digits"),
        (("--attach", "mail", "--workers", "900"), "room for"),
        (("--attach", "mail", "--workers", "0"), "--workers"),
        ((), "Missing option '--attach'"),
    ],
)
def test_a_worker_that_can_not_be_had_is_refused(folder, arguments, said):
    with LocalQueue(workers=1, name="mail"):
        status, told = finish(folder, "worker", *arguments)
    assert status == 2
    assert said in told
