# SPDX-License-Identifier: MIT
"""Let workers know the key by which the processes of one program know each other in `multiprocessing`.

Used by executors, as the initializer of workers that start clean: without it, a proxy of a `multiprocessing.Manager`
that is an argument of a task would be turned away by its manager.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["enter"]


def enter(key: bytes, initializer: Callable[..., object] | None, *arguments: object) -> None:
    """In a worker: take the key, then do what there is to do besides."""
    from multiprocessing.process import current_process

    current_process().authkey = key
    if initializer is not None:
        initializer(*arguments)
