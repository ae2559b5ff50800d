# SPDX-License-Identifier: MIT
"""The socket by which others reach a queue: made by the owner, heard by whichever supervisor it has.

The owner keeps it open, so that a new supervisor hears those who came while there was none. What is said there is in
`localq.pool.visitors`.
"""

from __future__ import annotations

import os

from localq.errors import AttachError, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

__all__ = ["Doorway", "is_stale", "open_doorway", "remove_socket", "remove_stale"]

BACKLOG = 128
MOST_NAMES = 1000


class Doorway:
    """A listening socket and where it is. `inode` tells it from a later one of the same name."""

    def __init__(self, name: str, path: str, socket: _socket.socket) -> None:
        self.name = name
        self.path = path
        self.inode = os.stat(path).st_ino
        self.fd: int = socket.detach()

    def close(self) -> None:
        """Nobody comes in any more. For the owner: others only close their copy of the descriptor."""
        if self.fd >= 0:
            remove_socket(self.path, self.inode)
            os.close(self.fd)
            self.fd = -1


def open_doorway(name: str, is_given: bool) -> Doorway | None:
    """The door of a new queue. Where the name was made up (not `is_given`), another queue's name gets a number, and a
    folder that can't be had leaves the queue without a door.

    Raises:
        ConfigError: a running queue has that name, or the folder can't be had.
    """
    from localq.addresses import make_runtime_dir  # not for a supervisor that only removes the socket

    try:
        make_runtime_dir()
        if is_given:
            return _listen(name)
        for number in range(1, MOST_NAMES):
            try:
                return _listen(name if number == 1 else f"{name}.{number}")
            except _Taken:
                continue
    except _Taken:
        raise ConfigError(f"name must be one that no running queue of yours has; {name!r} is taken") from None
    except (OSError, AttachError) as error:
        if is_given:
            raise ConfigError(f"name {name!r} can't be given to the queue: {error}") from error
    return None


class _Taken(Exception):
    pass


def _listen(name: str) -> Doorway:
    import _socket

    from localq.addresses import address_of

    path = address_of(name)
    with _Locked(os.path.dirname(path)):
        if os.path.lexists(path) and not _unlink_stale(path):
            raise _Taken
        socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
        try:
            socket.bind(path)
            socket.listen(BACKLOG)
            return Doorway(name, path, socket)
        except BaseException:
            socket.close()
            raise


def remove_stale(path: str) -> bool:
    """Remove a socket at which nobody listens any more; whether that was one. Anything else stays."""
    with _Locked(os.path.dirname(path)):
        return _unlink_stale(path)


class _Locked:
    """A folder's lock: without it, two who find the same stale socket would remove each other's new one."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        from fcntl import LOCK_EX, flock

        self._fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flock(self._fd, LOCK_EX)
        except BaseException:
            os.close(self._fd)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)  # and with it the lock


def _unlink_stale(path: str) -> bool:
    """Under the lock. A file that is no socket refuses to be connected to as well, and is somebody's."""
    from stat import S_ISSOCK

    try:
        if not S_ISSOCK(os.lstat(path).st_mode) or not is_stale(path):
            return False
        os.unlink(path)
    except FileNotFoundError:  # its owner removed it just now
        pass
    return True


def is_stale(path: str) -> bool:
    """Whether nobody listens at a socket any more. A full backlog, or a refusal to look, means that somebody does.

    Raises:
        AttachError: what is there is no socket.
    """
    import _socket
    from stat import S_ISSOCK

    try:
        if not S_ISSOCK(os.lstat(path).st_mode):
            raise AttachError(f"{path} is no socket, and was not made by localq")
    except FileNotFoundError:
        return True

    with _closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False
    return False


class _closing:
    """contextlib's, without its import."""

    def __init__(self, socket: _socket.socket) -> None:
        self._socket = socket

    def __enter__(self) -> _socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def remove_socket(path: str, inode: int) -> None:
    """Remove a socket, unless a later one has its name."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        pass
