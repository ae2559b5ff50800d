# SPDX-License-Identifier: MIT
"""The panels, by the keys that show them."""

from __future__ import annotations

from localq.monitor.screen.events import FAILURES, LOG
from localq.monitor.screen.functions import FUNCTIONS
from localq.monitor.screen.queues import QUEUES
from localq.monitor.screen.tasks import TASKS
from localq.monitor.screen.workers import WORKERS

__all__ = ["PANELS"]

PANELS = {panel.name: panel for panel in (QUEUES, WORKERS, FUNCTIONS, TASKS, FAILURES, LOG)}
