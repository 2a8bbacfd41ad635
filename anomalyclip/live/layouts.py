"""Layouts of a live window: which past features a window is made of, when it moves, and which of its scores count."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyclip.config import ModelConfig
from anomalyclip.evaluation.parts import part_lengths
from anomalyclip.model.bundle import ModelCard

HOP, DELAY = 16, 8
"""Of the default, in frames of a camera."""


@dataclass(frozen=True)
class Layout:
    """Where the segments of a window lie, in stored features of a camera.

    As long as fewer features than `span` came, a window holds all there are, as that of a short video does.
    """

    span: int
    """Newest features that a window is made of."""
    hop: int
    """New features after which the window moves."""
    delay: int = 0
    """Newest features of a window whose scores do not count yet: a score that counts has seen so much future."""
    least: int = 1
    """Features before the first window: fewer are too short a video."""
    recent: int | None = None
    """None: all of `span`, as windows of a video of this length (`video_windows`). Else one window only: its newest
    segments, so many, follow each other up to the newest feature, the others are spread evenly over the rest."""

    def fault(self, config: ModelConfig) -> str | None:
        """Return why a frame would have left the window before its score counts; None if none would."""
        if min(self.hop, self.least) < 1 or self.delay < 0:
            return f"{self}: hop and least must be at least 1, delay at least 0"
        if -(-self.least // self.hop) * self.hop + self.delay > self.span:
            return f"{self}: the first multiple of hop from least on, and delay, must fit into span"
        newest = (self.recent or 0) * config.frames_per_segment * config.stride
        if self.recent is not None and not self.hop + self.delay <= newest < window_length(config):
            return f"{self}: hop and delay must fit into the recent segments, which are fewer than {config.segments}"
        return None

    def places(self, count: int, config: ModelConfig) -> NDArray[np.int64] | None:
        """Return which of `count` features, in order of time, a window is made of; None for all."""
        segment, recent = config.frames_per_segment * config.stride, self.recent
        if recent is None or count <= config.segments * segment:
            return None
        newest = np.arange(count - recent * segment, count)
        starts = np.linspace(0, newest[0] - segment, config.segments - recent).round().astype(np.int64)
        return np.concatenate([(starts[:, None] + np.arange(segment)).ravel(), newest])


def window_length(config: ModelConfig) -> int:
    """Return the stored features of one window without a gap."""
    return config.segments * config.frames_per_segment * config.stride


def default_layout(card: ModelCard) -> Layout:
    """Return the layout of a model: a window is as long as the median training video, in whole windows.

    It moves every 16 frames of the camera, and scores count that have seen 8 more (`docs/live.md`).
    """
    lengths = part_lengths(card.lengths, card.model)
    span = lengths.part if lengths else window_length(card.model)
    hop, delay = (max(1, min(frames // (card.sampling_rate or 1), span // 4)) for frames in (HOP, DELAY))
    return Layout(span, hop, delay, least=hop)
