# SPDX-License-Identifier: MIT
"""The socket of a queue: who is let in, who is sent away, and that nothing said there harms the queue."""

from __future__ import annotations

import os
import random
import resource
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from localq import AttachError, ConfigError, LocalQueue
from localq.addresses import address_of, queue_names, runtime_dir
from localq.pool.attach import reach
from localq.pool.visitors import CLIENT, MOST_WAITING, READER
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, read, supervisor_of, wait_until_staffed
from tests.support.waiting import eventually

OTHER_UID = 65534  # nobody


def call(name: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address_of(name))  # may have to wait until others have been let in
    connection.settimeout(PATIENCE)
    return connection


def test_an_attached_client_submits_maps_reads_by_id_and_cancels(q, gate):
    with LocalQueue.attach(q.name) as client:
        assert client.delay(tasks.same, [1, (2, "x")]).result(PATIENCE) == [1, (2, "x")]
        assert list(client.map(lambda number: number * 2, range(100))) == [number * 2 for number in range(100)]
        mine = q.delay(tasks.same, "by the owner")
        assert mine.result(PATIENCE) == "by the owner"
        assert read(client, mine.task_id).value == "by the owner"
        theirs = client.delay(tasks.same, "by the client")
        theirs.result(PATIENCE)
        assert read(q, theirs.task_id).value == "by the client"

        held = [q.delay(tasks.slow, gate.path) for _ in range(2)]
        gate.wait_for_arrivals(2)
        queued = q.delay(tasks.noop)
        assert client.cancel(queued.task_id)
        assert not client.cancel(queued.task_id)
        gate.open()
        assert [future.result(PATIENCE) for future in held] == [None, None]
        eventually(queued.cancelled)
        assert (client.name, client.config.workers) == (q.name, q.config.workers)
    audit(q)


def test_leaving_ends_nothing_but_the_clients_own_access(q):
    client = LocalQueue.attach(q.name)
    future = client.delay(tasks.same, 1)
    client.close()
    client.close()

    assert future.result() == 1
    with pytest.raises(RuntimeError, match="closed"):
        client.delay(tasks.noop)
    assert q.delay(tasks.same, 2).result(PATIENCE) == 2
    assert len([row for row in q._space.rows() if row["role"] == 1]) == 1


def test_a_thousand_come_and_go_and_leave_nothing(q):
    wait_until_staffed(q)
    descriptors = len(os.listdir(f"/proc/{supervisor_of(q)}/fd"))
    for number in range(1000):
        with LocalQueue.attach(q.name) as client:
            if number % 100 == 0:
                assert client.delay(tasks.same, number).result(PATIENCE) == number

    eventually(lambda: len(os.listdir(f"/proc/{supervisor_of(q)}/fd")) <= descriptors)  # less: those of a late start
    audit(q)


def test_the_roster_that_is_full_refuses_and_has_room_again(q):
    clients: list[LocalQueue] = []

    def attach_many() -> None:
        while len(clients) < 300:
            clients.append(LocalQueue.attach(q.name))

    with pytest.raises(AttachError, match="all 243 places for clients are taken"):
        attach_many()
    for client in clients:
        client.close()

    with LocalQueue.attach(q.name) as client:
        assert client.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_reader_gets_a_space_that_it_can_read_but_no_row(q):
    reached = reach(q.name, as_client=False, timeout=PATIENCE)
    try:
        assert not reached.space.writable
        assert reached.space.slots().keys() == q._space.slots().keys()
        assert reached.told["label"] == 0
    finally:
        reached.let_go()


# ---- names and sockets


def test_only_one_running_queue_has_a_name():
    with LocalQueue(workers=1, name="taken") as queue:
        with pytest.raises(ConfigError, match="taken"):
            LocalQueue(workers=1, name="taken")
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
    with LocalQueue(workers=1, name="taken"):
        pass


def test_queues_without_a_given_name_get_different_ones_and_are_all_reachable():
    with LocalQueue(workers=1) as one, LocalQueue(workers=1) as two:
        assert one.name != two.name
        for queue in (one, two):
            with LocalQueue.attach(queue.name) as client:
                assert client.delay(tasks.same, queue.name).result(PATIENCE) == queue.name


def test_what_is_not_there_is_named_with_what_is(q):
    with pytest.raises(AttachError, match=f"no queue named 'nowhere'.*{q.name}"):
        LocalQueue.attach("nowhere")
    for name in ("", "../x", "a/b", None, 5):
        with pytest.raises(ConfigError):
            LocalQueue.attach(name)  # type: ignore[arg-type]


def test_the_folder_is_private_and_a_socket_is_gone_with_its_queue():
    with LocalQueue(workers=1) as queue:
        assert stat.S_IMODE(os.stat(runtime_dir()).st_mode) == 0o700
        assert queue.name in queue_names()
    assert queue.name not in queue_names()


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(shared))

    with pytest.raises(ConfigError, match="LOCALQ_RUNTIME_DIR"):
        LocalQueue(workers=1, name="named")
    with LocalQueue(workers=1) as queue:  # a queue that nobody asked to be reachable runs all the same
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert os.listdir(shared) == []


def test_a_path_that_is_too_long_for_a_socket_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(tmp_path / ("x" * 100)))

    with pytest.raises(ConfigError, match="shorter"):
        LocalQueue(workers=1, name="named")
    with pytest.raises(AttachError, match="shorter"):
        LocalQueue.attach("named")


def test_what_is_no_socket_is_not_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    Path(address_of("mine")).write_text("somebody's notes")

    with pytest.raises((ConfigError, AttachError)):
        LocalQueue(workers=1, name="mine")
    assert Path(address_of("mine")).read_text() == "somebody's notes"


# ---- other users


def as_other_user(act: Callable[[], object]) -> str:
    """What `act` returned or raised, done by a process of another user, where this one may become one."""
    if os.geteuid() != 0:
        pytest.skip("only the superuser can act as somebody else")
    hear, tell = os.pipe()
    if os.fork() == 0:
        try:
            os.setgroups([])
            os.setresgid(OTHER_UID, OTHER_UID, OTHER_UID)
            os.setresuid(OTHER_UID, OTHER_UID, OTHER_UID)
            said = str(act())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    with open(hear, encoding="utf-8") as pipe:
        said = pipe.read()
    os.wait()
    return said


@pytest.fixture
def open_folder(monkeypatch):
    """A runtime folder that another user may enter, so that only who is asked at the socket counts."""
    with tempfile.TemporaryDirectory(prefix="localq-test-") as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("LOCALQ_RUNTIME_DIR", folder)
        yield Path(folder)


def test_another_users_process_can_not_even_reach_the_socket(q):
    path = address_of(q.name)

    assert as_other_user(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(path)).startswith(
        "Permission"
    )


def test_another_users_process_at_the_socket_is_refused_by_the_supervisor(open_folder):
    def ask() -> object:
        connection = call("mine")
        return connection.recvmsg(65536, 1000)

    with LocalQueue(workers=1, name="mine") as queue:
        os.chmod(address_of("mine"), 0o777)
        wait_until_staffed(queue)

        said = as_other_user(ask)

        assert "refused" in said
        assert ", []," in said
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert {row["pid"] for row in queue._space.rows() if row["role"] == 1} == {os.getpid()}


def test_another_user_who_tries_to_attach_is_told_whose_queue_it_is(open_folder):
    with LocalQueue(workers=1, name="mine") as queue:
        os.chmod(address_of("mine"), 0o777)
        wait_until_staffed(queue)

        said = as_other_user(lambda: LocalQueue.attach("mine"))

        assert said.startswith("AttachError")
        assert "belongs to a process of user 0" in said


def test_a_socket_that_another_user_put_there_is_not_talked_to(open_folder):
    os.chmod(open_folder, 0o777)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:

        def serve() -> object:
            server.bind(address_of("theirs"))
            server.listen()
            return "up"

        assert as_other_user(serve) == "up"  # it is our descriptor as well, and stays open

        with pytest.raises(AttachError, match=f"user {OTHER_UID}"):
            LocalQueue.attach("theirs")


# ---- nonsense


def test_nonsense_at_the_socket_is_answered_with_a_refusal_and_changes_nothing():
    chance = random.Random(7)
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        for _ in range(300):
            words = chance.choice([CLIENT[:-1], READER + b"!", b"\0", chance.randbytes(chance.randrange(1, 60000))])
            with call(queue.name) as connection:
                connection.send(words)
                assert b"refused" in connection.recv(65536)
                assert connection.recv(65536) == b""
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert len([row for row in queue._space.rows() if row["role"] == 1]) == 1
        audit(queue)


def test_who_hangs_up_at_any_moment_leaves_nothing():
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        descriptors = len(os.listdir(f"/proc/{supervisor_of(queue)}/fd"))
        for number in range(300):
            connection = call(queue.name)
            if number % 3:
                connection.send(CLIENT if number % 2 else READER)
            connection.close()
        with LocalQueue.attach(queue.name) as client:
            assert client.delay(tasks.same, 1).result(PATIENCE) == 1

        eventually(lambda: len(os.listdir(f"/proc/{supervisor_of(queue)}/fd")) == descriptors)
        eventually(lambda: len([row for row in queue._space.rows() if row["role"] == 1]) == 1)
        audit(queue)


def test_who_says_nothing_is_sent_away_and_keeps_nobody_else_out():
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        silent = [call(queue.name) for _ in range(MOST_WAITING + 20)]
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1

        for connection in silent:  # those beyond the limit at once, the others after a while
            assert b"refused" in (answer := connection.recv(65536)) or answer == b""
            connection.close()
        with LocalQueue.attach(queue.name) as client:
            assert client.delay(tasks.same, 2).result(PATIENCE) == 2


def test_a_supervisor_without_a_descriptor_for_a_visitor_rests_and_lets_him_in_later():
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        supervisor = supervisor_of(queue)
        descriptors = len(os.listdir(f"/proc/{supervisor}/fd"))
        LocalQueue.attach(queue.name).close()  # what it needs for that is loaded then
        eventually(lambda: len(os.listdir(f"/proc/{supervisor}/fd")) == descriptors)
        before = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
        lowest = next(number for number in range(3, 1000) if not os.path.lexists(f"/proc/{supervisor}/fd/{number}"))
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (lowest, before[1]))
        with pytest.raises(AttachError, match="does not answer"):
            LocalQueue.attach(queue.name, timeout=0.5)
        busy = psutil.Process(supervisor).cpu_times()
        with pytest.raises(AttachError, match="does not answer"):
            LocalQueue.attach(queue.name, timeout=0.5)
        assert sum(psutil.Process(supervisor).cpu_times()[:2]) - sum(busy[:2]) < 0.25  # it does not spin
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, before)

        with LocalQueue.attach(queue.name) as client:
            assert client.delay(tasks.same, 1).result(PATIENCE) == 1


@pytest.mark.parametrize("answer", [b"", b"\xc1", b"\x80", b"\x90", b"x" * 5000, b"\x81\xa7refused\xa3why"])
def test_a_server_that_talks_nonsense_is_an_error_and_no_hang(tmp_path, monkeypatch, answer):
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(address_of("odd"))
        server.listen()
        if os.fork() == 0:
            connection, _ = server.accept()
            connection.recv(1000)
            if answer:
                connection.send(answer)
            os._exit(0)

        with pytest.raises(AttachError):
            LocalQueue.attach("odd", timeout=PATIENCE)
        os.wait()


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(address_of("mute"))
        server.listen()

        with pytest.raises(AttachError, match=r"within 0\.1 s"):
            LocalQueue.attach("mute", timeout=0.1)
