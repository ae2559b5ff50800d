# SPDX-License-Identifier: MIT
"""What tasks write reaches the owner: in whole lines, under their names, in order, and with their futures."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import pytest

from localq import ConfigError, LocalQueue, WorkerCrashed
from localq.client.output import MOST_KEPT
from localq.client.screen import Repeats
from localq.pool.output import MOST_BYTES, STDERR, STDOUT
from tests.support import tasks
from tests.support.queues import PATIENCE, id_of, supervisor_of, wait_until_staffed
from tests.support.scripts import run_script, start_script
from tests.support.waiting import Gate, eventually


def speak(*words: object) -> None:
    print(*words)


def speak_twice(word: str) -> None:
    print(word, "out")
    print(word, "err", file=sys.stderr)
    print(word, "out again")


def warn(text: str) -> None:
    warnings.warn(text, stacklevel=1)


def count(lines: int) -> None:
    for number in range(lines):
        print(number)


# ---- with the future


def test_a_future_has_what_its_task_wrote_once_its_result_is_here(q):
    future = q.delay(speak_twice, "a")
    future.result(PATIENCE)

    assert future.logs() == "a out\na err\na out again\n"
    assert future.logs("stdout") == "a out\na out again\n"
    assert future.logs("stderr") == "a err\n"


def test_a_task_that_wrote_nothing_has_empty_logs_before_and_after(q, gate):
    future = q.delay(tasks.slow, gate.path)

    assert future.logs() == ""
    gate.open()
    future.result(PATIENCE)
    assert future.logs() == ""


def test_lines_are_there_while_the_task_still_runs(q, gate):
    def announce(path: str) -> None:
        print("about to wait")
        tasks.slow(path)

    future = q.delay(announce, gate.path)

    eventually(lambda: future.logs() == "about to wait\n")
    assert not future.done()


def test_each_of_many_tasks_at_once_has_its_own_lines_in_order(q):
    futures = [q.delay(count, lines) for lines in range(60)]

    for lines, future in enumerate(futures):
        future.result(PATIENCE)
        assert future.logs() == "".join(f"{number}\n" for number in range(lines))


def test_a_line_without_an_end_ends_with_its_task(q):
    future = q.delay(sys.modules["builtins"].print, "half", end="")
    future.result(PATIENCE)

    assert future.logs() == "half\n"


@pytest.mark.parametrize("length", [MOST_BYTES - 1, MOST_BYTES, 5 * MOST_BYTES + 17])
def test_a_long_line_stays_one_line(q, length):
    future = q.delay(speak, "x" * length)
    future.result(PATIENCE)

    assert future.logs() == "x" * length + "\n"


def test_bytes_and_text_that_utf8_cannot_write_are_shown_as_well_as_they_can(q):
    def write() -> None:
        sys.stdout.buffer.write(b"\xff\xfe\n")
        print("\ud800")

    future = q.delay(write)
    future.result(PATIENCE)

    assert future.logs() == "\ufffd\ufffd\n\\ud800\n"


def test_only_the_last_lines_of_a_flood_are_kept_and_that_is_said(q):
    line = "y" * 1023
    future = q.delay(lambda: [print(line) for _ in range(MOST_KEPT // 512)] and None)
    future.result(PATIENCE)

    first, *kept = future.logs().splitlines()
    assert first == f"... {MOST_KEPT // 512 - len(kept)} lines left out ..."
    assert set(kept) == {line}
    assert MOST_KEPT - 2048 < len(kept) * 1024 <= MOST_KEPT


def test_a_stream_that_is_not_one_is_refused(q):
    with pytest.raises(ConfigError, match="stdout"):
        q.delay(tasks.noop).logs("out")


def test_what_was_written_before_a_worker_was_killed_is_there(q):
    def die() -> None:
        print("last words")
        tasks.kill_self()

    future = q.delay(die)

    assert isinstance(future.exception(PATIENCE), WorkerCrashed)
    assert future.logs() == "last words\n"


def test_the_logs_of_a_task_that_ran_twice_have_both_runs(q):
    def fail() -> None:
        print("trying")
        raise OSError

    future = q.options(max_retries=1).delay(fail)

    assert isinstance(future.exception(PATIENCE), OSError)
    assert future.logs() == "trying\ntrying\n"


def test_logging_arrives_as_it_would_be_shown_here(q):
    def log() -> None:
        import logging

        logging.getLogger("of.a.library").warning("look out")
        logging.getLogger("of.a.library").info("nothing")

    future = q.delay(log)
    future.result(PATIENCE)

    assert future.logs("stderr") == "look out\n"


def test_a_task_that_closes_its_stdout_silences_nobody(lone):
    lone.delay(lambda: sys.stdout.close()).result(PATIENCE)
    future = lone.delay(speak, "still here")
    future.result(PATIENCE)

    assert future.logs() == "still here\n"


def test_a_task_that_closes_all_descriptors_loses_its_lines_and_nothing_else(tmp_path):
    path = str(tmp_path / "file")

    def close_and_open() -> str:
        os.closerange(3, 200)
        handles = [os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(60)]  # one of them takes the socket's number
        print("into nowhere")
        for handle in handles:
            os.close(handle)
        return Path(path).read_text()

    with LocalQueue(workers=1, max_tasks_per_child=1) as queue:
        assert queue.delay(close_and_open).result(PATIENCE) == ""
        future = queue.delay(speak, "the next worker is fine")
        future.result(PATIENCE)
        assert future.logs() == "the next worker is fine\n"


def test_a_thread_that_outlives_its_task_writes_under_the_name_of_the_worker(lone, capsys, tmp_path):
    path = str(tmp_path / "go")

    def leave_a_thread() -> None:
        def wait() -> None:
            print("early")
            while not os.path.exists(path):
                pass
            print("late")

        threading.Thread(target=wait, daemon=True).start()
        while b"early" not in seen:
            seen.append(b"early")

    seen: list[bytes] = []
    first = lone.delay(leave_a_thread)
    first.result(PATIENCE)
    Path(path).touch()
    shown = []

    def has_come() -> bool:
        shown.append(capsys.readouterr().out)
        return "late" in "".join(shown)

    eventually(has_come)
    assert f"worker {first.worker_pid} | late\n" in "".join(shown)
    assert "late" not in first.logs()


# ---- on the screen


def test_lines_are_shown_under_the_name_of_their_function_before_the_result_is_returned(q, capsys):
    q.delay(speak_twice, "b").result(PATIENCE)

    shown = capsys.readouterr()
    assert shown.out == "speak_twice | b out\nspeak_twice | b out again\n"
    assert shown.err == "speak_twice | b err\n"


def test_lines_of_the_items_of_a_map_are_whole(q, capsys):
    list(q.map(speak, range(500)))

    assert sorted(capsys.readouterr().out.splitlines()) == sorted(f"speak | {number}" for number in range(500))


@pytest.mark.parametrize(("output", "shown"), [("plain", "c\n"), ("off", ""), ("prefix", "speak | c\n")])
def test_how_lines_are_shown_can_be_chosen(output, shown, capsys):
    with LocalQueue(workers=1, output=output) as queue:
        future = queue.delay(speak, "c")
        future.result(PATIENCE)
        assert future.logs() == "c\n"

    assert capsys.readouterr().out == shown


def test_with_inherit_workers_write_where_the_client_does_and_nothing_is_kept(tmp_path):
    said = run_script(
        tmp_path,
        """
        from localq import LocalQueue

        with LocalQueue(workers=1, output="inherit") as q:
            future = q.delay(print, "from a task")
            future.result()
            assert future.logs() == ""
        """,
    )

    assert said == "from a task\n"


def test_a_name_that_output_does_not_know_is_refused():
    with pytest.raises(ConfigError, match="output must be 'prefix' or 'plain'"):
        LocalQueue(output="loud")


def test_the_same_warning_from_several_workers_is_shown_once_and_kept_by_each_task(capsys):
    with LocalQueue(workers=2, max_tasks_per_child=1) as queue:
        futures = [queue.delay(warn, "careful") for _ in range(4)]
        for future in futures:
            future.result(PATIENCE)

    assert capsys.readouterr().err.count("UserWarning: careful") == 1
    assert ["UserWarning: careful" in future.logs() for future in futures] == [True] * 4


def test_the_initializer_writes_under_the_name_of_the_worker(capsys):
    with LocalQueue(workers=1, initializer=speak, initargs=("ready",)) as queue:
        (pid,) = wait_until_staffed(queue)

    assert capsys.readouterr().out == f"worker {pid} | ready\n"


def test_lines_appear_while_nobody_waits(q, capsys):
    q.delay(speak, "unasked")

    eventually(lambda: capsys.readouterr().out == "speak | unasked\n")


def test_lines_of_a_queue_whose_supervisor_was_replaced_arrive_too(capsys):
    with LocalQueue(workers=1) as queue:
        queue.delay(tasks.noop).result(PATIENCE)
        first = supervisor_of(queue)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: supervisor_of(queue) != first)
        future = queue.delay(speak, "after")
        future.result(PATIENCE)

    assert future.logs() == "after\n"


def test_what_attached_clients_submit_is_shown_by_the_owner(capsys):
    with LocalQueue(workers=1, name="owned") as queue, LocalQueue.attach("owned") as guest:
        future = guest.delay(speak, "a guest's")
        future.result(PATIENCE)
        assert future.logs() == ""
        eventually(lambda: capsys.readouterr().out == "speak | a guest's\n")
        assert queue.get_status(id_of(future)) is not None


def test_a_configured_client_sees_its_tasks_log_as_it_logs_itself(tmp_path):
    with start_script(
        tmp_path,
        """
        import logging
        from localq import LocalQueue

        logging.basicConfig(level=logging.INFO, format="{levelname}/{name}: {message}", style="{")
        logging.getLogger("quiet").setLevel(logging.ERROR)

        def work():
            logging.getLogger("mine").info("progress")
            logging.getLogger("quiet").warning("never shown")
            logging.getLogger("mine").debug("nor this")

        with LocalQueue(workers=1) as q:
            q.delay(work).result()
        """,
    ) as process:
        _, said = process.communicate(timeout=PATIENCE)

    assert said == "work | INFO/mine: progress\n"


@pytest.mark.parametrize("method", ["clean", "fork"])
def test_handlers_that_a_fork_inherits_write_to_the_owner_as_well(tmp_path, method):
    with start_script(
        tmp_path,
        f"""
        import logging
        from localq import LocalQueue

        logging.basicConfig()

        def work():
            logging.getLogger().warning("once")

        with LocalQueue(workers=1, start_method="{method}") as q:
            future = q.delay(work)
            future.result()
            assert future.logs() == "WARNING:root:once\\n", future.logs()
        """,
    ) as process:
        _, said = process.communicate(timeout=PATIENCE)

    assert said == "work | WARNING:root:once\n"


def test_a_client_whose_stdout_cannot_write_a_character_shows_its_number(tmp_path):
    said = run_script(
        tmp_path,
        """
        import sys
        sys.stdout.reconfigure(encoding="ascii")
        from localq import LocalQueue

        with LocalQueue(workers=1) as q:
            q.delay(print, "\\u20ac").result()
        """,
    )

    assert said == "print | \\u20ac\n"


def test_a_stopped_client_holds_up_no_task_for_long_and_says_how_many_lines_were_lost(tmp_path):
    with Gate(tmp_path) as gate:
        process = start_script(
            tmp_path,
            f"""
            import os, signal, sys
            sys.path.insert(0, {str(Path(__file__).parents[3])!r})
            from localq import LocalQueue

            def flood(path):
                with open(path + ".began", "w"):
                    pass
                while open(f"/proc/{{client}}/stat").read().rpartition(")")[2].split()[0] != "T":
                    pass
                for number in range(5000):
                    print("line", number)
                with open(path + ".done", "w"):
                    pass

            client = os.getpid()
            with LocalQueue(workers=1) as q:
                future = q.delay(flood, sys.argv[1])
                future.result()
                print("kept", future.logs().count("line"))
            """,
            gate.path,
        )
        with process:
            eventually(lambda: os.path.exists(gate.path + ".began"))
            os.kill(process.pid, signal.SIGSTOP)
            eventually(lambda: os.path.exists(gate.path + ".done"), within=20)
            os.kill(process.pid, signal.SIGCONT)
            out, err = process.communicate(timeout=PATIENCE)

    kept = int(out.splitlines()[-1].split()[1])
    assert out.count("flood | line") == kept
    assert f"{5000 - kept} lines of tasks were lost" in err


# ---- repetitions, as notebooks show them


def test_lines_that_repeat_are_counted_instead_of_shown():
    repeats = Repeats()

    shown = [line for line in ["a", "b", "a", "a", "b", "c"] if repeats.is_new(STDOUT, line)]

    assert shown == ["a", "b", "c"]
    assert list(repeats.told()) == [(STDOUT, "a ... repeated 2 times\n"), (STDOUT, "b ... repeated 1 time\n")]
    assert not repeats.has_any
    assert repeats.is_new(STDOUT, "a")


def test_the_same_line_on_another_stream_is_another_line():
    repeats = Repeats()

    assert repeats.is_new(STDOUT, "a")
    assert repeats.is_new(STDERR, "a")


# ---- a stdout that is blocked


def test_results_arrive_while_stdout_is_blocked_and_no_line_is_lost_once_it_is_read(tmp_path):
    with start_script(
        tmp_path,
        """
        import sys
        from localq import LocalQueue

        def chatty(number):
            for line in range(3000):
                print(number, line, "x" * 40)

        with LocalQueue(workers=2) as q:
            futures = [q.delay(chatty, number) for number in range(4)]
            while not all(future.done() for future in futures):
                q._client.wait_any(1.0)
            print([future.logs().count("x\\n") for future in futures], file=sys.stderr, flush=True)
        """,
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "[3000, 3000, 3000, 3000]\n"  # nothing was read from its stdout so far
        lines = process.stdout.read().splitlines()
        assert process.stderr.read() == ""

    assert len(lines) == 12000
    for number in range(4):
        own = [int(line.split()[3]) for line in lines if line.startswith(f"chatty | {number} ")]
        assert own == list(range(3000))


def test_a_hurried_end_with_a_blocked_stdout_says_what_was_not_shown(tmp_path):
    with start_script(
        tmp_path,
        """
        import os, sys
        from localq import LocalQueue

        def chatty():
            for line in range(5000):
                print(line, "x" * 40)

        q = LocalQueue(workers=1)
        future = q.delay(chatty)
        while not future.done():
            q._client.wait_any(1.0)
        q.close(timeout=0.1)
        sys.stderr.flush()
        os._exit(0)
        """,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()

    assert "lines of tasks were not shown: this process's stdout was blocked" in said
