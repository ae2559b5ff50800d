# SPDX-License-Identifier: MIT
"""What people look at: the progress of a map and the live views of a queue. rich is imported only in here."""
