# SPDX-License-Identifier: MIT
"""What all commands share: help, statuses, completion, whatever the surroundings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from localq import LocalQueue
from localq.cli import localq as program
from tests.support.commands import execute
from tests.support.scripts import ROOT, WATCHDOG

VERBS = program.list_commands(click.Context(program))
HEAVY = ("rich", "msgspec", "numpy", "asyncio", "psutil", "cloudpickle", "localq._native")


def complete(folder: Path, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    line = " ".join(("localq", *words))
    done = execute(folder, COMP_WORDS=line, COMP_CWORD=str(len(words)), _LOCALQ_COMPLETE="bash_complete")
    assert done.returncode == 0, done.stderr
    return [line.partition(",")[2] for line in done.stdout.split()]


def test_the_help_has_a_line_for_each_verb_and_imports_none(tmp_path):
    done = execute(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert [verb for verb in VERBS if f"\n  {verb} " not in done.stdout] == []

    probe = f"""
import sys
from localq.cli import localq
try:
    localq(["--help"])
except SystemExit:
    pass
print([name for name in {HEAVY} if name in sys.modules], [name for name in sys.modules if "localq.cli." in name])
"""
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines()[-1] == "[] []", done.stdout + done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_examples_and_exit_statuses_in_its_help(verb):
    command = program.get_command(click.Context(program), verb)
    assert command is not None

    text = command.get_help(click.Context(command, info_name=verb, parent=click.Context(program, info_name="localq")))

    assert "Examples:" in text
    assert "Exit status" in text
    assert f"localq {verb}" in text
    assert [line for line in text.splitlines() if len(line) > 100] == []


def test_a_misspelled_verb_is_put_right(tmp_path):
    done = execute(tmp_path, "sumbit")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "localq: there is no command 'sumbit'; did you mean 'submit'?\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(tmp_path, shell):
    done = execute(tmp_path, "completion", shell, PATH="")

    assert (done.returncode, done.stderr) == (0, "")
    assert "_LOCALQ_COMPLETE" in done.stdout
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=done.stdout, text=True, check=True, timeout=WATCHDOG)


def test_verbs_options_and_queues_are_completed(tmp_path):
    with LocalQueue(workers=1, name="lq-one"), LocalQueue(workers=1, name="lq-two"):
        assert complete(tmp_path, "su") == ["submit"]
        assert complete(tmp_path, "map", "--unord") == ["--unordered"]
        assert complete(tmp_path, "submit", "lq-") == ["lq-one", "lq-two"]
        assert complete(tmp_path, "status", "lq-t") == ["lq-two"]
        assert complete(tmp_path, "map", "--attach", "lq-t") == ["lq-two"]
        assert complete(tmp_path, "cancel", "--queue", "") == ["lq-one", "lq-two"]


def test_tasks_of_a_queue_are_completed(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lq_tasks.py").write_text("from localq import task\n@task(name='lq-send')\ndef send(): 'Send it.'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with LocalQueue(workers=1, name="service", task_modules=("lq_tasks",)) as queue:
        assert queue.delay(len, "abc").result(WATCHDOG) == 3

        assert complete(tmp_path, "submit", "service", "lq-s") == ["lq-send"]
    assert complete(tmp_path, "submit", "nosuch", "lq-s") == []


def test_who_reads_no_more_ends_it_quietly(tmp_path):
    for verb in ("--help", "map --help"):
        done = subprocess.run(
            f"'{sys.executable}' -m localq {verb} | true",
            shell=True,
            capture_output=True,
            text=True,
            timeout=WATCHDOG,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert (done.stdout, done.stderr) == ("", "")


def test_names_that_no_locale_has_are_no_trouble(tmp_path):
    done = execute(tmp_path, "status", "\u00fc\u00df", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")

    assert done.returncode == 2
    assert "a queue's name has letters" in done.stderr


def test_an_option_may_come_from_the_environment(tmp_path):
    with LocalQueue(workers=1, name="service"):
        done = execute(tmp_path, "submit", "service", "operator:neg", "3", LOCALQ_SUBMIT_WAIT="1")

    assert (done.returncode, done.stdout) == (0, "-3\n")


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "--timeout"),
        ("list", "--timeout"),
        ("doctor", "--timeout"),
        ("metrics", "--timeout"),
        ("trace", "nobody", "--timeout"),
        ("trace", "nobody", "--seconds"),
        ("top", "--once", "--interval"),
        ("submit", "nobody", "math:sqrt", "--wait-timeout"),
    ],
    ids=" ".join,
)
def test_what_is_no_number_of_seconds_is_a_wrong_call(tmp_path, words):
    done = execute(tmp_path, *words, "nan")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'nan' is not a number of seconds" in done.stderr
