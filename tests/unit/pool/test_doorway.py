# SPDX-License-Identifier: MIT
"""What is removed from the runtime folder, and what never is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from localq.pool.doorway import open_doorway, remove_stale


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def leave_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()


def test_a_stale_socket_is_removed_once(runtime):
    leave_stale(runtime / "old.sock")

    assert remove_stale(str(runtime / "old.sock")) is True
    assert not (runtime / "old.sock").exists()


def test_what_is_gone_already_counts_as_removed(runtime):
    assert remove_stale(str(runtime / "old.sock")) is True


def test_a_socket_with_a_listener_stays(runtime):
    door = open_doorway("mine", is_given=True)
    assert door is not None
    try:
        assert remove_stale(door.path) is False
        assert os.path.exists(door.path)
    finally:
        door.close()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_socket_stays_and_takes_the_name(runtime, make):
    make(runtime / "mine.sock")

    assert remove_stale(str(runtime / "mine.sock")) is False
    assert os.path.lexists(runtime / "mine.sock")
    door = open_doorway("mine", is_given=False)
    assert door is not None
    assert door.name == "mine.2"
    door.close()


def test_a_new_queue_takes_the_place_of_a_stale_one(runtime):
    leave_stale(runtime / "mine.sock")

    door = open_doorway("mine", is_given=True)

    assert door is not None
    assert door.name == "mine"
    door.close()
