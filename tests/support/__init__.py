# SPDX-License-Identifier: MIT
"""What several tests need: waiting for conditions, tasks that workers import by name, and ways to die."""
