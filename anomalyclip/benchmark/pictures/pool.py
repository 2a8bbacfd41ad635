"""A pool of drawn pictures: drawn once by several processes, kept in the scratch folder, memory-mapped."""

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from anomalyclip.errors import UsageError
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")

SAMPLES = 512
"""Pictures drawn to check whether a stored pool is still what the code draws."""
CHUNK = 1_000
"""Pictures that a process draws at a time."""


class DrawnPicture(Protocol):
    """Result of a drawing function; see `anomalyclip.benchmark.pictures.illustrations.Picture`."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """RGB, (height, width, 3)."""

    @property
    def concept(self) -> str:
        """Its subject."""

    @property
    def captions(self) -> tuple[str, ...]:
        """Wordings of what it shows."""


DrawPicture = Callable[[int, int], DrawnPicture]
"""Draws the picture of a seed and an index, always the same; a module's function, so that processes find it."""


class PicturePool(NamedTuple):
    """Captioned pictures."""

    pixels: NDArray[np.uint8]
    """RGB, (pictures, height, width, 3); memory-mapped and read-only."""
    captions: list[list[str]]
    concepts: list[str]


def draw_pool(draw: DrawPicture, seed: int, count: int, processes: int | None = None) -> PicturePool:
    """Return the first `count` pictures of a seed, drawing them unless they are in the scratch folder.

    Raises UsageError if there is not enough space.
    """
    folder = scratch() / "pictures" / pool_digest(draw, seed, count)
    if not folder.exists():
        _make_room(folder.parent, count * draw(seed, 0).pixels.nbytes)
        with TemporaryDirectory(dir=folder.parent) as partial_folder:
            _draw_into(Path(partial_folder) / "pool", draw, seed, count, processes or len(os.sched_getaffinity(0)))
            (Path(partial_folder) / "pool").rename(folder)
    table = pl.read_parquet(folder / "captions.parquet")
    pixels: NDArray[np.uint8] = np.load(folder / "pixels.npy", mmap_mode="r")
    return PicturePool(pixels, table["captions"].to_list(), table["concept"].to_list())


def pool_digest(draw: DrawPicture, seed: int, count: int) -> str:
    """Return a name for a pool's content: the hash of a sample of it, drawn again."""
    content = hashlib.sha256(f"{seed} {count}".encode())
    for index in range(0, count, max(1, count // SAMPLES)):
        picture = draw(seed, index)
        content.update(json.dumps([picture.pixels.shape, picture.concept, picture.captions]).encode())
        content.update(picture.pixels.tobytes())
    return content.hexdigest()[:16]


def _draw_into(folder: Path, draw: DrawPicture, seed: int, count: int, processes: int) -> None:
    folder.mkdir()
    shape = (count, *draw(seed, 0).pixels.shape)
    np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    work = partial(_draw_chunk, folder / "pixels.npy", draw, seed)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    log.info("drawing %d pictures", count)
    if min(processes, len(chunks)) == 1:
        tables = [work(chunk) for chunk in chunks]
    else:
        ignore_ctrl_c = (signal.SIGINT, signal.SIG_IGN)  # this process handles it, and ends the others
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(min(processes, len(chunks)), signal.signal, ignore_ctrl_c) as pool:
            tables = pool.map(work, chunks, chunksize=1)
    pl.concat(tables).write_parquet(folder / "captions.parquet")


def _draw_chunk(path: Path, draw: DrawPicture, seed: int, indices: range) -> pl.DataFrame:
    """Draw some pictures into the file, and return the table of what they show."""
    pixels = np.load(path, mmap_mode="r+")
    concepts, captions = [], []
    for index in indices:
        picture = draw(seed, index)
        pixels[index] = picture.pixels
        concepts.append(picture.concept)
        captions.append(list(picture.captions))
    pixels.flush()
    return pl.DataFrame({"concept": concepts, "captions": captions}, schema_overrides={"captions": pl.List(pl.String)})


def _make_room(folder: Path, needed: int) -> None:
    """Make the folder of the pools; raises UsageError unless so many bytes are free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"the pictures need {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free: "
            "set ANOMALYCLIP_SCRATCH, or draw fewer with pictures.count"
        )
