# SPDX-License-Identifier: MIT
"""The queues that the tests in here share."""

from __future__ import annotations

from tests.support.queues import gate, lone, q

__all__ = ["gate", "lone", "q"]
