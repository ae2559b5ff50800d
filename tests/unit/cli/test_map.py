# SPDX-License-Identifier: MIT
"""`localq map`: functions over lines, as processes of their own run them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from localq import LocalQueue
from tests.support.commands import execute, start
from tests.support.scripts import ROOT, WATCHDOG
from tests.support.waiting import Gate, eventually

MODULE = """
    import os, subprocess, time
    from localq import task
    from tests.support.tasks import slow

    calls = 0

    def odd(text):
        if int(text) % 2:
            raise ValueError(f"{text} is odd")
        return int(text)

    def third(text):
        global calls
        calls += 1
        if calls % 3:
            raise OSError(f"call {calls}")
        return calls

    async def third_later(text):
        return third(text)

    @task(max_retries=2)
    def patient(text):
        return third(text)

    @task(max_retries=2, retry_on=KeyError)
    def choosy(text):
        return third(text)

    def loud(text):
        print("printed", text)
        subprocess.run(["echo", "echoed", text])
        return text

    def die_of_3(text):
        if text == "3":
            os.kill(os.getpid(), 9)
        return text

    def wait(text):
        if text != "0":
            slow(text)
        return text

    def add(left, right):
        return left + right
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
    (tmp_path / "untidy.py").write_text("def f(:")
    return tmp_path


def run(folder: Path, *arguments: str, stdin: str = "", status: int = 0, **environment: str) -> tuple[str, str]:
    """What it printed on stdout and stderr."""
    done = execute(folder, "map", *arguments, stdin=stdin, **{"LOCALQ_WORKERS": "2", **environment})
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def numbers(until: int) -> str:
    return "".join(f"{number}\n" for number in range(1, until + 1))


# --- items and values -----------------------------------------------------------------------------------------------


def test_lines_become_texts_and_values_lines_of_json_in_their_order(here):
    out, err = run(here, "mine:odd", stdin="2\n4\n10")

    assert out == "2\n4\n10\n"
    assert err.startswith("3 items, ")
    assert err.count("\n") == 1


def test_a_hundred_thousand_lines_come_back_in_order(here):
    out, err = run(here, "-e", "int(line) + 1", stdin=numbers(100_000))

    assert out == "".join(f"{number}\n" for number in range(2, 100_002))
    assert err.startswith("100,000 items, ")


def test_unordered_results_are_all_there_and_know_their_items(here):
    out, _ = run(here, "-e", "int(line) * 2", "--unordered", "--input-in-output", stdin=numbers(5000))

    told = [json.loads(line) for line in out.splitlines()]
    assert sorted(int(each["item"]) for each in told) == list(range(1, 5001))
    assert all(each["value"] == 2 * int(each["item"]) for each in told)


def test_items_may_be_arguments_of_the_command(here):
    assert run(here, "-e", "line.upper()", "a b", "c", "-q") == ('"A B"\n"C"\n', "")


def test_items_may_come_from_files_one_after_the_other(here):
    (here / "one").write_text("1\n2")
    (here / "two").write_text("3\n")

    assert (
        run(here, "-e", "line", "-a", "one", "-a", "-", "-a", "two", "-q", stdin="in\n")[0] == '"1"\n"2"\n"in"\n"3"\n'
    )


def test_items_may_end_with_null_bytes(here):
    assert run(here, "-0", "-e", "line", "-q", stdin="a\0b\nc\0")[0] == '"a"\n"b\\nc"\n'


def test_items_may_be_json(here):
    out, _ = run(here, "--json", "-e", "[line, type(line).__name__]", stdin='1\n\n{"a": null}\n"x"\n')

    assert [json.loads(line) for line in out.splitlines()] == [[1, "int"], [{"a": None}, "dict"], ["x", "str"]]


def test_items_may_be_arrays_of_arguments(here):
    assert run(here, "--star", "mine:add", "-q", stdin='[1, 2]\n["a", "b"]\n')[0] == '3\n"ab"\n'


def test_only_the_first_items_are_taken_where_that_is_asked_for(here):
    assert run(here, "-e", "line", "--limit", "2", "-q", stdin=numbers(9))[0] == '"1"\n"2"\n'
    assert run(here, "-e", "line", "--limit", "0", "-q", stdin=numbers(9))[0] == ""


def test_no_items_are_no_failure(here):
    out, err = run(here, "mine:odd", stdin="")

    assert (out, err.startswith("0 items, ")) == ("", True)


def test_text_comes_out_as_it_is(here):
    assert run(here, "-e", "[line, line.encode(), 7][len(line)]", "--output", "text", "", "a", "bb")[0] == "\na\n7\n"


def test_bytes_that_are_no_utf_8_come_back_as_they_were(here):
    out, _ = run(here, "-e", "line", "--output", "text", stdin="caf\udce9\nd\u00e9j\u00e0\n")
    assert out == "caf\udce9\nd\u00e9j\u00e0\n"

    out, _ = run(here, "-e", "line", stdin="caf\udce9\nd\u00e9j\u00e0\n", LC_ALL="C", PYTHONUTF8="0")
    assert [json.loads(line) for line in out.splitlines()] == ["caf\udce9", "d\u00e9j\u00e0"]


def test_what_json_has_no_word_for_fails_or_is_shown_by_its_repr(here):
    out, err = run(here, "-e", "{'o': object, 'n': 10 ** 30, 's': {line}}", "x", status=1)
    assert out == ""
    assert err.startswith("item 1 ('x'): TypeError: the value can't be written as JSON: ")

    out, _ = run(here, "-e", "{'o': object, 'n': 10 ** 30, 's': {line}}", "x", "--repr")
    assert json.loads(out)["o"] == "<class 'object'>"
    assert json.loads(out)["n"] == 10**30


def test_modules_are_imported_for_an_expression_as_an_import_statement_says(here):
    assert run(here, "-m", "os.path as p", "-m", "zlib", "-e", "[p.basename(line), zlib.crc32(b'')]", "/a/b", "-q") == (
        '["b",0]\n',
        "",
    )


# --- failures -------------------------------------------------------------------------------------------------------


def test_failures_are_told_by_number_and_item_and_the_others_go_on(here):
    out, err = run(here, "mine:odd", stdin=numbers(5), status=1)

    assert out == "2\n4\n"
    first, *_, last = err.splitlines()
    assert first == "item 1 ('1'): ValueError: 1 is odd"
    assert err.count("item ") == 3
    assert last.startswith("5 items, 3 failed, ")


def test_numbers_of_failed_items_are_right_in_large_chunks_and_out_of_order(here):
    code = "1 // (int(line) % 1000)"
    for order in ([], ["--unordered"]):
        _, err = run(here, "-e", code, *order, stdin=numbers(20_000), status=1)

        told = [line for line in err.splitlines() if line.startswith("item ")]
        expected = [
            f"item {n} ('{n}'): ZeroDivisionError: integer division or modulo by zero"
            for n in range(1000, 20_001, 1000)
        ]
        assert sorted(told) == sorted(expected)


def test_a_line_that_is_no_json_is_a_failed_item(here):
    out, err = run(here, "--json", "-e", "line", "--input-in-output", stdin="1\n{bad\nNaN\n3\n", status=1)

    first, told, *_ = [json.loads(line) for line in out.splitlines()]
    assert first == {"item": 1, "value": 1}
    assert told["item"] == "{bad"
    assert told["error"].startswith("JSONDecodeError: ")
    assert "item 3 ('NaN'): ValueError: NaN is no JSON" in err


def test_the_first_failure_ends_it_where_that_is_asked_for(here):
    out, err = run(here, "mine:odd", "--fail-fast", "--chunksize", "1", "2", "4", "5", *["6"] * 100, status=1)

    assert out == "2\n4\n"
    assert err.splitlines()[0] == "item 3 ('5'): ValueError: 5 is odd"
    assert err.splitlines()[1].startswith("3 items, 1 failed, ")


def test_a_traceback_is_shown_where_that_is_asked_for(here):
    assert "in odd\n" in run(here, "mine:odd", "1", "--traceback", status=1)[1]


def test_an_item_that_kills_its_worker_fails_alone(here):
    out, err = run(here, "mine:die_of_3", stdin=numbers(5), status=1)

    assert out == '"1"\n"2"\n"4"\n"5"\n'
    assert err.startswith("item 3 ('3'): WorkerCrashed: worker ")
    assert "mine.die_of_3" in err


def test_an_item_that_takes_too_long_fails_alone(here, tmp_path):
    with Gate(tmp_path) as gate:
        out, err = run(here, "mine:wait", "0", gate.path, "0", "--timeout", "0.3", status=1)

    assert out == '"0"\n"0"\n'
    assert ": TaskTimeout: " in err


@pytest.mark.parametrize("function", ["mine:third", "mine:third_later", "mine:patient"])
def test_failed_items_are_tried_again(here, function):
    options = [] if function == "mine:patient" else ["--retries", "2"]

    assert run(here, function, *options, "a", "b", "-q", LOCALQ_WORKERS="1") == ("3\n6\n", "")


def test_the_environment_says_how_often_failed_items_are_tried_again(here):
    options: dict[str, Any] = {"LOCALQ_WORKERS": "1", "LOCALQ_MAX_RETRIES": "2", "LOCALQ_SERIALIZATION": "json"}

    assert run(here, "mine:third", "a", "b", "-q", **options) == ("3\n6\n", "")


def test_a_task_says_itself_what_is_worth_another_try(here):
    assert run(here, "mine:choosy", "a", "-q", status=1)[1] == "item 1 ('a'): OSError: call 1\n"


def test_what_the_function_prints_never_gets_between_the_results(here):
    out, err = run(here, "mine:loud", "a", "b")

    assert out == '"a"\n"b"\n'
    assert "loud | printed a\n" in err
    assert "echoed b\n" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nosuch:f", "1"], "no module 'nosuch' in sys.path ["),
        (["mine:nosuch", "1"], "mine.py) has no 'nosuch'"),
        (["mine:calls", "1"], "'calls' in module 'mine' is no function, but 0"),
        (["leaves:f", "1"], "the module of leaves:f can't be imported: SystemExit"),
        (["untidy:f", "1"], "the module of untidy:f can't be imported: SyntaxError"),
        (["broken:f", "1"], "the module of broken:f can't be imported: ZeroDivisionError"),
        (["mine", "1"], "must be module:function; got 'mine'"),
        ([], "a FUNCTION is needed"),
        (["-e", "1 +"], "the expression is no Python expression"),
        (["-e", "line) + (line"], "the expression is no Python expression"),
        (["-e", "1", "-m", "nosuch"], "a --module can't be imported: ModuleNotFoundError"),
        (["mine:odd", "-m", "os"], "--module is for an --expression"),
        (["-e", "line", "--star"], "--star needs a function"),
        (["mine:odd", "-a", "gone"], "'gone' can't be read"),
        (["mine:odd", "-a", "mine.py", "1"], "items are arguments, or come from --arg-file"),
        (["mine:odd", "--attach", "nosuch", "1"], "no queue named 'nosuch' is running"),
        (["mine:odd", "--attach", "x", "--workers", "1"], "--workers is for a queue of its own"),
        (["mine:odd", "--workers", "0", "1"], "workers must be 1 or more"),
        (["mine:odd", "--timeout", "-1", "1"], "timeout must be"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(here, arguments, sentence):
    out, err = run(here, *arguments, status=2)

    assert out == ""
    assert sentence in err


# --- where the output goes, and for how long ------------------------------------------------------------------------


def test_endless_input_ends_with_whoever_reads_the_output(here):
    done = subprocess.run(
        f"yes | '{sys.executable}' -m localq map -e 'line' --workers 2 | head -n 1; echo ${{PIPESTATUS[1]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=WATCHDOG,
    )

    assert (done.stdout, done.stderr) == ('"y"\n141\n', "")


def test_results_are_there_while_more_input_is_still_to_come(here):
    process = start(here, "map", "-e", "int(line)", "--workers", "2")
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(3):
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{number}\n"

    out, err = process.communicate(timeout=WATCHDOG)

    assert (process.returncode, out) == (0, "")
    assert err.startswith("3 items, ")


def test_input_that_comes_while_a_worker_is_busy_goes_to_another_one(here, tmp_path):
    with Gate(tmp_path) as gate:
        process = start(here, "map", "mine:wait", "--unordered", "--workers", "2")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{gate.path}\n")
        process.stdin.flush()
        gate.wait_for_arrivals(1)
        process.stdin.write("0\n")
        process.stdin.flush()

        assert process.stdout.readline() == '"0"\n'

        gate.open()
        out, _ = process.communicate(timeout=WATCHDOG)
    assert json.loads(out) == gate.path
    assert process.returncode == 0


def test_memory_is_bounded_with_endless_input(here):
    """Nobody reads the output, so neither the input nor the results may pile up."""
    with subprocess.Popen(["yes", "x" * 100], stdout=subprocess.PIPE) as endless:
        process = subprocess.Popen(
            [sys.executable, "-m", "localq", "map", "-e", "line", "--workers", "2"],
            stdin=endless.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            process_group=0,
        )
        assert process.stdout is not None
        for _ in range(2000):  # 100 MB of lines
            assert len(process.stdout.read(50_000)) == 50_000
        most = _peak(process.pid)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(WATCHDOG) == 130
        process.stdout.close()
        endless.kill()
    assert most < 150 << 20


def _peak(pid: int) -> int:
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def test_ctrl_c_ends_it_at_once_and_leaves_nobody(here, tmp_path):
    with Gate(tmp_path) as gate:
        process = start(here, "map", "mine:wait", gate.path, gate.path, "--workers", "2")
        workers = gate.wait_for_arrivals(2)

        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=WATCHDOG)

    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), what="the workers have ended")


def test_without_stdin_it_refuses_before_anything_is_started(here):
    done = subprocess.run(
        f"'{sys.executable}' -m localq map -e line <&-",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=WATCHDOG,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "stdin is closed" in done.stderr


def test_without_a_place_for_results_it_refuses(here):
    done = subprocess.run(
        f"'{sys.executable}' -m localq map -e line a >&-",
        shell=True,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=WATCHDOG,
    )

    assert done.returncode == 2
    assert "stdout is closed" in done.stderr


def test_without_stderr_the_results_come_all_the_same(here):
    done = subprocess.run(
        f"'{sys.executable}' -m localq map mine:loud a 2>&-",
        shell=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=WATCHDOG,
    )

    assert (done.returncode, done.stdout) == (0, '"a"\n')


def test_a_bar_is_drawn_on_a_terminal_while_the_results_go_elsewhere(here):
    terminal, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "localq", "map", "mine:odd", *map(str, range(20))],
            stdout=subprocess.PIPE,
            stderr=theirs,
            stdin=subprocess.DEVNULL,
            cwd=here,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "80"},
        ) as process:
            os.close(theirs)
            shown = _read_all(terminal)
            assert process.stdout is not None
            out = process.stdout.read()
    finally:
        os.close(terminal)

    assert process.returncode == 1
    assert out.split() == [str(number).encode() for number in range(0, 20, 2)]
    assert "20/20" in shown
    assert "10 failed" in shown
    assert "item 2 ('1'): ValueError: 1 is odd" in shown
    assert "20 items, 10 failed, " in shown


def _read_all(fd: int) -> str:
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:  # the other end was closed
            piece = b""
        if not piece:
            return b"".join(pieces).decode()
        pieces.append(piece)


# --- in a queue that runs -------------------------------------------------------------------------------------------


def test_the_workers_of_a_running_queue_can_be_used(here, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(here))
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    with LocalQueue(workers=1, name="service") as queue:
        done = execute(elsewhere, "map", "mine:odd", "--attach", "service", "2", "3")
        assert (done.returncode, done.stdout) == (1, "2\n")
        assert done.stderr.startswith("item 2 ('3'): ValueError: 3 is odd\n")

        done = execute(elsewhere, "map", "nosuch:f", "--attach", "service", "2", "3")
        assert done.returncode == 2
        assert "no module 'nosuch'" in done.stderr

        assert queue.delay(len, "abc").result(WATCHDOG) == 3


def test_a_queue_that_only_has_json_is_refused(here):
    with LocalQueue(workers=1, name="service", serialization="json"):
        done = execute(here, "map", "mine:odd", "--attach", "service", "2")

    assert (done.returncode, done.stdout) == (2, "")
    assert "lines can't travel as bytes" in done.stderr


def test_one_that_is_killed_leaves_the_running_queue_well(here, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(here))
    with LocalQueue(workers=1, name="service") as queue, Gate(tmp_path) as gate:
        process = start(here, "map", "mine:wait", "--attach", "service", gate.path)
        gate.wait_for_arrivals(1)
        process.kill()
        process.communicate()
        gate.open()

        assert queue.delay(len, "abc").result(WATCHDOG) == 3
