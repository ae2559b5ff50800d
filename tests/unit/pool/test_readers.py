# SPDX-License-Identifier: MIT
"""What those who only look are given: memory that can't be written."""

from __future__ import annotations

import mmap
import os
import select
import socket
import threading

import pytest

from localq import AttachError, LocalQueue
from localq._native import Space, decode_value, encode_value
from localq.pool import visitors
from localq.pool.attach import NoAnswer, listener_at, reach
from tests.support import tasks
from tests.support.queues import PATIENCE


def test_a_reader_can_not_map_the_memory_for_writing(q):
    q.delay(tasks.same, 1).result(PATIENCE)
    reached = reach(q.name, as_client=False, timeout=PATIENCE)
    try:
        assert reached.space.slots() == q._space.slots()
        for fd in reached.space.fds:
            with pytest.raises(PermissionError):
                mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.pwrite(fd, b"x", 0)
            mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ).close()
    finally:
        reached.let_go()


def test_a_client_can(q):
    with LocalQueue.attach(q.name) as client:
        mmap.mmap(client._space.fds[0], 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).close()


def test_without_proc_a_reader_is_refused_and_nothing_is_left_open(monkeypatch):
    def refuse(path: str, flags: int) -> int:
        raise FileNotFoundError(2, "No such file or directory", path)

    space = Space.create(capacity=10, result_cache_size=2, queues=1, cpus=1, memory=1 << 20, ttl_ms=0, identity=1)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with select.epoll() as poll, here:
        door = visitors.Visitors(space, -1, poll, 1, dict, lambda label: None, lambda *_: None)
        visitor = visitors._Visitor(there._sock if hasattr(there, "_sock") else there, os.getpid())
        door._by_fd[there.fileno()] = visitor
        poll.register(there.fileno(), select.EPOLLIN)
        monkeypatch.setattr(os, "open", refuse)
        here.send(visitors.READER)

        assert door.handle(there.fileno())

        answer, fds, _, _ = socket.recv_fds(here, 4096, 2)
        assert fds == []
        assert "for reading only" in decode_value(answer)["refused"]


def test_who_listens_is_known_without_an_answer(tmp_path):
    path = str(tmp_path / "mute.sock")
    assert listener_at(path) is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        assert listener_at(path) == os.getpid()
    assert listener_at(path) is None


def test_no_answer_is_told_from_other_reasons(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "mute.sock"))
        listener.listen()
        with pytest.raises(NoAnswer, match="does not answer within"):
            reach("mute", as_client=False, timeout=0.05)
    with pytest.raises(AttachError) as caught:
        reach("mute", as_client=False, timeout=0.05)
    assert not isinstance(caught.value, NoAnswer)


@pytest.mark.parametrize("said", [b"", None])
def test_who_is_hung_up_on_asks_again(tmp_path, monkeypatch, said):
    """A supervisor that is killed with the question in its hands; the next one hears those who ask again."""
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "lost.sock"))
        listener.listen()

        def lose_two_and_answer() -> None:
            for _ in range(2):
                visitor, _address = listener.accept()
                if said is not None:
                    visitor.recv(100)
                visitor.close()
            visitor, _address = listener.accept()
            with visitor:
                assert visitor.recv(100) == visitors.READER
                told = encode_value({"refused": "this is the third"})
                assert told is not None
                visitor.send(told)

        thread = threading.Thread(target=lose_two_and_answer)
        thread.start()
        with pytest.raises(AttachError, match="this is the third"):
            reach("lost", as_client=False, timeout=PATIENCE)
        thread.join()
