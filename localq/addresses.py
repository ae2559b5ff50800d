# SPDX-License-Identifier: MIT
"""Where running queues are found: one socket a queue, named after it, in a folder that only this user may enter.

Used by owners, who put theirs there, by whoever attaches, and by `localq doctor`. Knows nothing of what is said there.
"""

from __future__ import annotations

import os

from localq.errors import AttachError

__all__ = ["SUFFIX", "address_of", "queue_names", "runtime_dir"]

SUFFIX = ".sock"
LONGEST = 107  # bytes of a socket's address, as the kernel has it


def runtime_dir() -> str:
    """The folder: LOCALQ_RUNTIME_DIR, or `localq` in XDG_RUNTIME_DIR, or `localq-UID` among the temporary files."""
    if given := os.environ.get("LOCALQ_RUNTIME_DIR"):
        return os.path.abspath(given)
    if given := os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(given, "localq")
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"localq-{os.geteuid()}")


def make_runtime_dir() -> str:
    """The folder, made if need be.

    Raises:
        AttachError: it belongs to somebody else, or others may write to it, so what is found there can't be trusted.
        OSError: the system refuses it.
    """
    path = runtime_dir()
    try:
        os.makedirs(path, mode=0o700)
    except FileExistsError:
        pass
    facts = os.stat(path)
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise AttachError(
            f"{path} belongs to user {facts.st_uid} and has mode {facts.st_mode & 0o777:o}: sockets in there can't be"
            " trusted. Remove it, or set LOCALQ_RUNTIME_DIR to a folder of your own"
        )
    return path


def address_of(name: str) -> str:
    """The socket of the queue of that name. Raises AttachError when the folder's path leaves no room for it."""
    path = os.path.join(runtime_dir(), name + SUFFIX)
    if len(os.fsencode(path)) > LONGEST:
        raise AttachError(
            f"{path} is longer than a socket's address may be; set LOCALQ_RUNTIME_DIR to a shorter folder"
        )
    return path


def queue_names() -> list[str]:
    """The names for which there is a socket, whether or not somebody still listens."""
    try:
        found = os.listdir(runtime_dir())
    except OSError:
        return []
    return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))
