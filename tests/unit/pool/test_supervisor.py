# SPDX-License-Identifier: MIT
"""The supervisor never waits for one child: all others would wait with it."""

from __future__ import annotations

import os
import signal

from localq.pool.story import story_pipe
from localq.pool.supervisor import Child, _reap
from tests.support.waiting import eventually


def test_who_still_lives_is_not_waited_for():
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        os.read(told, 1)
        os._exit(3)
    os.close(told)
    writer, story = story_pipe()
    os.close(writer)
    child = Child(pid, os.pidfd_open(pid), 0, story, 0, -1)
    try:
        signal.alarm(10)  # or this would never end
        assert _reap(child) is None
        signal.alarm(0)

        os.close(tell)
        status, peak = eventually(lambda: _reap(child))
        assert os.waitstatus_to_exitcode(status) == 3
        assert peak > 0
    finally:
        os.close(child.pidfd)
        story.close()
