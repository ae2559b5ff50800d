# SPDX-License-Identifier: MIT
"""PyTorch's tensors in main memory: their contents as they are, instead of a file of PyTorch's own within the pickle.

Used by `localq.reducers` when there is one, or one arrives. Those with more to them than contents (gradients, hooks,
attributes, sparse or quantized ones, other devices) go PyTorch's way.
"""

from __future__ import annotations

from _pickle import PickleBuffer
from typing import Any

import torch

__all__ = ["reduce_tensor"]


def reduce_tensor(tensor: Any) -> object:
    """The recipe for a plain tensor, or NotImplemented."""
    if type(tensor) is not torch.Tensor:
        return NotImplemented
    try:
        return (_restore, _layout(tensor)) if _is_plain(tensor) else NotImplemented
    except Exception:  # noqa: BLE001 - another kind of tensor, of another release
        return NotImplemented


def _layout(tensor: Any) -> tuple[object, ...]:
    shape, strides = tuple(tensor.shape), tensor.stride()
    if tensor.numel() == 0:
        return shape, strides, tensor.dtype, None
    dense = tensor.permute(sorted(range(tensor.ndim), key=lambda axis: -strides[axis]))
    if not dense.is_contiguous():
        tensor = dense = tensor.contiguous()
    contents = dense.reshape(-1).view(torch.uint8).numpy()
    return shape, tensor.stride(), tensor.dtype, PickleBuffer(contents)


def _is_plain(tensor: Any) -> bool:
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
        and not getattr(tensor, "has_names", bool)()  # not in every release
        and not vars(tensor)
        and not tensor._backward_hooks
        and not (0 in tensor.stride() and tensor.numel())  # expanded: PyTorch sends it small, and brings it back so
    )


def _restore(shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, contents: Any) -> Any:
    if contents is None:
        return torch.empty_strided(shape, strides, dtype=dtype)
    if memoryview(contents).readonly:  # which PyTorch does not respect: the process would die of a write
        contents = bytearray(contents)
    return torch.frombuffer(contents, dtype=dtype).as_strided(shape, strides)
