"""Extraction in this process, without Ray: for one clip, or a few."""

import os
from collections.abc import Sequence

import torch

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.device import ResolvedPrecision
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.store import FeatureStore
from anomalyclip.progress import bar

PATIENCE = 180.0
"""Seconds of work that this process does alone; more is for the workers of a cluster."""
FIRST_LOOK = 10.0
"""Seconds of work before the rest is estimated: as long as workers take to start."""


def extract_here(
    sources: Sequence[str],
    store: FeatureStore,
    backbone: Backbone,
    precision: ResolvedPrecision,
    device: torch.device,
    settings: ExtractionConfig,
    decoder: Decoder,
    retry: bool = False,
) -> list[str]:
    """Extract the videos that the store lacks, the smallest first, and return those left for a cluster.

    They are left when the work to do would take longer than `PATIENCE`, by the bytes per second so far. One video is
    always done here: no cluster would be faster. Each video is in the index as soon as it is done. `retry` tries
    quarantined videos again.
    """
    missing = store.missing(sources, retry).sort("size")
    if missing.is_empty() or (missing.height > 1 and "RAY_ADDRESS" in os.environ):
        return missing["video"].to_list()
    encoder = FrameEncoder(backbone, precision, device, settings.crops)
    seconds, done = 0.0, 0
    with store.merging(), bar(missing.height, "videos") as shown:
        for number, source in enumerate(missing["video"]):
            left = int(missing["size"][number:].clip(0).sum())
            seconds_left = seconds * left / done if done and seconds >= FIRST_LOOK else None
            if seconds_left is not None and seconds_left > PATIENCE and number < missing.height - 1:
                return missing["video"][number:].to_list()
            shown.update(number, f"{number + 1} of {missing.height}", seconds_left)
            result = extract_video(source, encoder, store, settings, decoder)
            store.record([result])
            if result.error is None:
                seconds, done = seconds + result.seconds, done + result.size
    return []
