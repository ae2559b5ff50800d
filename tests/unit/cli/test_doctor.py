# SPDX-License-Identifier: MIT
"""What `localq doctor` says of queues that are well, busy, stopped, stale, foreign and damaged."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from localq import LocalQueue
from localq.cli import localq as command
from localq.pool.processes import is_stopped
from tests.support import tasks
from tests.support.damage import ARGS_BLOCK, VERSION, WORD, memory_of, overwritten, slot_overwritten
from tests.support.queues import PATIENCE, is_gone, supervisor_of, wait_until_staffed
from tests.support.scripts import ROOT, WATCHDOG, start_script
from tests.support.waiting import eventually


def run(*arguments: str) -> Result:
    """In this process, as click runs it."""
    result = CliRunner().invoke(command, ["doctor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def examine(*arguments: str) -> tuple[dict[str, dict[str, Any]], int]:
    """The queues by name, as --json has them, and the exit status."""
    result = run("--json", *arguments)
    told = json.loads(result.stdout)
    assert told["healthy"] == (result.exit_code == 0)
    return {queue["name"]: queue for queue in told["queues"]}, result.exit_code


def codes(queue: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in queue["findings"]}


def execute(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As users run it."""
    return subprocess.run(
        [sys.executable, "-m", "localq", *arguments],
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def leave_stale(folder: Path, name: str) -> Path:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / f"{name}.sock"))
        listener.listen()
    return folder / f"{name}.sock"


@contextmanager
def listening(folder: Path, name: str, kind: int = socket.SOCK_SEQPACKET) -> Iterator[socket.socket]:
    path = folder / f"{name}.sock"
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener
    path.unlink()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: is_stopped(pid), what=f"process {pid} is stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# --- nothing, and what is well --------------------------------------------------------------------------------------


def test_without_any_queue_all_is_well(runtime):
    result = run()

    assert result.exit_code == 0
    assert "No queue" in result.output
    assert str(runtime) in result.output
    assert examine() == ({}, 0)


def test_a_folder_that_was_never_made_is_not_made(runtime):
    runtime.rmdir()

    assert run().exit_code == 0
    assert not runtime.exists()


def test_an_idle_queue_is_healthy_and_described():
    with LocalQueue(workers=2, name="idle", queues=("default", "mail"), memory="32MB") as queue:
        workers = wait_until_staffed(queue)
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        found, status = examine("idle")
        shown = run("idle").output

    told = found["idle"]
    assert status == 0
    assert (told["state"], told["healthy"], told["findings"]) == ("running", True, [])
    assert told["owner"]["pid"] == os.getpid()
    assert told["owner"]["command"]
    assert told["looks"] == 3
    assert told["seconds"] >= 0.5
    readings = told["readings"]
    assert readings["workers"] == readings["workers_alive"] == len(workers)
    assert readings["clients"] == [os.getpid()]
    assert readings["queued"] == {"default": 0, "mail": 0}
    assert readings["kept"] == 1
    assert "running, healthy" in shown
    assert "2 of 2 workers" in shown


def test_each_document_for_programs_has_the_same_keys(runtime):
    leave_stale(runtime, "stale")
    with LocalQueue(workers=1, name="up"):
        told = json.loads(run("--json").stdout)

    assert set(told) == {"localq", "runtime_dir", "healthy", "queues"}
    keys = {"name", "path", "state", "healthy", "findings", "owner", "readings", "looks", "seconds", "removed"}
    assert [set(queue) for queue in told["queues"]] == [keys, keys]
    finding = told["queues"][0]["findings"][0]
    assert set(finding) == {"severity", "code", "what", "advice", "facts"}


@pytest.mark.slow
def test_a_queue_under_load_is_healthy_every_time(tmp_path):
    busy = """
    import sys
    from localq import LocalQueue
    from tests.support import tasks

    with LocalQueue.attach(sys.argv[1]) as q:
        print("up", flush=True)
        while True:
            many = [q.delay(tasks.same, bytes(n)) for n in range(0, 60_000, 400)]
            large = [q.delay(tasks.same, bytes(n)) for n in range(600_000, 3_000_000, 600_000)]
            doomed = [q.options(max_retries=n % 2).delay(tasks.kill_self) for n in range(2)]
            for future in many[::3]:
                future.cancel()
            for future in many + large + doomed:
                future.cancelled() or future.exception()
            assert list(q.map(tasks.same, range(3000))) == list(range(3000))
    """
    with LocalQueue(workers=2, name="busy", capacity=512, memory="64MB", result_cache_size=64) as queue:
        wait_until_staffed(queue)
        started = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            started.append(start_script(tmp_path / str(number), busy, "busy"))
        try:
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == "up\n"
            for _ in range(5):
                found, status = examine("busy")
                assert {each["code"] for each in found["busy"]["findings"] if each["severity"] == "error"} == set()
                assert status == 0
        finally:
            for process in started:
                process.kill()
                process.communicate()


# --- several, by name -----------------------------------------------------------------------------------------------


def test_all_queues_are_found_and_those_that_were_named_are_not_mixed_with_others(runtime):
    leave_stale(runtime, "old")
    with LocalQueue(workers=1, name="one"), LocalQueue(workers=1, name="two"):
        everything, status = examine()
        named, _ = examine("two", "two", "old")
        shown = run().output

    assert status == 0
    assert {name: queue["state"] for name, queue in everything.items()} == {
        "old": "stale",
        "one": "running",
        "two": "running",
    }
    assert list(named) == ["two", "old"]
    assert "3 queues, none unhealthy" in shown


def test_a_name_that_no_queue_has_is_refused_in_one_line():
    with LocalQueue(workers=1, name="there"):
        done = execute("doctor", "not-there")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("localq: no queue named 'not-there'")
    assert "there are there" in done.stderr


@pytest.mark.parametrize("arguments", [["../etc"], ["--timeout", "0"], ["--timeout", "soon"], ["--tidy"]])
def test_wrong_usage_is_refused(arguments):
    result = run(*arguments)

    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_folder_that_others_may_write_to_is_not_trusted(runtime):
    runtime.chmod(0o777)

    result = run()

    assert result.exit_code == 2
    assert "can't be trusted" in result.stderr


# --- sockets without a queue ----------------------------------------------------------------------------------------


def test_a_stale_socket_is_a_warning_and_removed_only_when_asked_to(runtime):
    path = leave_stale(runtime, "old")
    before, status = examine()
    assert path.exists()
    cleaned, status_of_cleaning = examine("--clean")

    assert (status, status_of_cleaning) == (0, 0)
    assert before["old"]["state"] == "stale"
    assert codes(before["old"]) == {"stale_socket"}
    assert before["old"]["findings"][0]["severity"] == "warning"
    assert cleaned["old"]["removed"] is True
    assert not path.exists()
    assert examine() == ({}, 0)


def test_cleaning_says_what_it_removed_and_leaves_what_lives(runtime):
    leave_stale(runtime, "old")
    (runtime / "file.sock").write_text("mine")
    with LocalQueue(workers=1, name="alive") as queue:
        shown = run("--clean").output
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert (runtime / "alive.sock").exists()

    assert "old  stale, removed" in shown
    assert (runtime / "file.sock").read_text() == "mine"


def test_a_killed_program_is_seen_as_stale(tmp_path, runtime):
    owner = """
    import time
    from localq import LocalQueue
    from tests.support.queues import supervisor_of, wait_until_staffed
    queue = LocalQueue(workers=1, name="killed")
    wait_until_staffed(queue)
    print(supervisor_of(queue), flush=True)
    time.sleep(1000)
    """
    with start_script(tmp_path, owner) as process:
        assert process.stdout is not None
        supervisor = int(process.stdout.readline())
        # The owner is stopped, or it would start another supervisor. (To stop the supervisor instead is no use: the
        # kernel continues the stopped processes of a group when that is orphaned.)
        os.kill(process.pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(process.pid))
        os.kill(supervisor, signal.SIGKILL)
        eventually(lambda: is_gone(supervisor))
        process.kill()
        process.communicate()

    found, _ = examine("--clean")

    assert found["killed"]["state"] == "stale"
    assert found["killed"]["removed"]
    assert list(runtime.iterdir()) == []


def test_what_is_no_socket_is_no_queue_and_no_error(runtime):
    (runtime / "file.sock").write_text("")
    found, status = examine()

    assert status == 0
    assert found["file"]["state"] == "foreign"
    assert codes(found["file"]) == {"not_a_socket"}


def test_a_socket_of_another_kind_can_not_be_read(runtime):
    with listening(runtime, "other", socket.SOCK_STREAM):
        found, status = examine("--clean")

    assert status == 1
    assert found["other"]["state"] == "foreign"
    assert codes(found["other"]) == {"cannot_be_read"}
    assert found["other"]["removed"] is False


def test_who_answers_something_else_is_another_version(runtime):
    def answer(listener: socket.socket) -> None:
        for _ in range(3):  # two of them only look who listens, and hang up
            visitor, _address = listener.accept()
            with visitor:
                if visitor.recv(100):
                    visitor.send(b"\xc1 hello")

    with listening(runtime, "newer") as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        found, status = examine()
        thread.join()

    assert status == 1
    assert codes(found["newer"]) == {"cannot_be_read"}
    assert "another version" in found["newer"]["findings"][0]["what"]


def test_who_never_answers_is_an_error_and_named(runtime):
    with listening(runtime, "mute"):
        found, status = examine("--timeout", "0.2")

    assert status == 1
    assert found["mute"]["state"] == "silent"
    assert codes(found["mute"]) == {"no_answer"}
    assert found["mute"]["owner"]["pid"] == os.getpid()


# --- stopped --------------------------------------------------------------------------------------------------------


def test_a_stopped_supervisor_is_an_error_that_says_how_to_go_on():
    with LocalQueue(workers=1, name="held") as queue:
        wait_until_staffed(queue)
        supervisor = supervisor_of(queue)
        with stopped(supervisor):
            found, status = examine("--timeout", "0.3", "--clean")
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        well, _ = examine("held")

    assert status == 1
    assert found["held"]["state"] == "silent"
    assert codes(found["held"]) == {"supervisor_stopped"}
    (finding,) = found["held"]["findings"]
    assert finding["facts"] == {"pid": supervisor}
    assert f"kill -CONT {supervisor}" in finding["advice"]
    assert well["held"]["healthy"]


def test_a_stopped_worker_is_a_warning_with_its_task(gate):
    with LocalQueue(workers=1, name="paused") as queue:
        future = queue.delay(tasks.slow, gate.path)
        (worker,) = gate.wait_for_arrivals(1)
        with stopped(worker):
            found, status = examine()
        gate.open()
        future.result(PATIENCE)

    assert status == 0
    assert codes(found["paused"]) == {"worker_stopped"}
    assert found["paused"]["findings"][0]["facts"] == {"pid": worker, "task_id": future.task_id}


def test_a_stopped_client_is_a_warning_with_the_results_that_it_has_not_read(tmp_path):
    attached = """
    import time
    from localq import LocalQueue
    from tests.support import tasks
    q = LocalQueue.attach("shared")
    futures = [q.delay(tasks.noop) for _ in range(5)]
    print("up", flush=True)
    time.sleep(1000)
    """
    with LocalQueue(workers=1, name="shared") as queue, start_script(tmp_path, attached) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        with stopped(process.pid):
            eventually(lambda: queue._space.slots()["done"] == 5)
            found, status = examine()
        process.kill()
        process.communicate()

    assert status == 0
    assert codes(found["shared"]) == {"client_stopped"}
    assert found["shared"]["findings"][0]["facts"] == {"pid": process.pid, "unread": 5}
    assert process.pid in found["shared"]["readings"]["clients"]


def test_a_crash_and_a_lost_supervisor_are_history_and_not_an_illness():
    with LocalQueue(workers=1, name="survivor") as queue:
        wait_until_staffed(queue)
        queue.delay(tasks.kill_self).exception(PATIENCE)
        before = supervisor_of(queue)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: supervisor_of(queue) != before)
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        wait_until_staffed(queue)
        found, status = examine()

    assert status == 0
    assert codes(found["survivor"]) == {"supervisor_replaced", "workers_crashed"}


# --- damaged --------------------------------------------------------------------------------------------------------


@contextmanager
def held_queue(gate: Any) -> Iterator[tuple[LocalQueue, Any]]:
    """A queue whose worker is busy, and a task with large arguments behind it."""
    with LocalQueue(workers=1, name="hurt", memory="32MB") as queue:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        future = queue.delay(tasks.same, bytes(5000))
        yield queue, future
        gate.open()
        assert future.result(PATIENCE) == bytes(5000)


@pytest.mark.parametrize(
    ("field", "change", "expected"),
    [
        (WORD, lambda word: word | 15, "damaged"),  # a state that there is not
        (WORD, lambda word: word + (1 << 32), "task_lost"),  # no cell names that generation
        (WORD, lambda word: word & ~(0xFFFFFF << 8) | 0x0050C8 << 8, "leak"),  # the label of nobody who lives
        (ARGS_BLOCK, lambda block: 0, "leak"),  # nobody names the block any more
        (ARGS_BLOCK, lambda block: block + 1, "arguments_lost"),
    ],
)
def test_an_overwritten_word_makes_it_unhealthy(gate, field, change, expected):
    with held_queue(gate) as (queue, future):
        with slot_overwritten(queue, future, field, change):
            found, status = examine("--timeout", "0.5")
            shown = run("--timeout", "0.5")
        well, status_afterwards = examine()

    assert (status, shown.exit_code, status_afterwards) == (1, 1, 0)
    assert found["hurt"]["state"] == "running"
    assert not found["hurt"]["healthy"]
    assert expected in codes(found["hurt"])
    assert "UNHEALTHY" in shown.output
    assert expected in shown.output
    assert codes(well["hurt"]) == set()


@pytest.mark.parametrize(("at", "expected"), [(0, "damaged"), (VERSION, "other_version")])
def test_an_overwritten_header_is_not_even_opened(at, expected):
    with LocalQueue(workers=1, name="hurt") as queue:
        wait_until_staffed(queue)
        with memory_of(queue) as memory, overwritten(memory, at, "<I", lambda number: number + 1):
            found, status = examine()

    assert status == 1
    assert found["hurt"]["state"] == "foreign"
    assert codes(found["hurt"]) == {expected}


def test_a_header_that_is_overwritten_while_it_is_looked_at_is_damaged(gate):
    from localq.monitor.diagnosis import Sizes, diagnose
    from localq.monitor.looks import take_look
    from localq.pool.attach import reach

    with LocalQueue(workers=1, name="hurt") as queue:
        wait_until_staffed(queue)
        reached = reach("hurt", as_client=False, timeout=PATIENCE)
        try:
            with memory_of(queue) as memory, overwritten(memory, 0, "<I", lambda number: number + 1):
                look = take_look(reached.space, pids_are_ours=True)
        finally:
            reached.let_go()

    assert [finding.code for finding in diagnose([look], Sizes(1, 1)) if finding.severity == "error"] == ["damaged"]


# --- how it looks ---------------------------------------------------------------------------------------------------


def on_a_terminal(columns: int, **environment: str) -> str:
    """What it writes to a terminal that wide."""
    import fcntl
    import termios

    here, there = pty.openpty()
    try:
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        done = subprocess.run(
            [sys.executable, "-m", "localq", "doctor"],
            stdin=there,
            stdout=there,
            stderr=there,
            timeout=WATCHDOG,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **environment},
        )
        os.close(there)
        assert done.returncode == 0
        return _all_of(here)
    finally:
        os.close(here)


def _all_of(terminal: int) -> str:
    written = b""
    while True:
        try:
            more = os.read(terminal, 1 << 16)
        except OSError:  # nobody is at the other end
            return written.decode()
        written += more


def test_there_are_colours_on_a_terminal_and_none_with_no_color(runtime):
    leave_stale(runtime, "old")

    assert "\x1b[33mwarning" in on_a_terminal(80)
    assert "\x1b[33m" not in on_a_terminal(80, NO_COLOR="1")


def test_elsewhere_there_are_none_and_each_sentence_is_one_line(runtime):
    leave_stale(runtime, "old")
    done = execute("doctor", TERM="xterm-256color")

    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_a_narrow_terminal_folds_under_the_indentation(runtime):
    leave_stale(runtime, "old")

    lines = on_a_terminal(40, NO_COLOR="1").replace("\x1b[0m", "").splitlines()

    assert max(map(len, lines)) <= 40 + len("\x1b[2m") + len("    ")
    assert all(line.startswith(("  ", "\x1b[2m", "\x1b[1m")) for line in lines)


def test_help_has_examples_and_exit_statuses():
    for arguments in (["--help"], ["doctor", "--help"]):
        done = execute(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "doctor" in done.stdout
    assert "localq doctor --clean" in done.stdout
    assert "Exit status" in done.stdout


def test_a_verb_that_there_is_not_is_refused():
    done = execute("cure")

    assert done.returncode == 2
    assert "cure" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_localq_loads_neither_click_nor_rich():
    probe = "import sys, localq; localq.LocalQueue; print([n for n in ('click', 'rich', 'psutil') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, timeout=WATCHDOG)

    assert done.stdout == "[]\n"
