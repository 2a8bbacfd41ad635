"""Sums and gathers over data-parallel workers, with a gradient; for one worker, its own tensor."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Return the number of data-parallel workers, 1 if there is no process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this worker's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def share_buffers(model: nn.Module) -> None:
    """Give every worker the first one's buffers: machines may round differently what they compute of the same data."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all workers; the gradient is summed over them too."""
    return tensor if world_size() == 1 else _AllReduceSum.apply(tensor)  # type: ignore[no-untyped-call]


def all_gather_rows(tensor: Tensor) -> Tensor:
    """Return the rows `(rows, ...)` of all workers in the order of their ranks; equal shapes on every worker."""
    return tensor if world_size() == 1 else _AllGatherRows.apply(tensor)  # type: ignore[no-untyped-call]


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        # a copy: all_reduce writes in place, and the caller still uses its tensor
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _AllGatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        # dist.all_gather itself has no gradient: the loss of the whole batch could not reach this worker's model
        ctx.rows = len(tensor)
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # summed, although every worker has the same loss: data-parallel averaging then divides by their number
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[rank() * ctx.rows : (rank() + 1) * ctx.rows]
