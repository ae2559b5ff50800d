# SPDX-License-Identifier: MIT
"""Values as JSON, as close as can be, and arguments of commands as values."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest

from localq.json_text import as_json, from_argument, from_json


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ((1, 2.5, True), "[1,2.5,true]"),
        ("d\u00e9j\u00e0", '"d\u00e9j\u00e0"'),
        ("caf\udce9", '"caf\\udce9"'),
        (10**30, "1" + "0" * 30),
        ({"a": {1}}, '{"a":[1]}'),
        (datetime.date(2024, 2, 29), '"2024-02-29"'),
        (np.arange(4).reshape(2, 2), "[[0,1],[2,3]]"),
        (np.float64(1.5), "1.5"),
        ({"n": np.int64(7)}, '{"n":7}'),
        ("a\nb", '"a\\nb"'),
    ],
)
def test_a_value_is_one_line_of_json(value: object, text: str) -> None:
    assert as_json(value).decode() == text


def test_what_is_not_a_number_is_no_json_number() -> None:
    assert json.loads(as_json([1.0, float("inf")])) == [1.0, None]


@pytest.mark.parametrize("value", [Odd(), [Odd()], {"a": Odd()}, {Odd(): 1}, {(1, 2): 3}])
def test_what_json_cannot_carry_is_refused_or_shown_by_its_repr(value: Any) -> None:
    with pytest.raises(TypeError, match="can't be written as JSON"):
        as_json(value)

    assert json.loads(as_json(value, with_repr=True))


def test_only_the_part_that_json_cannot_carry_is_shown_by_its_repr() -> None:
    assert as_json({"a": [1, Odd()]}, with_repr=True) == b'{"a":[1,"<odd>"]}'


def test_what_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(TypeError, match="can't be written as JSON"):
        as_json(endless)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"1"', "1"),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        (str(10**30), 10**30),
        ("anna", "anna"),
        ("007", "007"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("", ""),
        ("{bad", "{bad"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_an_argument_is_json_where_it_can_be(text: str, value: object) -> None:
    found = from_argument(text)

    assert (found, type(found)) == (value, type(value))


def test_bytes_that_are_no_utf_8_are_no_json() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        from_json(b'"\xe9"')
