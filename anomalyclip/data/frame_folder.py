"""Folders of pictures as videos: one frame per picture, in natural order of the names."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from cv2.utils import logging
from numpy.typing import NDArray

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")

PIXELS_VARIABLE, TOO_MANY_PIXELS = "OPENCV_IO_MAX_IMAGE_PIXELS", "CV_IO_MAX_IMAGE_PIXELS"
"""OpenCV's bound on pixels, an environment variable that it reads when it is loaded, and its name in the error."""

Pixels = NDArray[np.uint8]


class PictureError(Exception):
    """A picture that cannot be a frame; the message is one line and names the file."""


def natural_order(name: str) -> tuple[list[int | str], str]:
    """Sort key of a name: 1, 2, 10; upper and lower case are equal."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def frame_names(names: Iterable[str]) -> list[str]:
    """Return the names of pictures among those of a folder, in natural order; hidden files do not count."""
    # macOS leaves `._1.png` beside `1.png` on foreign disks
    return sorted((n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")), key=natural_order)


def is_folder(path: str | PathLike[str]) -> bool:
    """Return whether the path is a folder; False if access is denied."""
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises there)


def frame_paths(folder: str | PathLike[str]) -> list[Path]:
    """Return the pictures directly in a folder, in natural order.

    Raises OSError, PermissionError if one is not a regular file: reading a pipe or a device may never end.
    """
    with os.scandir(folder) as entries:
        regular = {entry.name: entry.is_file() for entry in entries if not entry.is_dir()}
    names = frame_names(regular)
    if special := [name for name in names if not regular[name]]:
        raise PermissionError(errno.EPERM, f"{special[0]} is not a regular file", str(folder))
    return [Path(folder) / name for name in names]


def link_outside(root: Path, frames: Iterable[Path]) -> Path | None:
    """Return the first picture that is a link to a place outside of `root` (resolved)."""
    links = (frame for frame in frames if frame.is_symlink())
    return next((link for link in links if not Path(os.path.realpath(link)).is_relative_to(root)), None)


def read_picture(path: Path) -> Pixels:
    """Return a picture as uint8 RGB (height, width, 3), grey in three channels; raises PictureError."""
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # the exception has the message already
    try:
        # imread accepts a JPEG that is cut off, imdecode does not
        picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from None
    except cv2.error as error:
        if TOO_MANY_PIXELS in str(error):  # seen in the header, before memory is taken
            raise PictureError(f"{path}: more pixels than extraction.max_pixels allows") from None
        picture = None  # empty
    if picture is None:
        raise PictureError(f"{path}: not a whole picture")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def pictures(folder: str | PathLike[str]) -> Iterator[Callable[[], Pixels]]:
    """Yield a function per frame that reads it, so that skipped frames cost nothing; raises PictureError.

    The function raises PictureError too, also for a size that is not the first picture's.
    """
    try:
        paths = frame_paths(folder)
    except OSError as error:
        raise PictureError(f"{folder}: {error.strerror}") from None
    if not paths:
        raise PictureError(f"{folder}: the folder holds no pictures ({', '.join(SUFFIXES)})")
    shape = read_picture(paths[0]).shape
    for path in paths:
        yield partial(_read_like, path, shape)


def _read_like(path: Path, shape: tuple[int, ...]) -> Pixels:
    picture = read_picture(path)
    if picture.shape != shape:
        sizes = (f"{width} x {height}" for height, width, _ in (picture.shape, shape))
        raise PictureError(f"{path}: {' pixels, while the first picture has '.join(sizes)}")
    return picture
