"""Labels of UCSD Ped2's test frames in array files, as they lie beside frames that were passed on without masks.

Known are `testing/test_frame_mask/01.npy` and so on, one array per clip; `frame_labels_ped2.npy`, one array of all test
frames; and `ped2.mat`, the intervals of each clip (`gt`: first and last frame, 1-based), or one array of all frames.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

MASKS, ARRAY, MATLAB = "test_frame_mask", "frame_labels_ped2.npy", "ped2.mat"
Flags = npt.NDArray[np.bool_]


def frame_labels(base: Path, folders: Sequence[Path], counts: Sequence[int]) -> tuple[list[Flags], Path]:
    """Return which frames `(frames,)` of each test clip are anomalous, and the file or folder that states it.

    Args:
        base: the folder that holds `testing`.
        folders: the clips' folders of frames, in order; files of labels have their names.
        counts: the number of frames of each.

    Raises ValueError, one line, if there are no labels, or they do not fit the frames.
    """
    found = [folder / name for name in (MASKS, ARRAY, MATLAB) for folder in (base, base / "testing")]
    source = next((path for path in found if path.exists()), None)
    if source is None:
        raise ValueError(f"{base}: no frame labels: neither testing/{MASKS}/01.npy, nor {ARRAY}, nor {MATLAB}")
    if source.name == MASKS:
        files = [source / f"{folder.name}.npy" for folder in folders]
        return [_labels(file, _load(file), count) for file, count in zip(files, counts, strict=True)], source
    given = _matlab(source) if source.name == MATLAB else _load(source)
    if given.dtype == object:
        return _of_intervals(source, given.ravel(), counts), source
    return np.split(_labels(source, given, sum(counts)), np.cumsum(counts)[:-1]), source


def _load(file: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"{file}: the file is missing") from None
    except Exception as error:  # pickled objects, which are never loaded, and whatever a lying header leads NumPy to
        raise ValueError(f"{file}: no plain .npy array: {' '.join(str(error).split())}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{file}: holds several arrays, not one")
    return array


def _matlab(file: Path) -> npt.NDArray[Any]:
    try:
        variables = {name: value for name, value in loadmat(file).items() if not name.startswith("__")}
    except Exception as error:  # the reader raises whatever the bytes lead it to
        raise ValueError(f"{file}: not readable as MATLAB's format: {' '.join(str(error).split())[:200]}") from None
    if "gt" not in variables and len(variables) != 1:
        raise ValueError(f"{file}: holds {', '.join(variables) or 'nothing'}, not `gt` or one array")
    return np.asarray(variables.get("gt", next(iter(variables.values()))))


def _labels(file: Path, given: npt.NDArray[Any], frames: int) -> Flags:
    if given.dtype.kind not in "biuf" or not np.isin(given, (0, 1)).all():
        raise ValueError(f"{file}: holds other values than 0 and 1")
    if given.size != frames or given.size != max(given.shape, default=0):
        raise ValueError(f"{file}: {given.shape} labels for {frames} frames: their numbers must be equal")
    return given.ravel().astype(np.bool_)


def _of_intervals(file: Path, cells: npt.NDArray[Any], counts: Sequence[int]) -> list[Flags]:
    if len(cells) != len(counts):
        raise ValueError(f"{file}: intervals of {len(cells)} clips for {len(counts)} clips")
    labels = [np.zeros(count, dtype=np.bool_) for count in counts]
    for number, (cell, flags) in enumerate(zip(cells, labels, strict=True), start=1):
        given = np.asarray(cell)
        if given.dtype.kind not in "iuf" or given.ndim != 2 or (given.size and given.shape[0] != 2):
            raise ValueError(f"{file}: clip {number}: not a matrix of two rows, first and last frames")
        for start, end in given.reshape(2, -1).T.tolist():
            if not 1 <= start <= end <= len(flags):
                raise ValueError(f"{file}: clip {number}: interval {start}-{end} lies outside frames 1-{len(flags)}")
            flags[int(start) - 1 : int(end)] = True
    return labels
