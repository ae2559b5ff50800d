# SPDX-License-Identifier: MIT
"""Frames, tables and sparse matrices arrive equal, their columns out of band; a slice of a table goes alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.payloads import carried, everything_aside, packed

np = pytest.importorskip("numpy")


def size_of(value: object) -> int:
    with everything_aside():
        return packed(value).nbytes


# --- pandas ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frame() -> Any:
    pd = pytest.importorskip("pandas")
    count = 10_000
    days = pd.date_range("2020", periods=count, freq="h")
    return pd.DataFrame(
        {
            "whole": np.arange(count),
            "real": np.arange(count) / 7,
            "when": days,
            "there": days.tz_localize("UTC"),
            "long": days - days[0],
            "kind": pd.Categorical(["x", "y"] * (count // 2)),
            "maybe": pd.array([1, None] * (count // 2), dtype="Int64"),
            "text": [f"text {number}" for number in range(count)],
            "any": [(number,) for number in range(count)],
        }
    )


def test_a_frame_arrives_and_can_be_written_to(frame: Any) -> None:
    before = frame.copy(deep=True)
    with everything_aside():
        there = carried({"frame": frame})["frame"]

    assert there.equals(frame)
    assert there.dtypes.equals(frame.dtypes)
    there.loc[3, "whole"] = -1
    there["real"] += 1
    there.iloc[5, 2] = there.iloc[6, 2]
    there.loc[4, "text"] = "other"
    assert frame.equals(before)


def test_columns_of_a_frame_are_not_copied_into_the_pickle(frame: Any) -> None:
    numeric = frame[["whole", "real", "when", "long", "there", "maybe", "kind"]]

    payload = packed(numeric)

    assert sum(map(len, payload.head)) < 10_000
    assert sum(buffer.nbytes for buffer in payload.buffers) >= 10_000 * 8 * 6


@pytest.mark.parametrize(
    "part",
    [
        lambda frame: frame["real"],
        lambda frame: frame[100:200],
        lambda frame: frame[::3],
        lambda frame: frame.set_index(["kind", "whole"]),
        lambda frame: frame.set_index("text").index,
        lambda frame: frame["kind"].array,
        lambda frame: frame[:0],
        lambda frame: frame["when"].dt.to_period("D"),
    ],
)
def test_parts_of_a_frame_arrive(frame: Any, part: Callable[[Any], Any]) -> None:
    value = part(frame)

    with everything_aside():
        there = carried(value)

    assert type(there) is type(value)
    assert there.equals(value)


# --- Arrow ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> Any:
    pa = pytest.importorskip("pyarrow")
    count = 30_000
    return pa.table(
        {
            "whole": np.arange(count),
            "maybe": pa.array([1.5, None, 2] * (count // 3)),
            "text": [f"text {number}" for number in range(count)],
            "kind": pa.array(["x", "y", "z"] * (count // 3)).dictionary_encode(),
            "flag": pa.array([True, None, False] * (count // 3)),
            "list": pa.array([[1, 2], None, []] * (count // 3)),
            "record": pa.array([{"a": 1, "b": "x"}] * count),
        }
    )


NAMES = ("whole", "maybe", "text", "kind", "flag", "list", "record")


def column(name: str, part: slice = slice(None), chunk: bool = False) -> Callable[[Any], Any]:
    return lambda table: (table[name].chunk(0) if chunk else table[name])[part]


PARTS = {
    "the table": lambda table: table,
    "a slice": lambda table: table.slice(1_001, 10),
    "a batch": lambda table: table.to_batches()[0],
    "a slice of a batch": lambda table: table.to_batches()[0].slice(7, 9),
    "a schema": lambda table: table.schema,
    "nothing of it": lambda table: table.slice(5, 0),
    **{f"column {name}": column(name) for name in NAMES},
    **{f"a slice of column {name}": column(name, slice(13, 18)) for name in NAMES},
    **{f"a slice of a chunk of column {name}": column(name, slice(13, 18), chunk=True) for name in NAMES},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("aside", [True, False])
def test_tables_and_their_parts_arrive(table: Any, part: Callable[[Any], Any], aside: bool) -> None:
    value = part(table)

    if aside:
        with everything_aside():
            there = carried([value])[0]
    else:
        there = carried([value])[0]

    assert type(there) is type(value)
    assert there.equals(value)
    if hasattr(there, "validate"):
        there.validate(full=True)


def test_a_whole_table_is_sent_from_where_it_is(table: Any) -> None:
    payload = packed(table)

    assert sum(map(len, payload.head)) < 20_000
    assert sum(buffer.nbytes for buffer in payload.buffers) > 0.95 * table.nbytes


def test_a_slice_takes_only_what_is_in_it_along(table: Any) -> None:
    assert size_of(table.slice(1_000, 10)) < 10_000
    assert size_of(table["text"].slice(5, 5)) < 2_000
    assert size_of(list(table.to_batches(max_chunksize=1_000))) < 1.5 * size_of(table)


def test_a_slice_of_a_frame_over_arrow_takes_only_its_rows_along(frame: Any) -> None:
    pytest.importorskip("pyarrow")
    value = frame.drop(columns="any").convert_dtypes(dtype_backend="pyarrow")

    part = value[500:510]

    assert size_of(part) < 20_000
    assert carried(part).equals(part)


# --- SciPy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["csr", "csc", "coo", "bsr", "dia"])
def test_a_sparse_matrix_arrives(format_: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    value = sparse.eye(3_000, format=format_) * 2

    payload = packed(value)
    there = carried(value)

    assert sum(map(len, payload.head)) < 1_000
    assert (type(there), there.format, there.shape) == (type(value), format_, value.shape)
    assert abs(there - value).sum() == 0
