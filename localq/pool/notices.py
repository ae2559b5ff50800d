# SPDX-License-Identifier: MIT
"""Words for whoever reads a program's stderr: what went wrong and is being mended, said once.

Used by the supervisor and by the owner that watches it. Whether anybody reads them changes nothing.
"""

from __future__ import annotations

import sys

__all__ = ["notice"]


def notice(queue: str, what: str) -> None:
    """Say it under the queue's name. Never fails: stderr may be closed, or a pipe that nobody reads any more."""
    try:
        sys.stderr.write(f"localq {queue}: {what}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
