"""UCSD Ped2: folders of frames. Its training part is all normal, so it is split again for weak supervision."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from anomalyclip.data.datasets.media import manifest_path
from anomalyclip.data.datasets.ped2_clips import Clip, Place, intervals, is_passed_on, others, pictures, places
from anomalyclip.data.datasets.ped2_labels import frame_labels
from anomalyclip.data.datasets.result import DatasetManifest, dataset_manifest, raise_faults
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.splits import keyed_part
from anomalyclip.data.video import DecodeError

ANOMALY = "Anomaly"
TEST_FRACTION = 0.5

NO_SEED = (
    "Ped2 has no anomalous training videos, and learning from video labels needs both kinds: --seed N makes another "
    "split, in which half of the anomalous clips train by their label alone. Its figures are not those of Ped2's own "
    "protocol"
)


def ped2(root: Path, seed: int | None = None) -> DatasetManifest:
    """Return a manifest of UCSDped2 in which half of the anomalous and of the normal clips are test videos, by seed.

    `root` is the folder that holds `Train` and `Test`, or one above it; or the folder that holds `training/frames` and
    `testing/frames` of a copy with frame labels (`ped2_labels.py`). With masks, a frame is anomalous if its mask has a
    pixel that is not zero. Raises one UsageError with everything that is wrong, including a missing seed.
    """
    faults = [NO_SEED] if seed is None else []
    base = _base(root)
    clips, wrong, notes = _labelled(base, root) if is_passed_on(base) else _masked(base)
    faults += [text.replace(f"{root}/", "") for text in wrong]
    faults += [f"{path.relative_to(root)}: not one of the dataset's clips: remove it" for path in others(base)]
    raise_faults(root, faults)
    test = _test_ids(clips, seed or 0)
    rows = [_row(clip, clip.name in test, root) for clip in clips]
    return dataset_manifest(rows, [*_notes(clips, test), *notes])


def _base(root: Path) -> Path:
    """Return the folder that holds the clips; the root if there is none."""
    candidates = (root, root / "UCSDped2", root / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2", root / "ped2")
    return next((base for base in candidates if (base / "Test").is_dir() or is_passed_on(base)), root)


def _masked(base: Path) -> tuple[list[Clip], list[str], list[str]]:
    """Return the clips with the intervals of their masks, and what is wrong."""
    clips, faults = list[Clip](), list[str]()
    with closing(Decoder()) as decoder:
        for place in places(base):
            try:
                clips.append(_read(place, decoder))
            except (ValueError, DecodeError) as error:
                faults.append(str(error))
    return clips, faults, []


def _labelled(base: Path, root: Path) -> tuple[list[Clip], list[str], list[str]]:
    """Return the clips with the intervals of their frame labels, what is wrong, and a note on where the labels are."""
    clips, faults = list[Clip](), list[str]()
    for place in places(base):
        try:
            clips.append(Clip(*place, len(pictures(place.folder)), []))
        except ValueError as error:
            faults.append(str(error))
    if faults:  # labels can be compared with whole clips only
        return clips, faults, []
    test = [clip for clip in clips if clip.name.startswith("Test")]
    try:
        labels, source = frame_labels(base, [clip.folder for clip in test], [clip.frames for clip in test])
    except ValueError as error:
        return clips, [str(error)], []
    found = [clip._replace(anomalies=intervals(flags.tolist())) for clip, flags in zip(test, labels, strict=True)]
    return [*clips[: -len(test)], *found], [], [f"anomalous frames are those of {source.relative_to(root)}"]


def _read(place: Place, decoder: Decoder) -> Clip:
    """Return a clip and its anomalous frames; raises ValueError and DecodeError, which name the place."""
    frames = pictures(place.folder)
    if place.folder.parent.name == "Train":
        return Clip(*place, len(frames), [])
    masks = pictures(place.folder.with_name(f"{place.name}_gt"))
    if len(masks) != len(frames):
        raise ValueError(f"{place.folder}: {len(frames)} frames but {len(masks)} masks: their numbers must be equal")
    return Clip(*place, len(frames), intervals([decoder.has_marks(mask) for mask in masks]))


def _test_ids(clips: Sequence[Clip], seed: int) -> set[str]:
    chosen = list[str]()
    for anomalous in (True, False):
        ids = [clip.name for clip in clips if bool(clip.anomalies) == anomalous]
        chosen += keyed_part(ids, TEST_FRACTION, seed, len(ids) - 1)
    return set(chosen)


def _row(clip: Clip, is_test: bool, root: Path) -> dict[str, Any]:
    return {
        "video_id": clip.name,
        "path": manifest_path(clip.folder, root),
        "split": "test" if is_test else "train",
        "labels": [ANOMALY] if clip.anomalies else [],
        "anomalies": clip.anomalies if is_test else [],
        "num_frames": clip.frames,
    }


def _notes(clips: Sequence[Clip], test: set[str]) -> Iterator[str]:
    trained = sum(bool(clip.anomalies) and clip.name not in test for clip in clips)
    yield f"split by seed: {len(clips) - len(test)} training videos, {len(test)} test videos"
    yield f"intervals of {trained} training video(s) left out: training uses their labels alone"
    yield "figures on this split are not comparable with those published for Ped2"
