# SPDX-License-Identifier: MIT
"""Reach a running queue by its name: the visitor's half of what `localq.pool.visitors` answers.

Used by clients that attach and by those who only look. What comes back is not trusted before it was verified: the
socket must belong to this user, and the Space must be one.
"""

from __future__ import annotations

import os
import socket
import time
from array import array
from struct import pack, unpack

from localq import _native
from localq._native import Space
from localq.addresses import address_of, queue_names
from localq.errors import AttachError
from localq.pool.visitors import CLIENT, CREDENTIALS, MOST_BYTES, READER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["AGAIN", "HungUp", "NoAnswer", "Reached", "connect", "exchange", "listener_at", "reach", "understand"]

FDS = 2
AGAIN = 0.05  # seconds until somebody who was hung up on asks again; starting another supervisor takes about as long


class NoAnswer(AttachError):
    """Somebody listens at the socket and says nothing: its supervisor was stopped, or is only starting."""


class HungUp(NoAnswer):
    """Its supervisor ended before it answered: the queue is ending, or another one is being started."""


class Reached:
    """A queue that answered: `told` is what it says of itself."""

    __slots__ = ("connection", "space", "told")

    def __init__(self, space: Space, told: dict[str, Any], connection: socket.socket) -> None:
        self.space = space
        self.told = told
        self.connection = connection

    @property
    def listener(self) -> int:
        """The owner's process id, as the kernel has it. Not what it says of itself: pids mean others over there."""
        return _listener_of(self.connection)[0]

    def let_go(self) -> None:
        """Unmap it first: so the supervisor, when it sees the connection end, can see that nobody is left to use it."""
        del self.space
        self.connection.close()


def reach(name: str, as_client: bool, timeout: float) -> Reached:
    """Ask the queue of that name for its memory. `as_client`: to submit; else to look, at memory that can't be written.

    Raises:
        AttachError: there is no such queue, it is another user's, or it refuses.
        NoAnswer: it does not answer within `timeout` seconds.
        LayoutMismatch, SpaceCorrupt: it runs another version of localq, or what came is no Space.
    """
    until = time.monotonic() + timeout
    while True:
        try:
            return _reach(name, as_client, timeout)
        except HungUp:
            if time.monotonic() + AGAIN > until:
                raise
            time.sleep(AGAIN)


def _reach(name: str, as_client: bool, timeout: float) -> Reached:
    connection = connect(name, timeout)
    try:
        answer, fds = exchange(connection, CLIENT if as_client else READER, name, timeout)
        try:
            told = understand(answer, name)
            if len(fds) != FDS:
                raise AttachError(f"queue {name!r} sent {len(fds)} descriptors instead of {FDS}: is none left here?")
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return Reached(Space.open(fds[0], fds[1], writable=as_client), told, connection)
    except BaseException:
        connection.close()
        raise


def listener_at(path: str) -> int | None:
    """The process that began to listen at a socket, a queue's owner, as the kernel has it; None when there is none, or
    too many are waiting there. 0: one that can't be seen from here (another pid namespace)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except OSError:
            return None
        return _listener_of(probe)[0]


def _listener_of(connection: socket.socket) -> tuple[int, int]:
    """(pid, uid)"""
    pid, uid, _ = unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS))
    return pid, uid


def connect(name: str, timeout: float) -> socket.socket:
    """A connection to that queue's supervisor, or to the one that is being started; see `reach`."""
    path = address_of(name)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        _connect(connection, path, name, timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(connection: socket.socket, path: str, name: str, timeout: float) -> None:
    try:
        # The kernel waits for room in the queue of visitors only on behalf of a socket that may block.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pack("ll", int(timeout), int(timeout % 1 * 1e6)))
        connection.connect(path)
    except FileNotFoundError:
        others = queue_names()
        known = f"; there are {', '.join(others)}" if others else ""
        raise AttachError(f"no queue named {name!r} is running{known}") from None
    except ConnectionRefusedError:
        raise AttachError(
            f"queue {name!r} is not running any more: its owner was killed and left a socket. `localq doctor --clean`"
            " removes it"
        ) from None
    except BlockingIOError:
        raise NoAnswer(f"queue {name!r} does not answer: too many are waiting for its supervisor") from None
    except OSError as error:
        raise AttachError(f"queue {name!r} can't be reached by {path}: {error.strerror}") from None
    _, uid = _listener_of(connection)
    if uid != os.geteuid():
        raise AttachError(f"the socket {path} belongs to a process of user {uid}, not of yours ({os.geteuid()})")


def exchange(connection: socket.socket, wanted: bytes, name: str, timeout: float) -> tuple[bytes, list[int]]:
    """Say one packet, and hear one: it, and the descriptors that came with it."""
    fds = array("i")
    connection.settimeout(timeout)
    try:
        connection.send(wanted)
        answer, ancillary, _, _ = connection.recvmsg(
            MOST_BYTES, socket.CMSG_LEN(FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
    except TimeoutError:
        reason = f"does not answer within {timeout:g} s: its supervisor was stopped, or is only starting"
        raise NoAnswer(f"queue {name!r} {reason}") from None
    except OSError as error:
        raise HungUp(f"queue {name!r} hung up: {error.strerror}") from None
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return answer, list(fds)


def understand(answer: bytes, name: str) -> dict[str, Any]:
    """What the answer says. Raises AttachError when it is a refusal, or none."""
    if not answer:
        raise HungUp(f"queue {name!r} can't be attached to: it is ending")
    try:
        told = _native.decode_value(answer)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise AttachError(f"queue {name!r} can't be attached to: what it said is no answer: another version of localq?")
    if "refused" in told:
        raise AttachError(f"queue {name!r} refuses: {told['refused']}")
    return told
