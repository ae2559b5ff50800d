# SPDX-License-Identifier: MIT
"""The supervisor and its workers: started by the client, driven by events, ended with it."""
