# SPDX-License-Identifier: MIT
"""Arrays that map a file go by the file's name: nothing is copied, and writes reach the file from everywhere.

Used by `localq.reducers.arrays`. Slices too: what counts is where in the file their memory lies. A file that was
removed or replaced since it was mapped is no substitute for the one that is mapped; such arrays go by value.
"""

from __future__ import annotations

import os

import numpy as np

from localq.reducers.spans import bounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["reduce_mapped"]

#: How a mapping of each mode is opened again. Private ones ("c") are not: what was written to them is not in the file.
MODES = {"r": "r", "r+": "r+", "w+": "r+"}


def reduce_mapped(array: Any) -> tuple[object, ...] | None:
    """The recipe to map the same bytes of the file once more; None: the array has to go by value."""
    name, mode = array.filename, MODES.get(array.mode)
    if array._mmap is None or name is None or mode is None or array.size == 0:
        return None
    low, high = bounds(array)
    try:
        within = np.frombuffer(array._mmap, np.uint8)
        first, last = bounds(within)
        status = os.stat(name)
    except (OSError, ValueError):  # the file is not there any more; the mapping is closed
        return None
    place = _place(low, os.fspath(name), status) if first <= low and high <= last else None
    if place is None:
        return None
    identity = status.st_dev, status.st_ino
    at = array.__array_interface__["data"][0] - low
    layout = array.shape, array.dtype, at, array.strides, array.flags.writeable
    return _restore_mapped, (name, identity, mode, place, high - low, *layout)


def _place(address: int, name: str, status: os.stat_result) -> int | None:
    """Where in that very file an address lies, going by what the kernel has mapped there."""
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            span, access, offset, device, inode, *rest = line.split(None, 5)
            start, _, end = span.partition(b"-")
            if not int(start, 16) <= address < int(end, 16):
                continue
            major, _, minor = device.partition(b":")
            path = os.fsdecode(rest[0].rstrip(b"\n")) if rest else ""
            # Where file systems lie over each other, the kernel may name the device below; then the path must do.
            same = os.makedev(int(major, 16), int(minor, 16)) == status.st_dev or path == os.path.realpath(name)
            is_it = same and int(inode) == status.st_ino and access.endswith(b"s")
            return int(offset, 16) + address - int(start, 16) if is_it else None
    return None


def _restore_mapped(
    name: str | os.PathLike[str],
    identity: tuple[int, int],
    mode: Any,
    place: int,
    nbytes: int,
    shape: tuple[int, ...],
    dtype: Any,
    at: int,
    strides: tuple[int, ...],
    writeable: bool,
) -> Any:
    with open(name, "rb" if mode == "r" else "r+b") as file:
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) != identity:
            raise ValueError(
                f"{os.fspath(name)!r} was replaced after an array that maps it was sent; keep it until the task is done"
            )
        if status.st_size < place + nbytes:  # numpy would make the file longer
            reason = f"the array that maps it ends at byte {place + nbytes}, and the file now at {status.st_size}"
            raise ValueError(f"{os.fspath(name)!r} was cut after it was sent: {reason}")
        memory: Any = np.memmap(file, np.uint8, mode, place, (nbytes,))
    memory.filename = name  # the same file under the same name: a path stays a path
    array: Any = np.ndarray.__new__(np.memmap, shape, dtype, memory, at, strides)
    array.__array_finalize__(memory)  # it takes over the file's name, the mode, the mapping
    if not writeable:
        array.flags.writeable = False
    return array
