# SPDX-License-Identifier: MIT
"""Arrays that map a file arrive mapping the same file, as long as it is the same."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from localq.payload import Payload
from localq.pickling import pack
from tests.support.payloads import carried

np = pytest.importorskip("numpy")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers with a\nstrange name"
    np.arange(100_000.0).tofile(path)
    return path


def goes_by_name(array: Any) -> bool:
    """A megabyte that fits into so little was not copied."""
    payload = pack(array)
    return not isinstance(payload, Payload) and len(payload) < 700


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_it_arrives_as_a_mapping_of_the_same_file(file: Path, mode: Any) -> None:
    array = np.memmap(file, "f8", mode, offset=80, shape=(100, 900))

    there = carried([array])[0]

    assert goes_by_name(array)
    assert (type(there), there.mode, there.offset, there.filename) == (np.memmap, mode, 80, array.filename)
    assert (there.shape, there.dtype, there.flags.writeable) == (array.shape, array.dtype, mode == "r+")
    assert np.array_equal(there, array)


def test_writes_reach_everybody(file: Path) -> None:
    array = np.memmap(file, "f8", "r+")

    there = carried(array)
    there[5] = -1

    assert array[5] == -1
    assert np.fromfile(file)[5] == -1


def test_a_new_file_is_not_emptied_by_its_arrival(tmp_path: Path) -> None:
    array = np.memmap(tmp_path / "new", "i4", "w+", shape=(1000,))
    array[:] = 7

    there = carried(array)

    assert (there.mode, set(there.tolist())) == ("r+", {7})


@pytest.mark.parametrize(
    "part",
    [
        np.s_[10:20],
        np.s_[::-2],
        np.s_[:, 3],
        np.s_[50:10:-3, ::7],
        np.s_[99, 899:],
        np.s_[..., None],
    ],
    ids=str,
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_part_arrives_as_that_part(file: Path, part: Any, order: Any) -> None:
    array = np.memmap(file, "f8", "r+", offset=4096 * 3 + 8, shape=(100, 900), order=order)[part]

    there = carried(array)

    assert goes_by_name(array)
    assert (type(there), there.shape, there.strides) == (np.memmap, array.shape, array.strides)
    assert np.array_equal(there, array)
    there[...] = 1
    assert (array == 1).all()
    again = carried(there)
    assert goes_by_name(there)
    assert np.array_equal(again, array)


def test_a_part_of_structures_arrives(file: Path) -> None:
    array = np.memmap(file, [("a", "i4"), ("b", "f4")], "r")["b"]

    there = carried(array)

    assert goes_by_name(array)
    assert there.tobytes() == array.tobytes()


def test_a_part_that_was_made_read_only_stays_so(file: Path) -> None:
    array = np.memmap(file, "f8", "r+")[3:]
    array.flags.writeable = False

    there = carried(array)

    assert (goes_by_name(array), there.flags.writeable) == (True, False)


@pytest.mark.parametrize(
    "make",
    [
        lambda file: np.memmap(file, "f8", "c"),
        lambda file: np.memmap(file, "f8", "r") + 1,  # a result, still of that class
        lambda file: np.asarray(np.memmap(file, "f8", "r")),
        lambda file: np.memmap(file, "f8", "r")[[1, 2, 3] * 1000],
        lambda file: np.memmap(file, "f8", "r")[5:5],
    ],
    ids=["private", "a result", "a plain array", "picked", "nothing"],
)
def test_what_maps_no_file_that_others_can_map_goes_by_value(file: Path, make: Any) -> None:
    array = make(file)
    payload = pack(array)

    there = carried(array)

    assert (type(there), there.shape) == (type(array), array.shape)
    assert np.array_equal(there, array)
    assert array.size == 0 or isinstance(payload, Payload)
    assert getattr(there, "_mmap", None) is None


@pytest.mark.parametrize("what", ["removed", "replaced", "replaced by a link", "renamed"])
def test_a_file_that_is_not_the_one_mapped_is_not_named(file: Path, what: str) -> None:
    array = np.memmap(file, "f8", "r")
    before = array.copy()
    if what == "renamed":
        file.rename(file.with_name("other"))
    else:
        file.unlink()
    if what.startswith("replaced"):
        other = file.with_name("other")
        np.zeros(100_000).tofile(other)
        if "link" in what:
            file.symlink_to(other)
        else:
            other.rename(file)

    there = carried(array)

    assert not goes_by_name(array)
    assert np.array_equal(there, before)


def test_a_link_to_the_file_is_as_good_as_its_name(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    array = np.memmap(str(link), "f8", "r")

    assert goes_by_name(array)
    assert np.array_equal(carried(array), array)


@pytest.mark.parametrize(
    ("what", "message"), [("replaced", "was replaced"), ("cut", "was cut"), ("removed", "No such")]
)
def test_a_file_that_changed_on_the_way_is_an_error(file: Path, what: str, message: str) -> None:
    payload: Any = pack(np.memmap(file, "f8", "r+"))
    size = file.stat().st_size
    if what == "cut":
        os.truncate(file, 10_000)
    else:
        file.rename(file.with_name("other"))
    if what == "replaced":
        file.write_bytes(bytes(size))

    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pickle.loads(payload)

    assert what != "cut" or file.stat().st_size == 10_000


def test_a_file_given_open_goes_by_its_name(file: Path) -> None:
    with open(file, "rb") as opened:
        array = np.memmap(opened, "f8", "r")

    assert goes_by_name(array)
    assert np.array_equal(carried(array), array)


def test_no_descriptor_stays_open(file: Path) -> None:
    array = np.memmap(file, "f8", "r")
    before = len(os.listdir("/proc/self/fd"))

    kept = [carried(array)]
    kept.clear()

    assert len(os.listdir("/proc/self/fd")) == before
