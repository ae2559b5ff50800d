# SPDX-License-Identifier: MIT
"""Which running queue a task id is of: the ids say it, but not by the queue's name.

Used by the commands that take ids. Every queue of this user is asked, all at once, and only looked at.
"""

from __future__ import annotations

from localq.addresses import queue_names
from localq.config import is_name
from localq.errors import AttachError, ConfigError, SpaceError
from localq.pool.attach import NoAnswer, reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["find_queue", "is_task_id"]

SEVERAL = 16  # asked at once: all that takes time is waiting for those that are stopped
_HEX = frozenset("0123456789abcdef")


def is_task_id(text: str) -> bool:
    """Whether it is written as task ids are."""
    parts = text.split("-")
    return len(parts) == 3 and len(parts[0]) == 8 and all(part and _HEX.issuperset(part) for part in parts)


def find_queue(task_id: str, timeout: float = 2.0, among: Iterable[str] | None = None) -> str:
    """The name of the queue that gave this id.

    Args:
        timeout: seconds that each queue has to answer.
        among: the queues to ask; None: all that this user has.

    Raises:
        ConfigError: that is no task id.
        AttachError: none of the running queues gave it; or one that did not answer may have; or one of `among` can't be
            reached.
    """
    if not is_task_id(task_id):
        raise ConfigError(f"{task_id!r} is no task id: those look like 2a0bcfee-1f-3")
    names = [name for name in queue_names() if is_name(name)] if among is None else list(among)
    prefix = task_id.partition("-")[0]
    if among is None:
        asked = list(zip(names, _ask_all(names, timeout), strict=True))
    else:
        asked = [(name, _ask(name, timeout)) for name in names]
    for name, answer in asked:
        if answer == prefix:
            return name
    silent = [name for name, answer in asked if answer is None]
    others = [name for name, answer in asked if answer]
    sentence = f"no running queue gave the task id {task_id}"
    if others:
        sentence += f": {', '.join(others)} did not"
    if silent:
        raise AttachError(f"{sentence}; {', '.join(silent)} did not answer within {timeout:g} s: see `localq doctor`")
    if not others:
        sentence += ": none is running"
    raise AttachError(f"{sentence}. Results end with their queue")


def _ask_all(names: list[str], timeout: float) -> list[str | None]:
    if len(names) < 2:
        return [_prefix_of(name, timeout) for name in names]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(SEVERAL, len(names))) as several:
        return list(several.map(lambda name: _prefix_of(name, timeout), names))


def _prefix_of(name: str, timeout: float) -> str | None:
    """As `_ask`; None: it does not answer. Empty: it has ended, or can't be read."""
    try:
        return _ask(name, timeout)
    except NoAnswer:
        return None
    except (AttachError, SpaceError, OSError):
        return ""


def _ask(name: str, timeout: float) -> str | None:
    """What the ids of that queue begin with."""
    reached = reach(name, as_client=False, timeout=timeout)
    try:
        return f"{reached.space.identity & 0xFFFFFFFF:08x}"
    finally:
        reached.let_go()
