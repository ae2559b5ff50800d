# SPDX-License-Identifier: MIT
"""`localq metrics`: once, and over HTTP."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner, Result

from localq import LocalQueue
from localq.cli import localq as command
from localq.errors import ConfigError
from localq.monitor.exposition import parse_address
from tests.support import tasks
from tests.support.prometheus import Family, parse
from tests.support.queues import PATIENCE
from tests.support.scripts import ROOT, WATCHDOG
from tests.support.waiting import eventually


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(command, ["metrics", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def page(*arguments: str) -> dict[str, Family]:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return parse(result.stdout)


@contextmanager
def server(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program, and its address. Killed at the end, if it did not end before."""
    with subprocess.Popen(
        [sys.executable, "-m", "localq", "metrics", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            found = re.search(r"http://\S+/metrics", said)
            assert found, said + process.stderr.read()
            yield process, found[0]
        finally:
            process.kill()


def ask(url: str) -> dict[str, Family]:
    with urlopen(url, timeout=WATCHDOG) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return parse(answer.read().decode())


# --- once -----------------------------------------------------------------------------------------------------------


def test_what_was_run_is_told():
    with LocalQueue(workers=1, name="one", queues=("default", "mail")) as q:
        for n in range(5):
            q.delay(tasks.same, n).result(PATIENCE)
        assert q.delay(tasks.fail).exception(PATIENCE)
        found = eventually(
            lambda: p if (p := page("one"))["localq_finished_tasks_total"].of(state="failed") == 1 else None
        )

    labels = {"queue": "one", "function": "tests.support.tasks.same"}
    assert found["localq_finished_tasks_total"].of(queue="one", state="succeeded") == 5
    assert found["localq_function_tasks_total"].of(**labels, state="succeeded") == 5
    assert found["localq_run_seconds"].of("_count", queue="one") == 6
    assert found["localq_function_run_seconds"].of("_count", **labels) == 5
    assert found["localq_queued_tasks"].of(queue="one", ring="mail", priority="low") == 0
    assert found["localq_workers_wanted"].of(queue="one") == 1
    assert found["localq_info"].of(queue="one", pid=str(os.getpid())) == 1


def test_without_a_name_all_queues_are_told():
    with LocalQueue(workers=1, name="one"), LocalQueue(workers=1, name="two"):
        found = page()

    assert found["localq_up"].of(queue="one") == found["localq_up"].of(queue="two") == 1


def test_without_any_queue_nothing_is_told():
    result = run()

    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no queue named 'nowhere' is running"),
        (["--listen", "x"], "--listen wants [HOST:]PORT"),
        (["--listen", "no.such.host.invalid:0"], "can't find host"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_status(arguments, says):
    result = run(*arguments)

    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_is_no_name_is_a_wrong_call():
    result = run("../x")

    assert result.exit_code == 2
    assert "a queue's name has letters" in result.stderr


def test_a_port_that_is_taken_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--listen", str(port))

    assert result.exit_code == 1
    assert f"can't listen at 127.0.0.1 port {port}: Address already in use" in result.stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:80", ("::1", 80)),
        ("name:0", ("name", 0)),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "1.5", "-1", "70000", "::1:80", "a:b", "1:", "\u0661"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ConfigError):
        parse_address(text)


# --- over HTTP ------------------------------------------------------------------------------------------------------


def test_a_server_tells_of_queues_as_they_come_and_go():
    with server("--listen", "0") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert ask(url) == {}
        with LocalQueue(workers=1, name="one") as q:
            assert ask(url)["localq_finished_tasks_total"].of(queue="one", state="succeeded") == 0
            q.delay(tasks.same, 1).result(PATIENCE)
            eventually(lambda: ask(url)["localq_finished_tasks_total"].of(queue="one", state="succeeded") == 1)
        assert ask(url) == {}
        with LocalQueue(workers=1, name="one"):
            assert ask(url)["localq_finished_tasks_total"].of(queue="one", state="succeeded") == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(WATCHDOG) == 0


def test_a_queue_that_was_named_is_not_up_while_it_is_not_there():
    one, two = LocalQueue(workers=1, name="one"), LocalQueue(workers=1, name="two")
    with one, two, server("one", "--listen", "127.0.0.1:0") as (_, url):
        assert ask(url)["localq_up"].of(queue="one") == 1
        one.close()
        found = ask(url)

    assert set(found) == {"localq_up"}
    assert found["localq_up"].of() == 0


def test_ctrl_c_ends_it_well_and_silently():
    with server("--listen", "0") as (process, url):
        ask(url)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=WATCHDOG)

    assert (process.returncode, errors.strip()) == (0, "")


def test_only_metrics_are_served():
    with server("--listen", "0") as (_, url):
        with pytest.raises(HTTPError) as refused:
            urlopen(url.removesuffix("metrics"), timeout=WATCHDOG)
        assert refused.value.code == 404
        assert b"/metrics" in refused.value.read()
        refused.value.close()
        with pytest.raises(HTTPError) as posted:
            urlopen(Request(url, data=b"x"), timeout=WATCHDOG)
        assert posted.value.code == 501
        posted.value.close()
        with urlopen(Request(url, method="HEAD"), timeout=WATCHDOG) as answer:
            assert answer.read() == b""
        assert ask(f"{url}?x=1") == {}


def test_somebody_who_says_nothing_or_nonsense_keeps_nobody_waiting():
    with server("--listen", "0") as (process, url):
        port = int(url.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as other:
            other.sendall(b"\x00\xff\r\n\r\n")
            assert ask(url) == {}
        process.send_signal(signal.SIGTERM)
        assert process.wait(WATCHDOG) == 0
