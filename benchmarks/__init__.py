# SPDX-License-Identifier: MIT
"""localq beside its peers and the machine's limits: the same work, in turns, in one run. See README.md."""
