"""NumPy feature files: one `.npy` file per video, or one per crop (`NAME__0.npy` to `NAME__9.npy`)."""

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyclip.features.feature_file import Features

ROWS_AT_ONCE = 4096
MAX_CROPS = 127

_CROP = re.compile(r"(?P<name>.+)__(?P<crop>\d{1,2})")
_VIDEO_SUFFIX = re.compile(r"\.(mp4|avi|mkv|mov|webm)$", re.IGNORECASE)


@dataclass(frozen=True)
class NumpyFeatures:
    """One video's features, opened but not read: an array `(frames, crops, dim)` per file, or a view of one."""

    name: str
    """Of the video, by the name of the files."""
    files: tuple[Path, ...]
    arrays: tuple[NDArray[Any], ...]
    """One `(frames, crops, dim)`, or one `(frames, 1, dim)` per crop; memory-mapped."""

    @property
    def frames(self) -> int:
        """Stored features per crop."""
        return len(self.arrays[0])

    @property
    def crops(self) -> int:
        """Crops per frame."""
        return len(self.arrays) * int(self.arrays[0].shape[1])

    @property
    def dim(self) -> int:
        """Size of a feature."""
        return int(self.arrays[0].shape[2])

    def batches(self) -> Iterator[Features]:
        """Yield float16 features (frames, crops, dim); raises ValueError for a number that float16 cannot hold."""
        step = max(1, ROWS_AT_ONCE // self.crops)
        for start in range(0, self.frames, step):
            given = np.concatenate([array[start : start + step] for array in self.arrays], axis=1)
            with np.errstate(over="ignore"):
                stored = given.astype(np.float16)
            if not (finite := np.isfinite(stored)).all():
                frame, crop, _ = np.argwhere(~finite)[0]
                value = given[~finite][0]
                reason = "beyond float16 (65504)" if np.isfinite(value) else "not finite"
                raise ValueError(f"{value:g} at frame {start + frame}{f', crop {crop}' if crop else ''} is {reason}")
            yield stored


def group_files(files: Iterable[Path], videos: Container[str]) -> dict[str, list[Path]]:
    """Return the files of each video by its name, those of several crops in the order of the crops.

    `videos` are the known names: one of them that ends like a crop's name is not a crop.
    """
    groups: dict[str, list[tuple[int, Path]]] = {}
    for file in files:
        name, crop = _VIDEO_SUFFIX.sub("", file.stem), 0
        if name not in videos and (match := _CROP.fullmatch(file.stem)):
            name, crop = _VIDEO_SUFFIX.sub("", match["name"]), int(match["crop"])
        groups.setdefault(name, []).append((crop, file))
    return {name: [file for _, file in sorted(group)] for name, group in groups.items()}


def open_features(name: str, files: Iterable[Path], crops: int | None) -> NumpyFeatures:
    """Open a video's files without reading them; raises ValueError with the fault.

    An array is `(frames, dim)`, or `(crops, frames, dim)`, or with `crops` given `(frames * crops, dim)`, the crops of
    a frame after each other.
    """
    paths = tuple(files)
    arrays = tuple(_open(path) for path in paths)
    arrays = _by_file(paths, arrays, crops) if len(paths) > 1 else (_by_crop(arrays[0], crops),)
    features = NumpyFeatures(name, paths, arrays)
    if not features.frames or not features.dim:
        raise ValueError(f"its shape {arrays[0].shape} holds no features")
    if features.crops > MAX_CROPS:
        raise ValueError(f"{features.crops} crops: at most {MAX_CROPS} can be stored")
    return features


def _open(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    except Exception as error:  # pickled objects, which are never loaded, and whatever a lying header leads NumPy to
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"is no plain .npy array: {reason}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise ValueError(f"holds {getattr(array, 'dtype', 'several arrays')}, not floating-point features")
    return array


def _by_file(paths: tuple[Path, ...], arrays: tuple[NDArray[Any], ...], crops: int | None) -> tuple[NDArray[Any], ...]:
    endings = [_CROP.fullmatch(path.stem) for path in paths]
    if [match and int(match["crop"]) for match in endings] != list(range(len(paths))):
        raise ValueError(f"{', '.join(path.name for path in paths)} are not one file per crop, numbered from 0")
    if crops not in (None, len(paths)):
        raise ValueError(f"{len(paths)} files, one per crop, but --crops is {crops}")
    if arrays[0].ndim != 2 or any(array.shape != arrays[0].shape for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"its crops have the shapes {shapes}: all must be the same (frames, dim)")
    return tuple(array[:, None] for array in arrays)


def _by_crop(array: NDArray[Any], crops: int | None) -> NDArray[Any]:
    if array.ndim == 3:
        if crops not in (None, array.shape[0]):
            raise ValueError(f"its shape {array.shape} must be (crops, frames, dim), but --crops is {crops}")
        return array.swapaxes(0, 1)
    if array.ndim != 2:
        raise ValueError(f"its shape {array.shape} is neither (frames, dim) nor (crops, frames, dim)")
    if len(array) % (crops or 1):
        raise ValueError(f"its {len(array)} rows are not a multiple of {crops} crops")
    return array.reshape(-1, crops or 1, array.shape[1])
