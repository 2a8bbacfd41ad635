"""What an extraction needs: GPUs, the CPU cores that feed them, time, space and requests, from measured rates."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyclip.config import ExtractionConfig
from anomalyclip.features.estimate import feature_bytes
from anomalyclip.features.extraction_blocks import BLOCK_FRAMES, BLOCK_VIDEOS

BLOCK_SECONDS = 0.008
"""Of Ray's processes for a block of videos, one block after the other (docs/performance.md)."""
START_SECONDS = 15.0
"""Until the first block is in work: Ray, its workers, and their libraries; 13 s on 16 cores."""
REQUESTS_A_VIDEO = 4
"""Of an object store: the video's size and content, whether its features are there, and writing them."""
SIMULATED_BLOCKS = 50_000
"""More blocks than these are simulated by a part of them, evenly drawn."""
STILL_SCALES = 0.8
"""Part of the ideal speed below which more GPUs are called a waste."""

Frames = NDArray[np.int64]


@dataclass(frozen=True)
class Rates:
    """What one of each does, in frames per second."""

    encode: float
    """A GPU, or a machine without one: stored frames."""
    decode: float
    """A CPU core: frames of the video, stored or not."""


@dataclass(frozen=True)
class Schedule:
    """The end of an extraction on a number of GPUs."""

    gpus: int
    hours: float
    gpu_hours: float
    efficiency: float
    """Part of the speed of so many GPUs that wait for nothing."""


@dataclass(frozen=True)
class Sizing:
    """What footage needs."""

    videos: int
    frames: int
    """To encode."""
    cores_per_gpu: int
    """That decode as fast as a GPU encodes."""
    gigabytes: float
    """Of features."""
    requests: int
    """Of an object store that holds videos and features."""
    schedules: list[Schedule]
    scales_to: int
    """Most GPUs of the schedules that keep 0.8 of their speed; 0 if none does."""

    def cost(self, price: float) -> float:
        """Return the cost of the last schedule at a price per GPU hour."""
        return self.schedules[-1].gpu_hours * price


def size(
    frames: Frames, settings: ExtractionConfig, rates: Rates, dim: int, gpus: Sequence[int], cores_per_gpu: int = 0
) -> Sizing:
    """Return what videos with so many frames each need.

    `dim` is the size of a feature; `cores_per_gpu` are as many as feed a GPU if it is 0.
    """
    step = settings.step
    stored = -(-frames // step)
    feeding = int(np.ceil(rates.encode * step / rates.decode))
    rate = min(rates.encode, (cores_per_gpu or feeding) * rates.decode / step)
    blocks = block_frames(stored, settings.part_frames)
    schedules = [_schedule(blocks, count, rate, rates.decode / step) for count in gpus]
    good = [schedule.gpus for schedule in schedules if schedule.efficiency >= STILL_SCALES]
    return Sizing(
        videos=len(frames),
        frames=int(stored.sum()),
        cores_per_gpu=feeding,
        gigabytes=feature_bytes(int(stored.sum()), settings.crops, dim) / 1e9,
        requests=REQUESTS_A_VIDEO * len(frames),
        schedules=schedules,
        scales_to=max(good, default=0),
    )


def block_frames(stored: Frames, part_frames: int) -> Frames:
    """Return the stored frames of each part of a long video and block of others, in the order of being handed out."""
    whole, left = np.full(int((stored // part_frames).sum()), part_frames), stored % part_frames
    ordered = np.sort(np.concatenate([whole, left[left > 0]]))[::-1]
    alone = ordered[ordered > BLOCK_FRAMES // 2]
    small = ordered[len(alone) :]
    if not len(small):
        return alone
    together = max(1, min(BLOCK_VIDEOS, int(BLOCK_FRAMES / max(1.0, small.mean()))))
    return np.concatenate([alone, np.add.reduceat(small, np.arange(0, len(small), together))])


def simulate(blocks: Frames, gpus: int, rate: float, decode: float) -> float:
    """Return the seconds until GPUs of a rate have done blocks that are handed out one after the other.

    A GPU takes a block when it has done its last one; a block takes at least as long as one core decodes it.
    """
    free = [0.0] * gpus
    end = 0.0
    for number, frames in enumerate(blocks.tolist()):
        handed = number * BLOCK_SECONDS
        done = max(heapq.heappop(free), handed) + frames / rate
        heapq.heappush(free, done)
        end = max(end, done, handed + frames / decode)
    return end


def _schedule(blocks: Frames, gpus: int, rate: float, decode: float) -> Schedule:
    ideal = float(blocks.sum()) / (gpus * rate)
    drawn = blocks
    if len(blocks) > SIMULATED_BLOCKS:
        drawn = blocks[np.linspace(0, len(blocks) - 1, SIMULATED_BLOCKS).astype(np.int64)]
    seconds = START_SECONDS + simulate(drawn, gpus, rate, decode) * (len(blocks) / len(drawn))
    return Schedule(gpus, seconds / 3600, gpus * seconds / 3600, min(1.0, ideal / seconds))
