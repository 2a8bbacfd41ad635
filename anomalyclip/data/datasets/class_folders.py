"""Clips sorted into folders: one folder per class, below the root or below `train`, `val` and `test`."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from anomalyclip.data.datasets.interval_file import file_key
from anomalyclip.data.datasets.media import Kind, Media, below, find_media
from anomalyclip.data.labels import NORMAL, is_normal
from anomalyclip.data.manifest_checks import id_faults, label_faults
from anomalyclip.data.schema import SPLITS


class Clip(NamedTuple):
    """A video in the folder of its class."""

    media: Media
    key: str
    """Its path below the root, as `anomalies.csv` names it."""
    split: str
    """Empty if the user has not split."""
    label: str
    """Name of the folder of its class; `Normal` for `normal` and `NORMAL` too."""
    video_id: str

    @property
    def labels(self) -> list[str]:
        """Labels of the manifest: none for a normal clip."""
        return [] if self.label == NORMAL else [self.label]


def find_clips(root: Path) -> tuple[list[Clip], list[str]]:
    """Return the clips in folders of classes, and everything that is wrong with the tree, one line each."""
    parts = {part: _sub_folders(part) for part in _split_folders(root) or [root]}
    media = find_media(root)
    # feature files are used instead of videos if there are none
    media = [one for one in media if one.kind != Kind.FEATURES] or media
    classes = {place: _class_folder(place, parts) for place in {one.path.parent for one in media}}
    placed = [(one, found) for one in media if (found := classes[one.path.parent])]
    faults = [_misplaced(one, root, parts) for one in media if not classes[one.path.parent]]
    faults += [fault for part, folders in parts.items() for fault in _part_faults(part, folders, root)]
    filled = {*classes.values(), *(one.path for one in media if one.kind == Kind.FRAMES)}
    empty = [folder for folders in parts.values() for folder in folders if folder not in filled]
    faults += [f"{folder.relative_to(root)} holds no videos: fill it or remove it" for folder in empty]
    clips = _clips(placed, root)
    return clips, [*faults, *_label_faults({clip.label for clip in clips}), *_id_faults(clips)]


def _split_folders(root: Path) -> list[Path]:
    return [folder for folder in _sub_folders(root) if folder.name.casefold() in SPLITS]


def _sub_folders(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _class_folder(place: Path, parts: Iterable[Path]) -> Path | None:
    """Return the folder of a class, directly below a part, that is or holds a place; None for what is elsewhere."""
    for part in parts:
        if place != part and place.is_relative_to(part):
            return part / place.relative_to(part).parts[0]
    return None


def _misplaced(media: Media, root: Path, parts: Iterable[Path]) -> str:
    path = media.path.relative_to(root)
    if media.kind == Kind.FRAMES:
        return f"{path} holds pictures itself: a folder of frames must be in the folder of its class"
    if root not in parts and len(path.parts) > 1 and path.parts[0].casefold() not in SPLITS:
        return f"{path} is outside of {', '.join(part.name for part in parts)}: move it into one of them"
    return f"{path} is in no class: move it into the folder of its class"


def _part_faults(part: Path, folders: Sequence[Path], root: Path) -> Iterator[str]:
    if part.name.casefold() == "test" and part != root:
        return
    place = "the root" if part == root else part.name
    if not folders:
        yield f"{place} holds no class folder: make one for each class, {NORMAL} among them"
    elif not any(is_normal(folder.name.strip()) for folder in folders):
        yield f"{place} holds no folder {NORMAL}: training needs normal videos"
    elif all(is_normal(folder.name.strip()) for folder in folders):
        yield f"{place} holds no class folder beside {NORMAL}: training needs anomalous videos"


def _clips(placed: Sequence[tuple[Media, Path]], root: Path) -> list[Clip]:
    names = Counter(_composed(one.name) for one, _ in placed)
    clips = []
    for one, folder in placed:
        label = NORMAL if is_normal(folder.name.strip()) else _composed(folder.name.strip())
        split = "" if folder.parent == root else folder.parent.name.casefold()
        name = _composed(one.name)
        key = file_key(below(one.path, root))
        clips.append(Clip(one, key, split, label, name if names[name] == 1 else f"{label}-{name}"))
    return clips


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _label_faults(labels: set[str]) -> Iterator[str]:
    for label in sorted(labels - {NORMAL}):
        yield from (f"{fault}: rename the folder" for fault in label_faults([label]))
    for names in _alike((label.casefold(), label) for label in labels):
        yield f"class folders {', '.join(names)} differ in case alone: give them one name"


def _id_faults(clips: Sequence[Clip]) -> Iterator[str]:
    for clip in clips:
        yield from (f"{clip.key}: {fault}: rename it" for fault in id_faults(clip.video_id))
    for keys in _alike((clip.video_id, clip.key) for clip in clips):
        yield f"{', '.join(keys)} have the same name in the same class: rename all but one"


def _alike(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the names of each key that has several."""
    groups = dict[str, list[str]]()
    for key, name in pairs:
        groups.setdefault(key, []).append(name)
    return [sorted(names) for names in groups.values() if len(names) > 1]
