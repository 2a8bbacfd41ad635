import torch

from anomalyclip.model.collectives import all_gather_rows, all_reduce_sum, rank, world_size


def test_a_worker_alone_has_its_own_tensor() -> None:
    tensor = torch.ones(2, requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert all_reduce_sum(tensor) is tensor
    assert all_gather_rows(tensor) is tensor
