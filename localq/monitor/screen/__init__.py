# SPDX-License-Identifier: MIT
"""The parts of the screen of `localq top`: each a pure function from what was read to lines."""
