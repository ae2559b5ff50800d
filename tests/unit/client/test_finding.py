# SPDX-License-Identifier: MIT
"""Which queue a task id is of."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from localq import AttachError, ConfigError, LocalQueue
from localq._native import ROLE_CLIENT
from localq.addresses import address_of
from localq.client.finding import find_queue, is_task_id
from localq.pool.processes import is_stopped
from tests.support import tasks
from tests.support.queues import id_of, supervisor_of
from tests.support.waiting import eventually


def test_each_id_is_found_in_its_queue_and_nobody_became_a_client():
    with LocalQueue(workers=1, name="one") as one, LocalQueue(workers=1, name="two") as two:
        ids = {queue.name: id_of(queue.delay(tasks.noop)) for queue in (one, two)}

        assert {name: find_queue(task_id) for name, task_id in ids.items()} == {"one": "one", "two": "two"}
        assert find_queue(ids["one"], among=["two", "one"]) == "one"
        for queue in (one, two):
            assert [row["pid"] for row in queue._space.rows() if row["role"] == ROLE_CLIENT] == [os.getpid()]


def test_an_id_of_none_of_them_says_who_was_asked():
    with LocalQueue(workers=1, name="one"):
        with pytest.raises(AttachError, match="gave the task id 01234567-0-1: one did not"):
            find_queue("01234567-0-1")
        with pytest.raises(AttachError, match="no queue named 'two' is running"):
            find_queue("01234567-0-1", among=["two"])
    with pytest.raises(AttachError, match="none is running"):
        find_queue("01234567-0-1")


def test_one_that_does_not_answer_is_said_to_be_able_to_have_given_it():
    with LocalQueue(workers=1, name="awake") as awake, LocalQueue(workers=1, name="asleep") as asleep:
        ids = {queue.name: id_of(queue.delay(tasks.noop)) for queue in (awake, asleep)}
        supervisor = supervisor_of(asleep)
        os.kill(supervisor, signal.SIGSTOP)
        try:
            eventually(lambda: is_stopped(supervisor), what="the supervisor is stopped")

            assert find_queue(ids["awake"], timeout=2.0) == "awake"
            with pytest.raises(AttachError, match="asleep did not answer within"):
                find_queue(ids["asleep"], timeout=2.0)
        finally:
            os.kill(supervisor, signal.SIGCONT)


def test_what_is_no_queue_is_passed_over(tmp_path: Path):
    with LocalQueue(workers=1, name="one") as one:
        stale = address_of("stale")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(stale)
        try:
            assert find_queue(id_of(one.delay(tasks.noop))) == "one"
        finally:
            os.unlink(stale)


@pytest.mark.parametrize("text", ["", "one", "2a0bcfee", "2a0bcfee-1", "2A0BCFEE-1-1", "2a0bcfee-1-", "2a0bcfe-1-1"])
def test_what_is_not_written_as_ids_are_is_refused(text: str):
    assert not is_task_id(text)
    with pytest.raises(ConfigError, match="is no task id"):
        find_queue(text)
