# SPDX-License-Identifier: MIT
"""The submitting side: the queue, its futures, its maps."""
