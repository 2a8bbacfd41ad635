"""Sampling of bags and clips: a pure function of seed, epoch, pass and video.

Nothing here depends on what was drawn before, on the number of workers or on restarts.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyclip.config import ModelConfig, TrainingConfig

NORMAL_LABEL = -1


class Bag(NamedTuple):
    """A video with its weak label: the index of its abnormal class, or `NORMAL_LABEL`."""

    video_id: str
    label: int


class Draw(NamedTuple):
    """A bag drawn in an epoch; the pass counts how often its side of the batch has started again."""

    bag: Bag
    pass_: int


class Clip(NamedTuple):
    """The clip of a video for one step."""

    frames: NDArray[np.int64]
    """Indices of stored features, `(segments, frames)`."""
    keep_top: NDArray[np.bool_]
    """False for a segment that segment dropout hides from the top-K selection, `(segments,)`."""
    keep_bottom: NDArray[np.bool_]
    """The same for bottom-K."""
    crop: int
    """Index of the crop of its frames."""
    noise: int
    """Seed of what a method draws for this clip in a step."""


@dataclass(frozen=True)
class Batch:
    """The draws of one step over all workers."""

    abnormal: list[Draw]
    normal: list[Draw]

    def part(self, rank: int, workers: int) -> list[Draw]:
        """Return a worker's draws, its abnormal ones first."""
        return [draw for side in (self.abnormal, self.normal) for draw in _share(side, rank, workers)]


def split_bags(bags: Sequence[Bag]) -> tuple[list[Bag], list[Bag]]:
    """Return the abnormal and the normal bags, each in the order of their ids."""
    # sorted, so that the order of a manifest's rows changes no draw
    ordered = sorted(bags)
    return [bag for bag in ordered if bag.label != NORMAL_LABEL], [bag for bag in ordered if bag.label == NORMAL_LABEL]


def epoch_batches(bags: Sequence[Bag], epoch: int, config: TrainingConfig) -> Iterator[Batch]:
    """Yield the batches of an epoch: half abnormal, half normal, fewer if there are fewer videos of a kind.

    An epoch ends when the longer side has been seen once, without an incomplete batch; the shorter side starts
    again in another order.
    """
    sides = [(side, min(config.half_batch, len(side))) for side in split_bags(bags)]
    streams = [_endless(side, size, (config.seed, epoch, kind)) for kind, (side, size) in enumerate(sides)]
    for _ in range(steps_per_epoch(bags, config)):
        yield Batch(*(next(stream) for stream in streams))


def steps_per_epoch(bags: Sequence[Bag], config: TrainingConfig) -> int:
    """Return the number of batches of an epoch."""
    return max(len(side) // min(config.half_batch, len(side)) for side in split_bags(bags))


def draw_clip(draw: Draw, num_features: int, epoch: int, seed: int, config: ModelConfig, crops: int = 1) -> Clip:
    """Draw a training clip of a video with its segment dropout; `num_features` counts the stored frames."""
    # not Python's hash, which differs from process to process
    video_key = int.from_bytes(hashlib.sha256(draw.bag.video_id.encode()).digest()[:8], "big")
    # a generator per clip: a draw depends on no other, so workers, resumed epochs and one process agree
    generator = np.random.default_rng([seed, epoch, draw.pass_, video_key])
    offsets = generator.integers(0, offset_bound(num_features, config), size=config.segments)
    keep_top = generator.random(config.segments) >= config.top_dropout
    # equal rates share one mask, as in the authors' code
    keep_bottom = keep_top
    if config.bottom_dropout != config.top_dropout:
        keep_bottom = generator.random(config.segments) >= config.bottom_dropout
    crop = int(generator.integers(crops))  # last: the frames and masks do not depend on the number of crops
    noise = int(generator.integers(2**63))
    return Clip(clip_frames(num_features, offsets, config), keep_top, keep_bottom, crop, noise)


def span(config: ModelConfig) -> int:
    """Return the number of stored features from a segment's first frame to its last."""
    return (config.frames_per_segment - 1) * config.stride + 1


def segment_spacing(num_features: int, config: ModelConfig) -> int:
    """Return D, the distance of the earliest starts of neighbouring segments in stored features."""
    shortest = config.segments * config.frames_per_segment * config.stride
    return (max(num_features, shortest) - (config.frames_per_segment - 1)) // config.segments


def offset_bound(num_features: int, config: ModelConfig) -> int:
    """Return the exclusive upper bound of a segment's random offset, at least 1.

    On a short video, segments longer than their number leave no room to move: they overlap and start at their
    earliest position.
    """
    if config.clips == "even":
        return max(1, num_features // config.segments - span(config) + 1)
    return max(1, segment_spacing(num_features, config) - (config.frames_per_segment - 2))


def clip_frames(num_features: int, offsets: NDArray[np.int64], config: ModelConfig) -> NDArray[np.int64]:
    """Return the indices `(segments, frames)` of a clip whose segments start `offsets` after their earliest start."""
    if config.clips == "even":
        # the last segment can reach the last frame; in a short video segments overlap before any frame is repeated
        last = max(0, num_features - span(config) - offset_bound(num_features, config) + 1)
        starts = np.linspace(0, last, config.segments).astype(np.int64) + offsets
        return (starts[:, None] + np.arange(config.frames_per_segment) * config.stride) % num_features
    # over the whole video: nothing less is sure to contain the anomaly that its label promises
    starts = np.arange(config.segments) * segment_spacing(num_features, config) + offsets
    # a video shorter than a clip starts again, as in the authors' code
    return (starts[:, None] + np.arange(config.frames_per_segment) * config.stride) % num_features


def _endless(side: list[Bag], size: int, key: tuple[int, int, int]) -> Iterator[list[Draw]]:
    for pass_ in range(2**31):
        # keyed by the pass, so that the shorter side does not meet the same videos in each of its passes
        order = np.random.default_rng([*key, pass_]).permutation(len(side))
        for start in range(0, len(side) - size + 1, size):
            yield [Draw(side[index], pass_) for index in order[start : start + size]]


def _share(side: list[Draw], rank: int, workers: int) -> list[Draw]:
    size = len(side) // workers
    return side[rank * size : (rank + 1) * size]
