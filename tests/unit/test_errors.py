# SPDX-License-Identifier: MIT
"""Errors carry facts, say them in a sentence, and survive pickling."""

from __future__ import annotations

import concurrent.futures
import copy
import pickle
import queue
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from localq import errors
from localq.errors import (
    ConfigError,
    FunctionNotFound,
    InitializerFailed,
    LayoutMismatch,
    LocalqError,
    QueueClosed,
    QueueFull,
    RemoteTraceback,
    ResultGone,
    SerializationError,
    SpaceCorrupt,
    SpaceError,
    SupervisorLost,
    TaskCancelled,
    TaskError,
    TaskFailed,
    TaskTimeout,
    WorkerCrashed,
    WorkersEnded,
)
from tests.support.scripts import run_script

ALL = [
    LocalqError("something"),
    ConfigError("workers must be 1 or more; got 0"),
    QueueFull(64, 2.5),
    QueueFull(64),
    QueueClosed(),
    QueueClosed("this process is a fork"),
    FunctionNotFound("a.b:c", "no module 'a'"),
    SupervisorLost(12, -9),
    InitializerFailed("Traceback ...\nValueError: x\n"),
    TaskError("no", task_id="t", attempts=1),
    TaskFailed("some.Error", "it broke", "Traceback ...", task_id="t", attempts=2),
    TaskTimeout(1.5, task_id="t", attempts=1),
    TaskCancelled(task_id="t", attempts=0),
    WorkerCrashed(44, exit_signal=11, task_id="t", attempts=1),
    WorkerCrashed(44, exit_status=3),
    WorkersEnded(task_id="t", attempts=1),
    SerializationError("argument 'x'", "['a'][2].lock", "_thread.lock", "cannot pickle"),
    ResultGone("evicted", task_id="t", attempts=1),
    SpaceError("no"),
    LayoutMismatch(1, 2),
    SpaceCorrupt("roster", "row 3 names state 99"),
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy], ids=["pickle", "copy"])
def test_every_error_survives_copying_with_its_facts_and_notes(error: LocalqError, copied) -> None:
    error.add_note("a note")

    twin = copied(error)

    assert type(twin) is type(error)
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))
    assert twin.__notes__ == error.__notes__


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "RemoteTraceback"])
def test_every_error_is_a_localq_error_that_lives_in_the_errors_module(name: str) -> None:
    kind = getattr(errors, name)

    assert issubclass(kind, LocalqError)
    assert (kind.__module__, kind.__qualname__) == ("localq.errors", name)
    assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        (ConfigError, ValueError),
        (QueueFull, queue.Full),
        (QueueClosed, RuntimeError),
        (FunctionNotFound, LookupError),
        (TaskTimeout, TimeoutError),
        (TaskCancelled, concurrent.futures.CancelledError),
        (SerializationError, TypeError),
        (TaskFailed, TaskError),
        (WorkerCrashed, TaskError),
        (WorkerCrashed, BrokenProcessPool),
        (WorkersEnded, BrokenProcessPool),
        (InitializerFailed, BrokenProcessPool),
        (SupervisorLost, BrokenProcessPool),
        (ResultGone, TaskError),
        (LayoutMismatch, SpaceError),
        (SpaceCorrupt, SpaceError),
    ],
)
def test_an_error_is_also_what_the_standard_library_raises(kind: type, standard: type) -> None:
    assert issubclass(kind, standard)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WorkerCrashed(44, exit_signal=signal.SIGSEGV), ["44", "SIGSEGV", "faulthandler", "max_crashes"]),
        (WorkerCrashed(44, exit_signal=signal.SIGKILL), ["SIGKILL", "out-of-memory"]),
        (WorkerCrashed(44, exit_signal=signal.SIGTERM), ["SIGTERM"]),
        (WorkerCrashed(44, exit_signal=40), ["signal 40"]),
        (WorkerCrashed(44, exit_status=3), ["exit status 3", "os._exit"]),
        (WorkerCrashed(44), ["with its supervisor"]),
        (WorkerCrashed(44, exit_signal=9, out_of_memory=True, peak_memory=3 << 20), ["control group", "3 MiB"]),
        (WorkerCrashed(44, exit_signal=11, function="m.f", stack='File "m.py"'), ["ran m.f", "SIGSEGV", 'File "m.py"']),
        (QueueFull(64, 2.5), ["64", "2.5 s"]),
        (TaskTimeout(1.5, task_id="t-1"), ["t-1", "1.5 s"]),
        (SupervisorLost(7, -9), ["7", "SIGKILL"]),
        (SerializationError("result", "[3]", "lock", "why"), ["result at [3]", "lock", "why"]),
        (InitializerFailed("Traceback\nValueError: x"), ["ValueError: x"]),
    ],
)
def test_the_sentence_names_the_facts(error: LocalqError, words: list[str]) -> None:
    assert [word for word in words if word not in str(error)] == []


def test_a_remote_traceback_is_its_text() -> None:
    assert str(RemoteTraceback("Traceback: here")) == "Traceback: here"


def test_a_task_error_keeps_task_and_attempts() -> None:
    error = WorkerCrashed(44, 11, task_id="t", attempts=3)

    assert (error.task_id, error.attempts, error.pid, error.exit_signal, error.exit_status) == ("t", 3, 44, 11, None)


def test_an_unknown_name_of_the_module_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = errors.Nonsense


def test_the_module_loads_no_futures_until_one_is_asked_for() -> None:
    code = (
        "import sys; import localq.errors as e; assert 'concurrent.futures' not in sys.modules;"
        "from localq.errors import TaskCancelled; assert TaskCancelled is e.TaskCancelled"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"], check=True)


def test_a_queue_that_breaks_no_worker_loads_nothing_of_multiprocessing(tmp_path: Path) -> None:
    shown = run_script(
        tmp_path,
        """
        import os, sys
        from localq import LocalQueue
        with LocalQueue(workers=1) as q:
            assert q.delay(pow, 2, 3).result() == 8
            print("multiprocessing" in sys.modules)
            print(type(q.delay(os._exit, 3).exception()).__bases__[1].__module__)
        """,
    )

    assert shown.split() == ["False", "concurrent.futures.process"]


def test_a_pool_error_made_while_the_interpreter_ends_is_what_it_is(tmp_path: Path) -> None:
    shown = run_script(
        tmp_path,
        """
        import os
        from localq import LocalQueue
        q = LocalQueue(workers=1)
        q.delay(os._exit, 3).add_done_callback(lambda future: print(repr(future.exception())))
        """,
    )

    assert "ended with exit status 3" in shown
