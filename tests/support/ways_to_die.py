# SPDX-License-Identifier: MIT
"""The ways in which a worker can end without saying so, and what is left to read of each.

Used by the crash tests as one axis of their table: moments x ways x outcome. Each way is a task function with
its arguments, so that it can be sent to a worker as it stands.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.support import tasks


class Way(NamedTuple):
    """One way to die: `function(*args)` ends its process with `exit_signal` or, if None, with `exit_status`."""

    name: str
    function: Callable[..., object]
    args: tuple[int, ...]
    exit_signal: int | None
    exit_status: int | None


def _by_signal(number: signal.Signals) -> Way:
    return Way(number.name, tasks.kill_self, (number,), number, None)


WAYS = (
    _by_signal(signal.SIGKILL),  # the OOM killer, an operator
    _by_signal(signal.SIGSEGV),  # a bug in a C library
    _by_signal(signal.SIGABRT),  # an assertion in a C library
    _by_signal(signal.SIGFPE),
    _by_signal(signal.SIGTERM),  # a polite stop of one worker only
    Way("null-pointer", tasks.read_null, (), signal.SIGSEGV, None),
    Way("abort", tasks.abort, (), signal.SIGABRT, None),
    Way("exit-0", tasks.exit_hard, (0,), None, 0),  # looks like success to a careless parent
    Way("exit-3", tasks.exit_hard, (3,), None, 3),
)

#: `@each_way` runs a test once per way, under its name, with the argument `way`.
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
