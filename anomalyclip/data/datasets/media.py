"""Search below a folder for video files, folders of frame pictures, and feature files."""

import os
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from anomalyclip.data.frame_folder import frame_names
from anomalyclip.errors import UsageError

VIDEOS = frozenset(
    (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
)  # fmt: skip
FEATURES = ".npy"
CROP = re.compile(r"(.+)__\d", re.DOTALL)


class Kind(StrEnum):
    """The form of a video on disk."""

    VIDEO = "video"
    FRAMES = "folder of frames"
    FEATURES = "feature file"


class Media(NamedTuple):
    """One video of a tree, by its name in the lists of the datasets."""

    name: str
    """A file's name without its suffix (without `__0` too, for crops), a folder's whole name."""
    path: Path
    """The file or the folder, starting with the root as it was given."""
    kind: Kind


def find_media(root: Path) -> list[Media]:
    """Return everything below `root` that could be a video, sorted by path; UsageError if it is no folder.

    These are files with a video's suffix in any case, folders that hold pictures directly (`root` itself and
    folders with video files beside the pictures do not count: those are previews), and `.npy` files;
    `NAME__0.npy … NAME__9.npy` are the crops of one video NAME, whose path is that of its first crop. Hidden
    files and folders (`._clip.mp4`) are ignored; links are followed, a folder is entered once.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is {'not a folder' if root.exists() else 'missing'}: give the folder of the videos")
    media = sorted((one for found in _walk(root) for one in found), key=lambda one: str(one.path))
    if unwritable := [ascii(str(one.path)) for one in media if not _is_unicode(one.path)]:
        raise UsageError(f"names that are not UTF-8 cannot be written down, rename: {', '.join(unwritable)}")
    return media


def manifest_path(path: Path, root: Path) -> str:
    """Return the `path` of a manifest that lies in `root`: relative to it, or absolute if a link leads out of it."""
    if _holds_link(path, root) and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        return os.path.abspath(path)  # noqa: PTH100 (Path.resolve would follow the link)
    return below(path, root)


def below(path: Path, root: Path) -> str:
    """Return a path, which starts with the root as it was given, relative to it; `.` for the root itself."""
    return "/".join(path.parts[len(root.parts) :]) or "."


def _holds_link(path: Path, root: Path) -> bool:
    """Whether a part of the path below the root is a link: asking for the whole real path takes five times longer."""
    place = str(root)
    for part in path.parts[len(root.parts) :]:
        place = f"{place}/{part}"
        if os.path.islink(place):  # noqa: PTH114 (a Path for each part of each file would be slow)
            return True
    return False


def _walk(root: Path) -> Iterator[Iterable[Media]]:
    """Yield the media of each folder, and the folder itself if it is one of frames."""
    entered = set[str]()
    for place, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in entered else sorted(name for name in folders if not _is_hidden(name))
        if real not in entered:
            entered.add(real)
            yield _media_of(Path(place), [name for name in sorted(files) if not _is_hidden(name)], Path(place) == root)


def _media_of(folder: Path, files: list[str], is_root: bool) -> Iterator[Media]:
    named = [(name, *os.path.splitext(name)) for name in files]  # noqa: PTH122 (quicker than a Path)
    videos = [(stem, name) for name, stem, suffix in named if suffix.lower() in VIDEOS]
    yield from (Media(stem, folder / name, Kind.VIDEO) for stem, name in videos)
    if not videos and not is_root and frame_names(files):
        yield Media(folder.name, folder, Kind.FRAMES)
    features = dict[str, Path]()
    for name, stem, suffix in named:
        if suffix.lower() == FEATURES:
            crop = CROP.fullmatch(stem)
            features.setdefault(crop.group(1) if crop else stem, folder / name)
    yield from (Media(name, path, Kind.FEATURES) for name, path in features.items())


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error


def _is_unicode(path: Path) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
