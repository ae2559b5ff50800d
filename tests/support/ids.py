# SPDX-License-Identifier: MIT
"""Names of parameters that are the same in every process: runs side by side compare what they have collected."""

from __future__ import annotations

import re

__all__ = ["shown"]


def shown(value: object) -> str:
    """As `repr`, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
