# SPDX-License-Identifier: MIT
"""Who comes in by the socket, and what they are given: the supervisor's half of attaching.

One packet each way: what the visitor wants, then a description and the two descriptors of the Space. A client gets a
row in the roster as well, which it signs before it acts under that label; it keeps the connection open, but what proves
its death is its pidfd. Nothing a visitor says is trusted: only processes of the same user are answered, a packet has a
few bytes, and who says nothing is sent away.
"""

from __future__ import annotations

import os
import time

from localq import _native
from localq._native import ROLE_CLIENT
from localq.pool.processes import ended_by, has_mapped, open_process, started_at
from localq.pool.recovery import signed_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterable
    from select import epoll

    from localq._native import Space

__all__ = ["ASK", "CLIENT", "MOST_BYTES", "READER", "Visitors"]

CLIENT, READER = b"localq2 client", b"localq2 reader"  # what one may want
ASK = b"localq2 ask "  # ... or begin a request with, which is somebody else's to answer: see `localq.pool.requests`
MOST_BYTES = 65536  # of any packet
ROWS = 255  # of the roster
OTHER_ROWS = 10  # for the owner, the supervisor and its successor, and workers that are dead and not yet recovered
MOST_WAITING = 64  # visitors that have not said yet what they want
PATIENCE = 2.0  # seconds for saying it
DEAF_SECONDS = 0.1  # until a descriptor may be free again
CREDENTIALS = 12  # bytes: pid, uid, gid


class _Visitor:
    __slots__ = ("arrived", "label", "pid", "pidfd", "socket")

    def __init__(self, socket: _socket.socket, pid: int) -> None:
        self.socket: _socket.socket | None = socket  # None: it was lost, and the process lives on
        self.pid = pid
        self.arrived = time.monotonic()
        self.label = 0  # of a client, once it is one
        self.pidfd = -1


class Visitors:
    """All who came in and are not gone. Each event is one call of `handle`."""

    def __init__(
        self,
        space: Space,
        door: int,
        poll: epoll,
        workers: int,
        describe: Callable[[], dict[str, object]],
        bury: Callable[[int], None],
        hand_over: Callable[[_socket.socket, int, bytes], None],
    ) -> None:
        """`workers`: so many the roster must have room for, whoever comes; `describe()` is what visitors are told;
        `bury(label)` finishes what a dead client began; `hand_over(socket, pid, request)` takes who wants something
        else than the memory."""
        self._space = space
        self._door = door
        self._poll = poll
        self.workers = workers
        self._describe = describe
        self._bury = bury
        self._hand_over = hand_over
        self._by_fd: dict[int, _Visitor] = {}  # of both their descriptors
        self._inode = os.fstat(space.fds[0]).st_ino
        self._listener: _socket.socket | None = None  # made when somebody comes
        self._deaf_until: float | None = None  # nobody is let in before
        if door >= 0:
            poll.register(door, 1)  # EPOLLIN

    @property
    def room(self) -> int:
        """Rows of the roster that neither workers nor clients need."""
        return ROWS - OTHER_ROWS - self.workers - self._count_of_clients()

    def _count_of_clients(self) -> int:
        return sum(bool(each.label) for each in set(self._by_fd.values()))

    def handle(self, fd: int) -> bool:
        """An event at that descriptor. False when it is none of a visitor's."""
        if fd == self._door:
            self._let_in()
            return True
        visitor = self._by_fd.get(fd)
        if visitor is None:
            return False
        if fd == visitor.pidfd:
            if ended_by(fd):  # else the event was of another visitor, whose descriptor this was before, a moment ago
                self._end(visitor)
        else:
            self._hear(visitor)
        return True

    def until_next_timer(self) -> float | None:
        """Seconds until there is something to do for `keep_time`."""
        ends = [visitor.arrived + PATIENCE for visitor in self._by_fd.values() if not visitor.label]
        if self._deaf_until is not None:
            ends.append(self._deaf_until)
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def keep_time(self) -> None:
        """Send away who has said nothing for too long; listen again."""
        now = time.monotonic()
        if self._deaf_until is not None and now >= self._deaf_until:
            self._deaf_until = None
            self._poll.register(self._door, 1)
        late = now - PATIENCE
        for visitor in [each for each in self._by_fd.values() if not each.label and each.arrived <= late]:
            self._forget(visitor)

    def adopt(self, label: int, pid: int, started: int) -> None:
        """A client that an earlier supervisor let in. Without its connection; its death is seen all the same. A row
        without a pid is of one that was not told any more: it can't sign in now, and comes again."""
        signed = signed_by(self._space, label, pid, started)
        if signed is None:
            return
        pidfd = open_process(*signed) if signed[0] else None
        if pidfd is None:
            self._bury(label)
            return
        visitor = _Visitor(None, signed[0])  # type: ignore[arg-type]
        visitor.label = label
        self._watch(visitor, pidfd)

    def prune(self) -> None:
        """Forget clients that have left: who lost the connection, or came before this supervisor, can't say so here."""
        for visitor in [each for each in set(self._by_fd.values()) if each.label]:
            row = self._space.row(visitor.label & 0xFFF)
            if row is None or row["label"] != visitor.label:
                self._forget(visitor)

    def close(self) -> None:
        """For a worker, which has no part in this: close the descriptors."""
        for fd in [self._door, *self._by_fd]:
            if fd >= 0:
                os.close(fd)

    # one visitor

    def _let_in(self) -> None:
        try:
            import _socket
            from struct import unpack

            if self._listener is None:
                self._listener = _socket.socket(fileno=self._door)
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:  # it is gone again
            return
        except (
            OSError,
            ImportError,
        ):  # no descriptor left: whoever is there would be announced again and again until there is one
            self._poll.unregister(self._door)
            self._deaf_until = time.monotonic() + DEAF_SECONDS
            return
        socket = _socket.socket(fileno=fd)
        socket.setblocking(False)
        pid, uid, _ = unpack("3i", socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, CREDENTIALS))
        visitor = _Visitor(socket, pid)
        if uid != os.geteuid():
            self._refuse(visitor, f"it belongs to user {os.geteuid()}, and you are user {uid}")
        elif sum(not each.label for each in self._by_fd.values()) >= MOST_WAITING:
            self._refuse(visitor, "too many others are waiting")
        else:
            self._by_fd[fd] = visitor
            self._poll.register(fd, 1)

    def _hear(self, visitor: _Visitor) -> None:
        assert visitor.socket is not None
        try:
            said = visitor.socket.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._hang_up(visitor)
        elif visitor.label:
            pass  # a client has nothing more to say
        elif said == CLIENT:
            self._let_client_in(visitor)
        elif said == READER:
            self._let_look(visitor)
            self._forget(visitor)
        elif said.startswith(ASK):
            del self._by_fd[visitor.socket.fileno()]
            self._poll.unregister(visitor.socket.fileno())
            self._hand_over(visitor.socket, visitor.pid, said[len(ASK) :])
        else:
            self._refuse(visitor, "it does not know what you want: another version of localq?")
            self._forget(visitor)

    def _let_client_in(self, visitor: _Visitor) -> None:
        """Its row has no pid until it signs in: who asked and is gone never does, whoever has its pid by now."""
        if self.room < 1:
            self._refuse(visitor, f"all {self._count_of_clients()} places for clients are taken")
            self._forget(visitor)
            return
        try:
            pidfd = os.pidfd_open(visitor.pid)
        except OSError:
            self._forget(visitor)
            return
        try:
            visitor.label = self._space.join(ROLE_CLIENT, 0)  # it signs in by itself, once it has heard of its label
        except RuntimeError as error:
            os.close(pidfd)
            self._refuse(visitor, str(error))
            self._forget(visitor)
            return
        self._watch(visitor, pidfd)
        self._answer(visitor, self._space.fds)

    def _let_look(self, visitor: _Visitor) -> None:
        """Opened anew, for reading: nobody writes there by mistake. (On purpose, whoever is the same user could.)"""
        fds: list[int] = []
        try:
            for fd in self._space.fds:
                fds.append(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC))
            self._answer(visitor, fds)
        except OSError as error:
            self._refuse(visitor, f"its memory can't be opened for reading only: {error.strerror}")
        finally:
            for fd in fds:
                os.close(fd)

    def _answer(self, visitor: _Visitor, fds: Iterable[int]) -> None:
        import _socket
        from array import array

        yours = {"label": visitor.label, "pid": visitor.pid, "started": started_at(visitor.pid)}
        told = _native.encode_value({**self._describe(), **yours})
        assert told is not None
        assert visitor.socket is not None
        try:
            visitor.socket.sendmsg([told], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", fds))])
        except OSError:
            pass  # it is gone: its pidfd, or the end of the connection, says so

    def _refuse(self, visitor: _Visitor, reason: str) -> None:
        told = _native.encode_value({"refused": reason})
        assert told is not None
        assert visitor.socket is not None
        try:
            visitor.socket.send(told)
        except OSError:
            pass

    def _hang_up(self, visitor: _Visitor) -> None:
        """The connection has ended. A client may never have begun, may have left, have been replaced by exec, or have
        lost a descriptor that it did not know to be ours: then it goes on, and only its end counts."""
        row = self._space.row(visitor.label & 0xFFF) if visitor.label else None
        if row is None or row["label"] != visitor.label:  # never a client, or it has left
            self._forget(visitor)
        elif (
            self._space.bury_unsigned(visitor.label)
            or not has_mapped(visitor.pid, self._inode)
            or ended_by(visitor.pidfd)
        ):
            self._end(visitor)
        else:
            self._drop_connection(visitor)

    def _end(self, visitor: _Visitor) -> None:
        """A client is gone for good."""
        self._forget(visitor)
        self._bury(visitor.label)

    def _watch(self, visitor: _Visitor, pidfd: int) -> None:
        visitor.pidfd = pidfd
        self._by_fd[pidfd] = visitor
        self._poll.register(pidfd, 1)

    def _drop_connection(self, visitor: _Visitor) -> None:
        if visitor.socket is not None:
            fd = visitor.socket.fileno()
            if self._by_fd.pop(fd, None) is not None:
                self._poll.unregister(fd)
            visitor.socket.close()
            visitor.socket = None

    def _forget(self, visitor: _Visitor) -> None:
        self._drop_connection(visitor)
        if visitor.pidfd >= 0:
            del self._by_fd[visitor.pidfd]
            self._poll.unregister(visitor.pidfd)
            os.close(visitor.pidfd)
            visitor.pidfd = -1
