"""Blocks of videos that a worker of a cluster takes together: by what they cost, the largest first."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from anomalyclip.features.sources import ABSENT, first_bytes

BLOCK_FRAMES, BLOCK_VIDEOS = 2000, 64
"""Frames above which a block gets no more videos, and the most videos of one: a block costs Ray about 8 ms on busy
cores, and its results come when it is done."""
BYTES_A_FRAME = 4096
"""Of surveillance video, for videos whose frames are not known before."""
BLOCKS_A_SLOT = 8
"""Blocks for each video that is in work at a time, so that workers end together."""


def blocks(missing: pl.DataFrame, slots: int) -> Iterator[list[str]]:
    """Yield the sources of blocks of videos, of which `slots` are in work at a time.

    `missing` has the columns video, size (bytes) and frames: to encode, null if not known before.
    """
    # largest first: a long video started last would keep one worker busy while the others wait
    ordered = missing.sort("size", descending=True, maintain_order=True).with_columns(cost=likely_frames())
    most = min(BLOCK_FRAMES, int(ordered["cost"].sum()) // (slots * BLOCKS_A_SLOT))
    videos = min(BLOCK_VIDEOS, max(1, ordered.height // (slots * BLOCKS_A_SLOT)))
    block, cost = list[str](), 0
    for group, group_cost in _groups(ordered):
        if block and (cost + group_cost > most or len(block) + len(group) > videos):
            yield block
            block, cost = [], 0
        block, cost = block + group, cost + group_cost
    if block:
        yield block


def likely_frames(known: str = "frames", bytes_a_frame: int | pl.Expr = BYTES_A_FRAME) -> pl.Expr:
    """The frames of videos: those of a column, where they are null by the column `size` (bytes)."""
    return pl.col(known).fill_null(pl.col("size").clip(0) // bytes_a_frame)


def _groups(ordered: pl.DataFrame) -> list[tuple[list[str], int]]:
    """Return sources that stay together and their cost: one, or several that look like the same content."""
    shared = set(ordered.filter(pl.col("size").is_duplicated())["video"])
    groups: dict[Any, list[str]] = {}
    costs: dict[Any, int] = {}
    for source, size, cost in ordered.select("video", "size", "cost").iter_rows():
        # copies go to one worker, one after the other: side by side, each would be decoded and encoded
        same = (size, first_bytes(source)) if source in shared and size != ABSENT.size else source
        groups.setdefault(same, []).append(source)
        costs.setdefault(same, cost)
    return list(zip(groups.values(), costs.values(), strict=True))
