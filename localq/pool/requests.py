# SPDX-License-Identifier: MIT
"""What visitors may ask of a supervisor, and how they are answered: the supervisor's half of `localq.pool.control`.

One packet says what is to be done, one answers, and the connection ends; that of a lease stays, and its end is the
lease's. Nothing that is said is trusted: who comes is the same user by now, a request has a few known words of known
types, and no more than so many are on their way. What is done is not known here: see `localq.pool.steering`.
"""

from __future__ import annotations

import os

from localq import _native
from localq.pool.processes import ended_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping
    from select import epoll
    from typing import Any

__all__ = ["MOST_PACKET", "REQUESTS", "Asker", "Refused", "Requests"]

MOST_PACKET = 60_000  # bytes of an answer; a longer one comes in a memfd
MOST_ASKERS = 128  # connections that wait for an answer or hold a lease

#: What may be asked, with the words that belong to it.
REQUESTS: dict[str, dict[str, type]] = {
    "stack": {"pid": int},
    "drain": {"pid": int},
    "kill": {"task_id": str},
    "tasks": {},
    "reload": {},
    "workers": {"count": int},
    "facts": {},
}


class Refused(Exception):
    """It can't be done; the sentence says why."""


class Asker:
    """A visitor who waits for an answer, or holds a lease."""

    __slots__ = ("lease", "pid", "pidfd", "socket")

    def __init__(self, socket: _socket.socket, pid: int) -> None:
        self.socket = socket
        self.pid = pid
        self.pidfd = -1  # of one with a lease
        self.lease = 0  # workers that are there for it


class Requests:
    """All who asked and are not gone. `do`: what to call by the request's name, with the asker and the request's words;
    it returns the answer, or None to answer later, or raises Refused. `end_lease(asker)` when one has ended."""

    def __init__(
        self,
        poll: epoll,
        do: Mapping[str, Callable[..., dict[str, Any] | None]],
        end_lease: Callable[[Asker], None],
    ) -> None:
        self._poll = poll
        self._do = do
        self._end_lease = end_lease
        self._by_fd: dict[int, Asker] = {}

    @property
    def askers(self) -> list[Asker]:
        return list(set(self._by_fd.values()))

    def take(self, socket: _socket.socket, pid: int, said: bytes) -> None:
        """Somebody has said that. The socket is ours from now on."""
        asker = Asker(socket, pid)
        self._by_fd[socket.fileno()] = asker
        self._poll.register(socket.fileno(), 1)
        try:
            if len(self.askers) > MOST_ASKERS:
                raise Refused("too many others are waiting for an answer, or hold workers")
            do, words = _understood(said)
            answer = self._do[do](asker, **words)
        except Refused as refusal:
            self.refuse(asker, str(refusal))
        except OSError as error:  # no descriptor left, or no memory
            self.refuse(asker, f"the system refuses it: {error.strerror or error}")
        else:
            if answer is not None:
                self.answer(asker, answer)

    def answer(self, asker: Asker, told: dict[str, Any]) -> None:
        """Tell it, and let it go unless it holds a lease."""
        encoded = _native.encode_value(told)
        if encoded is None:
            encoded = _native.encode_value({"refused": "the answer can't be encoded"})
            assert encoded is not None
        try:
            if len(encoded) <= MOST_PACKET:
                asker.socket.send(encoded)
            else:
                _send_long(asker.socket, encoded)
        except OSError:
            pass  # it is gone
        if not asker.lease:
            self._forget(asker)

    def refuse(self, asker: Asker, reason: str) -> None:
        asker.lease = 0
        self.answer(asker, {"refused": reason})

    def keep(self, asker: Asker) -> None:
        """It has a lease: its death counts as well, whoever has inherited the connection."""
        asker.pidfd = os.pidfd_open(asker.pid)
        self._by_fd[asker.pidfd] = asker
        self._poll.register(asker.pidfd, 1)

    def handle(self, fd: int) -> bool:
        """An event at that descriptor. False when it is none of an asker's."""
        asker = self._by_fd.get(fd)
        if asker is None:
            return False
        if fd == asker.pidfd:
            if not ended_by(fd):
                return True
        else:
            try:
                if asker.socket.recv(4096):
                    return True  # nobody has asked it anything
            except BlockingIOError:
                return True
            except OSError:
                pass
        self._forget(asker)
        return True

    def is_here(self, asker: Asker) -> bool:
        """Whether it still waits."""
        return asker.socket.fileno() in self._by_fd

    def close(self) -> None:
        """For a worker, which has no part in this: close the descriptors."""
        for fd in self._by_fd:
            os.close(fd)

    def _forget(self, asker: Asker) -> None:
        for fd in (asker.socket.fileno(), asker.pidfd):
            if fd >= 0 and self._by_fd.pop(fd, None) is not None:
                self._poll.unregister(fd)
        asker.socket.close()
        if asker.pidfd >= 0:
            os.close(asker.pidfd)
            asker.pidfd = -1
        if asker.lease:
            self._end_lease(asker)


def _understood(said: bytes) -> tuple[str, dict[str, Any]]:
    """(what to do, with what). Raises Refused."""
    try:
        request = _native.decode_value(said)
    except ValueError:
        raise Refused("what you asked is no MessagePack: another version of localq?") from None
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise Refused('a request is a map with the word "do" in it')
    words = {word: value for word, value in request.items() if word != "do"}
    do = request["do"]
    known = REQUESTS.get(do)
    if known is None:
        raise Refused(f"it does not know how to do {do[:40]!r}; it knows {', '.join(REQUESTS)}")
    if words.keys() != known.keys():
        raise Refused(f"{do!r} needs {', '.join(map(repr, known)) or 'nothing more'}, and takes no other word")
    for word, kind in known.items():
        if type(words[word]) is not kind:
            raise Refused(f"{word!r} of {do!r} is {'a whole number' if kind is int else 'a text'}")
    return do, words


def _send_long(socket: _socket.socket, encoded: bytes) -> None:
    import _socket
    from array import array

    fd = os.memfd_create("localq-answer", os.MFD_CLOEXEC)
    try:
        left = memoryview(encoded)
        while left:
            left = left[os.write(fd, left) :]
        socket.sendmsg([b"\xc0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", (fd,)))])
    finally:
        os.close(fd)
