import gc
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from anomalyclip.config import BackboneConfig, ModelConfig, RunConfig, TrainingConfig
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.training.sampling import NORMAL_LABEL, Bag
from anomalyclip.training.setup import build_model

CLASSES = ["Arson", "Fighting", "Normal"]
DIM = 64


class MemoryCache:
    """The part of a feature cache that training reads, on features drawn by video id."""

    dim = DIM

    def __init__(self, bags: Sequence[Bag], crops: int = 1) -> None:
        self._features = {
            bag.video_id: np.random.default_rng(index).normal(size=(90 + 40 * index, crops, DIM)).astype(np.float16)
            for index, bag in enumerate(bags)
        }
        for bag in bags:
            if bag.label != NORMAL_LABEL:
                self._features[bag.video_id][20:60, :, bag.label] += 3

    def num_frames(self, video_id: str) -> int:
        return len(self._features[video_id])

    def video_frames(self, video_id: str) -> int:
        return self.num_frames(video_id)

    def crops(self, video_id: str) -> int:
        return self._features[video_id].shape[1]

    def video(self, video_id: str) -> np.ndarray:
        return self._features[video_id]

    def gather(self, video_id: str, frames: np.ndarray, crop: int, out: np.ndarray | None = None) -> np.ndarray:
        found = self._features[video_id][frames, crop]
        if out is None:
            return found
        out[:] = found
        return out


@pytest.fixture(scope="session")
def bags() -> list[Bag]:
    return [Bag(f"a{i}", i % 2) for i in range(9)] + [Bag(f"n{i}", NORMAL_LABEL) for i in range(6)]


@pytest.fixture(scope="session")
def cache(bags: list[Bag]) -> MemoryCache:
    return MemoryCache(bags)


@pytest.fixture(scope="session")
def cropped_cache(bags: list[Bag]) -> MemoryCache:
    """The same videos in five crops of features of their own."""
    return MemoryCache(bags, crops=5)


@pytest.fixture(scope="session")
def config() -> RunConfig:
    return RunConfig(
        model=ModelConfig(embedding_dim=16, heads=2, concat_logits=True),
        training=TrainingConfig(epochs=3, warmup_epochs=1, learning_rate=1e-3, batch_size=8, seed=7),
    )


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return load_backbone(BackboneConfig())


@pytest.fixture
def new_model(backbone: Backbone, config: RunConfig) -> Callable[[], AnomalyCLIP]:
    return lambda: build_model(CLASSES, backbone, torch.zeros(DIM), config)


@pytest.fixture(scope="session")
def run_workers() -> Callable[..., None]:
    """Return `run(workers, function, *arguments)`: the function in so many processes, of one process group."""

    def run(workers: int, function: Callable[..., None], *arguments: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        gc.collect()
        gc.freeze()  # the remains of an earlier test's Ray crash a forked process that collects them
        try:
            mp.start_processes(_worker, (workers, port, function, arguments), nprocs=workers, start_method="fork")
        finally:
            gc.unfreeze()

    return run


def _worker(rank: int, workers: int, port: int, function: Callable[..., None], arguments: Sequence[Any]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group("gloo", rank=rank, world_size=workers)
    function(*arguments)
    gc.collect()  # a process group that outlives its end in a model's hands can hang
    if workers > 1:
        dist.barrier()
        dist.destroy_process_group()
