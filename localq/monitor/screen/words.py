# SPDX-License-Identifier: MIT
"""Figures and foreign text as short words for a terminal: six characters at most for a figure, no control characters.

Used by everything on the screen of `localq top`. Pure strings.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clean", "count", "duration", "many", "percent", "rate", "size"]

NOTHING = "-"

#: What terminals obey: escape sequences, with their text where they carry one.
_SEQUENCE = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?")
_VARIATIONS = range(0xFE00, 0xFE10)  # of the character before, which terminals disagree about the width of
_SKINS = range(0x1F3FB, 0x1F400)  # likewise
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_STEPS = "kMGTPE"


def clean(text: str) -> str:
    """Text on one line that moves no cursor, hides nothing, and is as wide as it seems."""
    if text.isascii() and text.isprintable():
        return text
    return " ".join("".join(map(_harmless, _SEQUENCE.sub("", text))).split())


def _harmless(character: str) -> str:
    code = ord(character)
    if code in _FLAG_LETTERS:
        return chr(ord("A") + code - _FLAG_LETTERS.start)
    if code in _VARIATIONS or code in _SKINS:
        return ""
    kind = unicodedata.category(character)
    if kind in ("Cc", "Zl", "Zp"):
        return " "
    return "" if kind.startswith("C") else character


def count(number: float) -> str:
    """987, 1,234, 12.3k, 1.23M"""
    if number < 10_000:
        return f"{number:,.0f}"
    return _in_steps(number, 1000.0, _STEPS)


def rate(number: float) -> str:
    """The same with a fraction where it matters: 0, 0.03, 4.2, 87"""
    if number <= 0:
        return "0"
    if number < 0.1:
        return f"{number:.2f}" if number >= 0.005 else "<0.01"
    return f"{number:.1f}" if number < 9.95 else count(number)


def size(number: float) -> str:
    """Bytes: 512B, 12.3K, 4.0G, in steps of 1024."""
    return f"{number:.0f}B" if number < 1000 else _in_steps(number, 1024.0, _STEPS.upper())


def _in_steps(number: float, step: float, names: str) -> str:
    at = 0
    number /= step
    while number >= 999.5 and at < len(names) - 1:
        number /= step
        at += 1
    if number >= 999.5:
        return f">999{names[at]}"
    return f"{number:.3g}{names[at]}" if number >= 100 else f"{number:#.3g}{names[at]}"


def duration(seconds: float | None) -> str:
    """40us, 1.2ms, 340ms, 3.4s, 59s, 1m12s, 2h05m, 3d04h, 412d"""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995e-3:
        return f"{max(seconds, 0.0) * 1e6:.0f}us"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.1f}ms" if seconds < 9.95e-3 else f"{seconds * 1e3:.0f}ms"
    if seconds < 59.5:
        return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
    whole = round(seconds)
    for large, small, names in ((60, 1, "ms"), (3600, 60, "hm"), (86_400, 3600, "dh")):
        if whole < large * (24 if names == "hm" else 60 if names == "ms" else 100):
            return f"{whole // large}{names[0]}{whole % large // small:02d}{names[1]}"
    return f"{count(whole // 86_400)}d"


def percent(share: float | None) -> str:
    """Of a share from 0 to 1: 0%, 87%, 100%."""
    return NOTHING if share is None else f"{share * 100:.0f}%"


def many(number: int, what: str) -> str:
    """1 problem, 2 problems"""
    return f"{count(number)} {what}{'' if number == 1 else 's'}"
