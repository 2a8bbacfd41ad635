"""A user's own clips: a sub-folder a class, `Normal` among them, and intervals in `anomalies.csv` beside them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalyclip.data.datasets.class_folders import Clip, find_clips
from anomalyclip.data.datasets.interval_file import NAME, Annotated, read_intervals
from anomalyclip.data.datasets.media import Kind, manifest_path
from anomalyclip.data.datasets.result import DatasetManifest, dataset_manifest, refuse
from anomalyclip.data.labels import NORMAL
from anomalyclip.data.schema import Anomaly
from anomalyclip.data.splits import keyed_part
from anomalyclip.data.video import DecodeError, probe

TEST_FRACTION = 0.3

Intervals = Mapping[str, list[Anomaly]]
"""By the clip's key; none without any."""


def folder(
    root: Path, seed: int = 0, frame_tolerance: int = 0, test_fraction: float = TEST_FRACTION
) -> DatasetManifest:
    """Return the manifest of a folder whose sub-folders are classes, or are `train`, `val`, `test` and hold such.

    Where nothing is split, `test_fraction` of each class becomes test videos, by seed and name: of the normal
    videos, and of the anomalous ones with intervals. Raises one UsageError with everything that is wrong.
    """
    clips, faults = find_clips(root)
    frames, unreadable = _frames(clips, root)
    videos = {clip.key: Annotated(clip.labels, frames.get(clip.key)) for clip in clips}
    intervals, wrong = read_intervals(root / NAME, videos, frame_tolerance)
    faults += [*unreadable, *wrong, *_unannotated(clips, intervals)]
    refuse(root, faults)
    splits = _splits(clips, intervals, seed, test_fraction)
    rows = [_row(clip, splits[clip.key], intervals, frames[clip.key], root) for clip in clips]
    return dataset_manifest(rows, _notes(clips, splits, intervals))


def _frames(clips: Sequence[Clip], root: Path) -> tuple[dict[str, int | None], list[str]]:
    """Return what is known of the number of frames of each clip, and a line for each that cannot be opened."""
    frames, faults = dict[str, int | None](), list[str]()
    for clip in clips:
        frames[clip.key] = None
        try:
            if clip.media.kind != Kind.FEATURES:
                frames[clip.key] = probe(clip.media.path)
        except DecodeError as error:
            faults.append(f"cannot be opened: {str(error).replace(f'{root}/', '')}")
    return frames, faults


def _unannotated(clips: Sequence[Clip], intervals: Intervals) -> Iterator[str]:
    for clip in clips:
        if clip.split == "test" and clip.labels and clip.key not in intervals:
            yield f"{clip.key} is an anomalous test video without intervals: add them to {NAME}, or train on it"


def _splits(clips: Sequence[Clip], intervals: Intervals, seed: int, fraction: float) -> dict[str, str]:
    """Return each clip's split by its key: the folder's own, else test for a part of each class."""
    test = dict[str, list[str]]()
    for label in {clip.label for clip in clips}:
        members = [clip for clip in clips if clip.label == label]
        ids = [clip.video_id for clip in members if label == NORMAL or clip.key in intervals]
        test[label] = keyed_part(ids, fraction, seed, len(members) - 1)
    if not any(ids for label, ids in test.items() if label != NORMAL):
        test = {}  # figures need both kinds
    return {
        clip.key: clip.split or ("test" if clip.video_id in test.get(clip.label, []) else "train") for clip in clips
    }


def _row(clip: Clip, split: str, intervals: Intervals, frames: int | None, root: Path) -> dict[str, Any]:
    # a file's number of frames is its header's estimate, which decoding may correct
    known = frames if clip.media.kind == Kind.FRAMES else None
    return {
        "video_id": clip.video_id,
        "path": manifest_path(clip.media.path, root),
        "split": split,
        "labels": clip.labels,
        "anomalies": intervals.get(clip.key, []) if split == "test" else [],
        "num_frames": known,
    }


def _notes(clips: Sequence[Clip], splits: Mapping[str, str], intervals: Intervals) -> Iterator[str]:
    test = [clip for clip in clips if splits[clip.key] == "test"]
    if not test:
        yield (
            f"no test videos, so no figures will be computed: {NAME} in the root gives no anomalous video intervals "
            f"that training could spare; its columns are path,anomalies and a row is such as {_example(clips)},120-260"
        )
    elif absent := sorted({clip.label for clip in clips} - {clip.label for clip in test}):
        yield f"without a test video, and so without figures of their own: {', '.join(absent)}"
    if dropped := sum(splits[key] != "test" for key in intervals):
        yield f"intervals of {dropped} training video(s) left out: training knows their label alone"


def _example(clips: Sequence[Clip]) -> str:
    return next(clip.key for clip in clips if clip.labels)
