# SPDX-License-Identifier: MIT
"""Figures in six characters, and text that no terminal obeys."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.monitor.screen.words import clean, count, duration, many, percent, rate, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0us"),
        (-1, "0us"),
        (0.00004, "40us"),
        (0.0012, "1.2ms"),
        (0.34, "340ms"),
        (0.9996, "1.0s"),
        (3.4, "3.4s"),
        (59.4, "59s"),
        (59.9, "1m00s"),
        (72, "1m12s"),
        (7500, "2h05m"),
        (86_399.9, "1d00h"),
        (273_600, "3d04h"),
        (412 * 86_400, "412d"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (987, "987"), (9_999, "9,999"), (12_345, "12.3k"), (999_900, "1.00M"), (1_204_331, "1.20M")],
)
def test_counts(number: int, words: str) -> None:
    assert count(number) == words


def test_rates_keep_a_fraction_where_it_matters() -> None:
    assert [rate(number) for number in (0, 0.001, 0.03, 4.21, 87.3, 1234)] == [
        "0",
        "<0.01",
        "0.03",
        "4.2",
        "87",
        "1,234",
    ]


def test_sizes_are_in_steps_of_1024() -> None:
    assert [size(number) for number in (0, 512, 1 << 20, 512 << 20, 4 << 30)] == [
        "0B",
        "512B",
        "1.00M",
        "512M",
        "4.00G",
    ]


def test_shares_and_plurals() -> None:
    assert [percent(share) for share in (None, 0, 0.874, 1)] == ["-", "0%", "87%", "100%"]
    assert [many(number, "problem") for number in (1, 2)] == ["1 problem", "2 problems"]


@given(st.floats(min_value=0, max_value=1e20))
def test_no_figure_is_wider_than_its_column(number: float) -> None:
    assert len(count(number)) <= 6
    assert len(rate(number)) <= 6
    assert len(size(number)) <= 6
    assert len(duration(min(number, 8.64e9))) <= 6
    assert not math.isnan(number)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]0;title\x1b\\after", "after"),
        ("\x9b2Jafter", "after"),
        ("\x1b(0after", "after"),
        ("a\tb\r\nc", "a b c"),
        ("\u202eevil\u202c", "evil"),
        ("zero\u200bwidth", "zerowidth"),
        ("🇩🇪 👍🏽 ❤️", "DE 👍 ❤"),
        ("日本語", "日本語"),
        ("\ud800lone", "lone"),
        ("", ""),
    ],
)
def test_foreign_text_is_one_harmless_line(text: str, words: str) -> None:
    assert clean(text) == words


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left_of_any_text(text: str) -> None:
    assert clean(text) == "" or clean(text).isprintable()
