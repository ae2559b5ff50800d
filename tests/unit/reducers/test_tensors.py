# SPDX-License-Identifier: MIT
"""PyTorch's tensors arrive equal, of the same dtype and strides; plain ones out of band, the others PyTorch's way."""

from __future__ import annotations

from typing import Any

import pytest

from localq.pickling import pack, unpack
from tests.support.payloads import Arrived, carried, everything_aside, packed

torch = pytest.importorskip("torch", exc_type=ImportError)
torch.set_num_threads(1)  # it keeps those it has once started


def numbers(*shape: int) -> Any:
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


PLAIN = {
    "of floats": lambda: numbers(100, 100),
    "transposed": lambda: numbers(100, 50).T,
    "of images, channels last": lambda: numbers(2, 3, 40, 50).contiguous(memory_format=torch.channels_last),
    "of bfloat16": lambda: numbers(100, 100).bfloat16(),
    "of bools": lambda: numbers(100, 100) > 50,
    "of complex numbers": lambda: numbers(100, 100) + 1j,
    "a row": lambda: numbers(10, 3000)[5],
    "of inference": lambda: torch.inference_mode()(numbers)(100, 100),
}


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_a_plain_tensor_is_sent_from_where_it_is(make: Any) -> None:
    tensor = make()

    (buffer,) = packed([tensor]).buffers
    there = carried([tensor])[0]

    assert buffer.nbytes == tensor.numel() * tensor.element_size()
    assert torch.frombuffer(buffer, dtype=torch.uint8).data_ptr() == tensor.data_ptr()
    assert (type(there), there.dtype, there.stride()) == (torch.Tensor, tensor.dtype, tensor.stride())
    assert torch.equal(there, tensor)
    there[0] = 0  # in memory of its own


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_what_arrived_in_memory_that_nobody_may_write_to_is_a_copy(make: Any) -> None:
    tensor = make()
    arrived = Arrived(packed(tensor))

    there = unpack(arrived.head, [buffer.toreadonly() for buffer in arrived.buffers])
    there[0] = 1

    assert not torch.equal(unpack(arrived.head, arrived.buffers), there)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.tensor(3.5),
        lambda: torch.empty(0, 3),
        lambda: torch.empty(3, 0).T,
        lambda: numbers(50, 40)[::2, 3::5],
        lambda: numbers(1, 100).expand(50, 100),
        lambda: (numbers(10, 10) + 1j).conj(),
        lambda: torch.randint(0, 9, (50,), dtype=torch.uint8),
        lambda: numbers(20, 20).requires_grad_(),
        lambda: torch.nn.Parameter(numbers(20, 20)),
        lambda: torch.nn.Parameter(numbers(20, 20), requires_grad=False),
    ],
)
def test_other_tensors_arrive_equal_too(make: Any) -> None:
    tensor = make()

    with everything_aside():
        there = carried([tensor])[0]

    assert (type(there), there.dtype, there.shape) == (type(tensor), tensor.dtype, tensor.shape)
    assert torch.equal(there, tensor)
    assert (there.requires_grad, there.is_conj()) == (tensor.requires_grad, tensor.is_conj())


def test_sparse_tensors_and_modules_arrive() -> None:
    sparse, module = numbers(30, 30).to_sparse(), torch.nn.Linear(100, 100)

    there_sparse, there_module = carried([sparse, module])

    assert torch.equal(there_sparse.to_dense(), sparse.to_dense())
    assert all(map(torch.equal, there_module.parameters(), module.parameters()))
    assert sum(len(piece) for piece in packed(module).head) < 5_000


def test_attributes_of_a_tensor_are_not_lost() -> None:
    tensor = numbers(3)
    tensor.unit = "m"

    assert carried(tensor).unit == "m"


def test_one_tensor_twice_stays_one() -> None:
    tensor = numbers(3)

    first, second = carried([tensor, tensor])

    assert first is second


def test_what_is_not_a_tensor_goes_torchs_way() -> None:
    value = [torch.float32, torch.Size([1, 2]), torch.device("cpu"), torch.add]

    assert isinstance(pack(value), bytes)
    assert carried(value) == value
