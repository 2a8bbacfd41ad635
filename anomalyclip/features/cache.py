"""Feature cache of a node: flat, memory-mapped files shared by all its processes."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from anomalyclip.errors import UsageError, first_names
from anomalyclip.features.feature_file import Features
from anomalyclip.features.store import FeatureStore
from anomalyclip.settings import digest
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")

SHARD_BYTES = 2**33
"""A shard ends with the video that reaches this size."""

_LAYOUT = "2"
_INDEX = "index.parquet"
_SUMS = "sums.npy"
_PARTIAL = ".partial"


class FeatureCache:
    """Features by video_id, (frames, crops, dim) float16 each, as views of memory-mapped files.

    Created by `build`; while the object exists, no process of the node removes its files.
    """

    def __init__(self, folder: Path, videos: pl.DataFrame, lock: int) -> None:
        self.folder = folder
        self._lock = lock
        self._video_frames = dict(videos.select("video_id", "num_frames").iter_rows())
        index = pl.read_parquet(folder / _INDEX)
        sums = np.load(folder / _SUMS, mmap_mode="r")
        self.dim = int(sums.shape[1])
        shards = [
            np.memmap(folder / _shard(number), np.float16, "r").reshape(-1, self.dim)
            for number in range(int(index["shard"].max()) + 1)  # type: ignore[arg-type]
        ]
        rows = {row["hash"]: (number, row) for number, row in enumerate(index.iter_rows(named=True))}
        self._features: dict[str, Features] = {}
        self._sums: dict[str, NDArray[np.float64]] = {}
        for video_id, content in videos.select("video_id", "hash").iter_rows():
            number, row = rows[content]
            start, rows_of_video = row["offset"], row["frames"] * row["crops"]
            flat = shards[row["shard"]][start : start + rows_of_video]
            self._features[video_id] = flat.reshape(row["frames"], row["crops"], self.dim)
            self._sums[video_id] = sums[number]

    def __del__(self) -> None:
        os.close(self._lock)

    @classmethod
    def build(cls, store: FeatureStore, sources: Mapping[str, str], max_gigabytes: float) -> "FeatureCache":
        """Return the cache of the videos (video_id to source), built by the first process that needs it.

        Other processes of the node wait. The least recently used caches are removed if all exceed `max_gigabytes`.
        Raises UsageError for videos without features, and if the limit or the disk is too small.
        """
        wanted = _wanted(store, sources)
        contents = wanted.unique("hash").sort("hash")
        name = digest(_LAYOUT, store.fingerprint, contents["hash"].to_list())
        folder = scratch() / "cache" / name
        folder.parent.mkdir(exist_ok=True)
        lock = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)  # held while the cache is in use
            # one build at a time on a node: two would count the same free space
            with FileLock(folder.parent / "build.lock"):
                if not folder.is_dir():
                    _build(store, contents, folder, max_gigabytes * 1e9)
                # eviction is by last use, and file systems often do not keep access times
                os.utime(folder)
        except BaseException:
            os.close(lock)
            raise
        return cls(folder, wanted, lock)

    def num_frames(self, video_id: str) -> int:
        """Return the number of stored frames of a video."""
        return len(self._features[video_id])

    def video_frames(self, video_id: str) -> int:
        """Return the number of frames of the decoded video; with a sampling rate above 1, fewer are stored."""
        return int(self._video_frames[video_id])

    def crops(self, video_id: str) -> int:
        """Return the number of crops of each of a video's frames."""
        return self._features[video_id].shape[1]

    def video(self, video_id: str) -> Features:
        """Return a video's features (frames, crops, dim), a read-only view."""
        return self._features[video_id]

    def gather(
        self, video_id: str, frame_indices: NDArray[np.int64], crop: int, out: Features | None = None
    ) -> Features:
        """Return the features (..., dim) of a crop at indices (...) into a video's stored frames, in `out` if given."""
        features = self._features[video_id]
        rows = features.reshape(-1, self.dim)
        # rows are copied whole, and into the result itself: "raise" would fill a copy of it first
        if frame_indices.min() < 0 or frame_indices.max() >= len(features):
            raise IndexError(f"{video_id} has {len(features)} stored frames")
        places = frame_indices * features.shape[1] + crop
        return np.take(rows, places, axis=0, out=out, mode="clip")

    def feature_sum(self, video_id: str) -> NDArray[np.float64]:
        """Return the sum (dim,) of a video's features, those of all crops."""
        return np.asarray(self._sums[video_id])


def idle_caches(caches: Path, before: float) -> list[Path]:
    """Return the caches that no process of this node uses and that were used last before a time (seconds since 1970).

    Remains of killed builds are included.
    """
    folders = sorted(path for path in caches.glob("*") if path.is_dir())
    return [folder for folder in folders if folder.stat().st_mtime < before and not is_in_use(folder)]


def is_in_use(folder: Path) -> bool:
    """Return whether a process of this node uses or builds a cache."""
    with _unused(folder) as unused:
        return not unused


def remove_cache(folder: Path) -> bool:
    """Remove a cache, or the remains of a killed build, unless a process uses it; returns whether it was removed."""
    try:
        with FileLock(folder.parent / "build.lock", timeout=0):
            return _remove(folder)
    except Timeout:  # a build may need it at any moment
        return False


def _wanted(store: FeatureStore, sources: Mapping[str, str]) -> pl.DataFrame:
    """Return video_id, hash, object, frames and num_frames; UsageError that names the videos without features."""
    videos = pl.DataFrame(list(sources.items()), schema=["video_id", "video"], orient="row")
    found = videos.join(store.index(), on="video", how="left", maintain_order="left")
    missing = found.filter(pl.col("hash").is_null())["video_id"].to_list()
    if missing or not sources:
        raise UsageError(
            f"{len(missing)} of {len(sources)} videos have no features in {store.storage.uri(store.key)}: "
            f"{first_names(missing) or 'there are none'}; run extract first, or leave out the quarantined videos"
        )
    return found.select("video_id", "hash", "object", "frames", "num_frames")


def _build(store: FeatureStore, contents: pl.DataFrame, folder: Path, limit: float) -> None:
    _, crops, dim = next(store.iterate(contents.item(0, "object"))).shape
    for killed in folder.parent.glob(f"*{_PARTIAL}"):  # one build at a time: this one
        shutil.rmtree(killed)
    _make_room(folder.parent, int(contents["frames"].sum()) * crops * dim * 2, limit)
    log.info("building the feature cache %s of %d videos", folder, len(contents))
    partial = folder.with_suffix(_PARTIAL)
    partial.mkdir()
    rows, sums = [], np.zeros((len(contents), dim))
    shard = offset = 0
    for number, (content, key) in enumerate(contents.select("hash", "object").iter_rows()):
        frames = 0
        with (partial / _shard(shard)).open("ab") as file:
            for features in store.iterate(key):
                features.tofile(file)
                # in float64: the prototype is a mean over all normal frames, too many for the digits of float16
                sums[number] += features.sum(axis=(0, 1), dtype=np.float64)
                frames, crops = frames + len(features), features.shape[1]
        rows.append({"hash": content, "shard": shard, "offset": offset, "frames": frames, "crops": crops})
        offset += frames * crops
        # a video is never split: its features are one view of one file
        if offset * dim * 2 >= SHARD_BYTES:
            shard, offset = shard + 1, 0
    pl.DataFrame(rows).write_parquet(partial / _INDEX)
    np.save(partial / _SUMS, sums)
    # renamed when whole: a killed build leaves a partial folder, which the next build removes
    partial.rename(folder)


def _make_room(caches: Path, needed: int, limit: float) -> None:
    """Remove the least recently used caches, never one in use, until `needed` bytes fit."""
    if needed > limit:
        raise UsageError(f"the features need {needed / 1e9:.1f} GB of cache: raise cache.max_gigabytes={limit / 1e9:g}")
    folders = [path for path in caches.iterdir() if path.is_dir()]
    sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in folders}
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime):
        if sum(sizes.values()) + needed <= limit:
            break
        if _remove(folder):
            del sizes[folder]
    free = shutil.disk_usage(caches).free
    if needed > free:
        raise UsageError(f"the feature cache needs {needed / 1e9:.1f} GB in {caches}: {free / 1e9:.1f} GB are free")


def _remove(folder: Path) -> bool:
    """Remove a cache unless a process uses it; returns whether it was removed. A killed removal leaves no cache."""
    killed = folder.with_suffix(_PARTIAL)
    with _unused(folder) as unused:
        if unused:
            if folder != killed:
                shutil.rmtree(killed, ignore_errors=True)
            # renamed before it is removed: a half-removed folder would look like a cache
            shutil.rmtree(folder.rename(killed))
    return unused


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Yield whether no process uses a cache, and keep new ones out."""
    with folder.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _shard(number: int) -> str:
    return f"features-{number:05}.bin"
