# SPDX-License-Identifier: MIT
"""Does what somebody asked for in `localq top`, and puts what came of it into a sentence.

What reaches the queue is handed in: `ask` is `localq.pool.control.ask`, `cancel` a client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from localq.errors import LocalqError
from localq.monitor.view import Act, Deed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Done", "do"]


class Done(NamedTuple):
    """What came of a deed. `stack`: of a STACK, in lines."""

    deed: Deed
    said: str
    stack: str | None = None


def do(deed: Deed, ask: Callable[[str, dict[str, Any]], dict[str, Any]], cancel: Callable[[str, str], bool]) -> Done:
    """Do it, however long that takes."""
    about = deed.about or deed.target
    try:
        if deed.act is Act.CANCEL:
            done = cancel(deed.queue, deed.target)
            return Done(deed, f"cancelled {about}" if done else f"{about} had ended already")
        if deed.act is Act.KILL:
            done = bool(ask(deed.queue, {"do": "kill", "task_id": deed.target}).get("killed"))
            return Done(deed, f"killed {about}" if done else f"{about} is not running any more")
        if deed.act is Act.DRAIN:
            ask(deed.queue, {"do": "drain", "pid": int(deed.target)})
            return Done(deed, f"{about} ends after its task; another comes")
        return Done(deed, "", str(ask(deed.queue, {"do": "stack", "pid": int(deed.target)}).get("stack", "")))
    except (LocalqError, OSError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        return Done(deed, said, said if deed.act is Act.STACK else None)
