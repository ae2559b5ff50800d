# SPDX-License-Identifier: MIT
"""Keys: from the bytes that a terminal sends to their names.

Used by `localq top`. A name is the character itself, or one of: up down left right home end pageup pagedown enter esc
tab backtab backspace space redraw. What is not known is left out.
"""

from __future__ import annotations

import codecs

__all__ = ["Keys"]

_SEQUENCES = {
    b"[A": "up", b"[B": "down", b"[C": "right", b"[D": "left", b"[H": "home", b"[F": "end", b"[Z": "backtab",
    b"OA": "up", b"OB": "down", b"OC": "right", b"OD": "left", b"OH": "home", b"OF": "end", b"OM": "enter",
    b"[1~": "home", b"[4~": "end", b"[5~": "pageup", b"[6~": "pagedown", b"[7~": "home", b"[8~": "end",
}  # fmt: skip
_CONTROLS = {
    "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace", " ": "space", "\x0c": "redraw",
}  # fmt: skip
LONGEST = 32  # bytes of a sequence; what goes on longer is none


class Keys:
    """Takes bytes as they come, a sequence perhaps in parts."""

    def __init__(self) -> None:
        self._pending = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    @property
    def is_waiting(self) -> bool:
        """An escape may be the key, or begin a sequence whose rest comes in a moment."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete now."""
        data, self._pending = self._pending + data, b""
        keys: list[str] = []
        while data:
            if data[0] != 0x1B:
                plain, escape, rest = data.partition(b"\x1b")
                keys += filter(None, map(_named, self._decoder.decode(plain)))
                data = escape + rest
                continue
            length = _length(data)
            if length is None:
                self._pending = data
                break
            key = "esc" if length == 1 else _SEQUENCES.get(data[1:length])
            if key is not None:
                keys.append(key)
            data = data[length:]
        return keys

    def expire(self) -> list[str]:
        """Nothing came after the escape: it was the key. What else was begun is dropped."""
        pending, self._pending = self._pending, b""
        return ["esc"] if pending[:1] == b"\x1b" and len(pending) <= 2 else []


def _length(data: bytes) -> int | None:
    """Of the sequence at the beginning, which is an escape; None: it may go on."""
    if len(data) == 1:
        return None
    if data[1] == 0x1B:
        return 1
    if data[1] == ord("O"):
        return 3 if len(data) > 2 else None
    if data[1] != ord("["):
        return 2
    for at in range(2, min(len(data), LONGEST)):
        if 0x40 <= data[at] <= 0x7E:
            return at + 1
    return None if len(data) < LONGEST else LONGEST


def _named(character: str) -> str | None:
    return _CONTROLS.get(character) or (character if character.isprintable() else None)
