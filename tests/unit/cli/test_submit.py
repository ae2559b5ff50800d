# SPDX-License-Identifier: MIT
"""`localq submit` and `localq cancel`: tasks of a running queue, from another process."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localq import LocalQueue, Priority, TaskStatus, current_task, task
from tests.support import tasks
from tests.support.commands import execute, start
from tests.support.queues import PATIENCE, read
from tests.support.scripts import WATCHDOG
from tests.support.waiting import Gate, eventually


@pytest.fixture
def queue() -> Iterator[LocalQueue]:
    with LocalQueue(workers=1, name="service", queues=("default", "mail")) as made:
        yield made


def submit(folder: Path, *arguments: str, status: int = 0, stdin: str = "") -> tuple[str, str]:
    done = execute(folder, "submit", "service", *arguments, stdin=stdin)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def value(folder: Path, *arguments: str, stdin: str = "") -> object:
    """What the task returned."""
    return json.loads(submit(folder, "--wait", *arguments, stdin=stdin)[0])


# --- submitting -----------------------------------------------------------------------------------------------------


def test_a_task_lives_on_when_the_command_has_ended_and_its_result_is_kept(queue, tmp_path):
    with Gate(tmp_path) as gate:
        out, err = submit(tmp_path, "tests.support.tasks:slow", gate.path, "value")
        task_id = out.strip()
        gate.wait_for_arrivals(1)
        (later,) = submit(tmp_path, "tests.support.tasks:same", "1")[0].split()

        assert err == ""
        assert [queue.get_status(each) for each in (task_id, later)] == [TaskStatus.STARTED, TaskStatus.PENDING]
        gate.open()

        eventually(lambda: queue.get_status(later) is TaskStatus.SUCCESS)
    assert (read(queue, task_id).value, read(queue, later).value) == ("value", 1)


def test_a_queue_that_is_being_closed_takes_no_task_and_that_is_not_said_of_a_task_that_failed(queue, tmp_path):
    with Gate(tmp_path) as gate:
        task_id = submit(tmp_path, "tests.support.tasks:slow", gate.path)[0].strip()
        gate.wait_for_arrivals(1)
        queue.close(wait=False)

        out, err = submit(tmp_path, "math:sqrt", "4", status=2)

        assert (out, err.count("\n")) == ("", 1)
        assert "takes no more calls" in err
        gate.open()
        eventually(lambda: queue.get_status(task_id) is not TaskStatus.STARTED)


def test_the_function_need_not_be_importable_where_it_is_submitted(tmp_path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "lq_theirs.py").write_text("def add(left, right=1):\n    return left + right\n")
    monkeypatch.syspath_prepend(str(folder))

    with LocalQueue(workers=1, name="service"):
        assert value(tmp_path, "lq_theirs:add", "1", "--kw", "right=2") == 3


def test_a_function_that_the_workers_cannot_find_is_the_failure_of_the_task(queue, tmp_path):
    out, err = submit(tmp_path, "nosuch:f", "--wait", status=1)

    assert out == ""
    assert "FunctionNotFound: function 'nosuch:f' cannot be found: no module 'nosuch'" in err
    assert "Traceback" not in err  # of localq's own code


def test_arguments_are_json_where_they_can_be_and_text_otherwise(queue, tmp_path):
    arguments = ["1", "anna", '"2"', "[1, null]", "007", "--kw", "big=true", "--kw", "name=x=y"]
    told = [[1, "anna", "2", [1, None], "007"], {"big": True, "name": "x=y"}]

    assert value(tmp_path, "tests.support.tasks:echo", *arguments) == told
    assert value(tmp_path, "tests.support.tasks:echo", "--text", "1", "--kw", "a=2") == [["1"], {"a": "2"}]


def test_arguments_may_come_all_at_once(queue, tmp_path):
    given = ["--json-args", "-", "--json-kwargs", '{"a": 1}', "--kw", "b=2"]
    assert value(tmp_path, "tests.support.tasks:echo", *given, stdin='[1, "x"]\n') == [[1, "x"], {"a": 1, "b": 2}]


def test_what_begins_with_a_dash_comes_after_two_of_them(queue, tmp_path):
    assert value(tmp_path, "tests.support.tasks:add", "--", "-3", "-4") == -7


def test_options_go_with_the_task(queue, tmp_path):
    with Gate(tmp_path) as gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        record = str(tmp_path / "record")
        for priority in ("low", "critical", "normal"):
            submit(tmp_path, "tests.support.tasks:record", record, priority, "--priority", priority, "--queue", "mail")
        late = submit(tmp_path, "tests.support.tasks:noop", "--countdown", "1000")[0].strip()
        missed = submit(tmp_path, "tests.support.tasks:noop", "--ttl", "0.001")[0].strip()
        gate.open()
        eventually(lambda: Path(record).exists() and Path(record).read_text().split() == ["critical", "normal", "low"])

        assert queue.get_status(late) is TaskStatus.PENDING
        eventually(lambda: queue.get_status(missed) is TaskStatus.FAILURE)
        assert queue.cancel(late)


def test_a_registered_task_goes_by_its_name(queue, tmp_path):
    assert queue.delay(_register).result(PATIENCE) is None

    assert value(tmp_path, "lq-registered", "2") == [2, 2]


def _register() -> None:
    @task(name="lq-registered", max_retries=2)
    def registered(value: object) -> object:
        here = current_task()
        assert here is not None
        return value, here.attempt + 1


# --- waiting --------------------------------------------------------------------------------------------------------


def test_a_result_is_printed_as_json(queue, tmp_path):
    assert submit(tmp_path, "tests.support.tasks:same", '{"a": [1, null]}', "--wait") == ('{"a":[1,null]}\n', "")


def test_what_json_cannot_carry_is_said_or_shown_by_its_repr(queue, tmp_path):
    _, err = submit(tmp_path, "builtins:complex", "1", "2", "--wait", status=1)
    assert "has succeeded, but the value can't be written as JSON" in err
    assert "--repr" in err

    assert submit(tmp_path, "builtins:complex", "1", "2", "--wait", "--repr")[0] == '"(1+2j)"\n'


def test_an_error_is_told_on_stderr_with_where_it_was_raised(queue, tmp_path):
    out, err = submit(tmp_path, "tests.support.tasks:fail", "no way", "--wait", status=1)

    assert out == ""
    assert err.splitlines()[0].endswith(" failure: Mishap: ('no way', 7)")
    assert "in fail\n" in err


def test_all_that_is_known_comes_as_one_document(queue, tmp_path):
    told = json.loads(submit(tmp_path, "tests.support.tasks:same", "1", "--wait", "--json")[0])
    assert (told["status"], told["value"], told["queue"], told["attempts"]) == ("success", 1, "service", 1)
    assert told["submitted_at"] <= told["started_at"] <= told["finished_at"]

    told = json.loads(submit(tmp_path, "tests.support.tasks:fail", "--wait", "--json", status=1)[0])
    assert told["status"] == "failure"
    assert "in fail" in told["error"]["traceback"]
    assert "value" not in told

    told = json.loads(submit(tmp_path, "tests.support.tasks:noop", "--json")[0])
    assert set(told) == {"task_id", "queue"}


def test_who_waits_no_longer_is_told_and_the_task_goes_on(queue, tmp_path):
    with Gate(tmp_path) as gate:
        _, err = submit(tmp_path, "tests.support.tasks:slow", gate.path, "--wait-timeout", "0.05", status=3)
        task_id = err.split()[2]

        assert "is not done within 0.05 s, and goes on" in err
        assert queue.get_status(task_id) is TaskStatus.STARTED
        gate.open()
        eventually(lambda: queue.get_status(task_id) is TaskStatus.SUCCESS)


@pytest.mark.parametrize("cancels", [False, True])
def test_ctrl_c_while_waiting_leaves_the_task_unless_told_otherwise(queue, tmp_path, cancels):
    with Gate(tmp_path) as gate:
        options = ["--wait", *(["--cancel-on-interrupt"] if cancels else [])]
        process = start(tmp_path, "submit", "service", "tests.support.tasks:slow", gate.path, *options)
        gate.wait_for_arrivals(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WATCHDOG)
        task_id = err.split()[2]

        assert (process.returncode, out) == (130, "")
        assert ("was cancelled" if cancels else "goes on") in err
        gate.open()
        expected = TaskStatus.CANCELLED if cancels else TaskStatus.SUCCESS
        eventually(lambda: queue.get_status(task_id) is expected)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tests.support.tasks:noop", "--kw", "x"], "--kw must be name=value; got 'x'"),
        (["tests.support.tasks:noop", "--kw", "1=2"], "--kw must be name=value"),
        (["tests.support.tasks:noop", "--kw", "a=1", "--json-kwargs", '{"a": 2}'], "'a' is given twice"),
        (["tests.support.tasks:noop", "1", "--json-args", "[]"], "one by one, or all at once"),
        (["tests.support.tasks:noop", "--json-args", "{}"], "--json-args must be a JSON array; got dict"),
        (["tests.support.tasks:noop", "--json-args", "nonsense"], "--json-args must be a JSON array"),
        (["tests.support.tasks:noop", "--json-args", "-", "--json-kwargs", "-"], "only one of"),
        (["tests.support.tasks:noop", "--queue", "nosuch"], "queue must be one of 'default', 'mail'; got 'nosuch'"),
        (["tests.support.tasks:noop", "--max-retries", "99"], "max_retries must be"),
        (["module:"], "FUNCTION must be"),
        (["\udcff:f"], "no task has the name '\\udcff:f'"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_sent(queue, tmp_path, arguments, sentence):
    out, err = submit(tmp_path, *arguments, status=2)

    assert out == ""
    assert sentence in err
    assert queue._space.slots()["queued"] == 0


def test_a_queue_that_does_not_run_is_named_with_those_that_do(queue, tmp_path):
    done = execute(tmp_path, "submit", "nosuch", "json:loads")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "localq: no queue named 'nosuch' is running; there are service\n"


# --- cancelling -----------------------------------------------------------------------------------------------------


def cancel(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return execute(folder, "cancel", *arguments)


def test_a_running_and_a_waiting_task_are_cancelled(queue, tmp_path):
    with Gate(tmp_path) as gate:
        running = queue.delay(tasks.spin, gate.path)
        gate.wait_for_arrivals(1)
        waiting = queue.delay(tasks.noop)

        done = cancel(tmp_path, str(running.task_id), str(waiting.task_id))

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{running.task_id} cancelled\n{waiting.task_id} cancelled\n"
        eventually(lambda: queue.get_status(str(running.task_id)) is TaskStatus.CANCELLED)
        eventually(waiting.cancelled)


def test_each_that_was_not_cancelled_says_why(queue, tmp_path):
    done_one = queue.delay(tasks.same, 1)
    failed = queue.delay(tasks.fail)
    assert done_one.result(PATIENCE) == 1
    assert failed.exception(PATIENCE) is not None
    prefix = str(done_one.task_id).partition("-")[0]
    unknown = f"{prefix}-3f-7"
    late = queue.options(countdown=1000, priority=Priority.LOW).delay(tasks.noop)

    ids = [str(done_one.task_id), str(failed.task_id), unknown, str(late.task_id)]
    done = cancel(tmp_path, *ids)
    assert done.returncode == 1
    assert done.stdout == f"{late.task_id} cancelled\n"
    assert [line.partition("cancelled: ")[2] for line in done.stderr.splitlines()] == [
        "it has succeeded already",
        "it has failed already",
        "it is not known (any more)",
    ]

    told = json.loads(cancel(tmp_path, "--json", *ids[:3]).stdout)
    assert [each["task_id"] for each in told] == ids[:3]
    assert [(each["cancelled"], each["status"]) for each in told] == [
        (False, "success"),
        (False, "failure"),
        (False, None),
    ]


def test_ids_that_no_queue_gave_are_refused(queue, tmp_path):
    done = cancel(tmp_path, "deadbeef-0-1")
    assert done.returncode == 2
    assert "no running queue gave the task id deadbeef-0-1: service did not" in done.stderr

    done = cancel(tmp_path, "nonsense")
    assert done.returncode == 2
    assert "is no task id" in done.stderr
