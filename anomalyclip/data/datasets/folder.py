"""A user's own clips: one sub-folder per class, `Normal` among them, and intervals in `anomalies.csv` beside them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from anomalyclip.data.datasets.class_folders import Clip, find_clips
from anomalyclip.data.datasets.interval_file import NAME, Annotated, read_intervals
from anomalyclip.data.datasets.media import Kind, manifest_path
from anomalyclip.data.datasets.result import DatasetManifest, dataset_manifest, raise_faults
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.labels import NORMAL
from anomalyclip.data.schema import Anomaly
from anomalyclip.data.splits import keyed_part
from anomalyclip.data.video import DecodeError

TEST_FRACTION = 0.3

Intervals = Mapping[str, list[Anomaly]]
"""By the clip's key; none without any."""


def folder(
    root: Path,
    seed: int = 0,
    frame_tolerance: int = 0,
    skip_bad: bool = False,
    test_fraction: float = TEST_FRACTION,
) -> DatasetManifest:
    """Return the manifest of a folder whose sub-folders are classes, or are `train`, `val`, `test` and hold such.

    If nothing is split, `test_fraction` of each class becomes test videos, by seed and name: of a class's videos with
    intervals, or of all its videos if none has any. `skip_bad` leaves out videos that cannot be opened. Raises one
    UsageError with everything that is wrong.
    """
    clips, faults = find_clips(root)
    frames, unreadable = _frames(clips, root)
    videos = {clip.key: Annotated(clip.labels, frames.get(clip.key)) for clip in clips}
    intervals, wrong = read_intervals(root / NAME, videos, frame_tolerance)
    left = [clip for clip in clips if clip.key not in unreadable] if skip_bad else clips
    lost = list(_lost(clips, left))
    faults += [*lost, *(unreadable.values() if lost or not skip_bad else ()), *wrong]
    raise_faults(root, faults)
    splits = _splits(left, intervals, seed, test_fraction)
    rows = [_row(clip, splits[clip.key], intervals, frames.get(clip.key), root) for clip in left]
    return dataset_manifest(rows, _notes(left, splits, intervals), unreadable.values())


def _frames(clips: Sequence[Clip], root: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Return the number of frames of each clip, as far as known, and a line for each that cannot be opened."""
    frames, unreadable = dict[str, int](), dict[str, str]()
    with closing(Decoder()) as decoder:
        for clip in clips:
            try:
                if clip.media.kind != Kind.FEATURES:
                    frames[clip.key] = decoder.probe(clip.media.path)
            except DecodeError as error:
                unreadable[clip.key] = f"cannot be opened: {str(error).replace(f'{root}/', '')}"
    return frames, unreadable


def _lost(clips: Sequence[Clip], left: Sequence[Clip]) -> Iterator[str]:
    """Yield the class folders of which no clip is left."""
    for split, label in sorted(
        {(clip.split, clip.label) for clip in clips} - {(clip.split, clip.label) for clip in left}
    ):
        yield f"no video of {label} {f'in {split} ' if split else ''}can be opened: replace them or remove the folder"


def _splits(clips: Sequence[Clip], intervals: Intervals, seed: int, fraction: float) -> dict[str, str]:
    """Return each clip's split by its key: the folder's own, else test for a part of each class."""
    test = set[str]()
    for label in {clip.label for clip in clips}:
        members = [clip for clip in clips if clip.label == label]
        # with intervals a video counts in all figures, without in those of whole videos only
        candidates = [clip for clip in members if clip.key in intervals] or members
        test |= set(keyed_part([clip.video_id for clip in candidates], fraction, seed, len(members) - 1))
    chosen = [clip for clip in clips if clip.video_id in test]
    has_normal = any(not clip.labels or clip.key in intervals for clip in chosen)
    if not has_normal or not any(clip.labels for clip in chosen):
        test = set()  # figures need both kinds
    return {clip.key: clip.split or ("test" if clip.video_id in test else "train") for clip in clips}


def _row(clip: Clip, split: str, intervals: Intervals, frames: int | None, root: Path) -> dict[str, Any]:
    # a file's number of frames is only its header's estimate
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
        split = any(clip.split for clip in clips)
        reason = "there is no folder test" if split else f"{NORMAL} and another class need two videos each"
        yield f"no test videos, so no figures will be computed: {reason}"
    elif absent := sorted({clip.label for clip in clips} - {clip.label for clip in test}):
        yield f"without a test video, and so without figures of their own: {', '.join(absent)}"
    if unknown := [clip.key for clip in test if clip.labels and clip.key not in intervals]:
        yield (
            f"{len(unknown)} anomalous test video(s) without intervals count in figures of whole videos only; {NAME} "
            f"in the root adds figures per frame: columns path,anomalies, and rows such as {unknown[0]},120-260 or "
            f"{unknown[0]},all"
        )
    if dropped := sum(splits.get(key, "test") != "test" for key in intervals):
        yield f"intervals of {dropped} training video(s) left out: training uses their labels alone"
