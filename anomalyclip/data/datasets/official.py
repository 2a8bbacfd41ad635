"""Manifests of UCF-Crime, ShanghaiTech and XD-Violence, from their official lists and a folder of their videos."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalyclip.data.datasets.frame_counts import Count, counts_of, frame_faults, tolerance_notes
from anomalyclip.data.datasets.matching import MISSING, Fault, Match, match
from anomalyclip.data.datasets.media import Kind, Media, find_media, manifest_path
from anomalyclip.data.datasets.official_lists import official_list
from anomalyclip.data.datasets.result import DatasetManifest, dataset_manifest, raise_faults
from anomalyclip.errors import UsageError

Row = Mapping[str, Any]


def official(
    dataset: str,
    root: Path,
    frame_tolerance: int = 0,
    check: bool = True,
    allow_missing: bool = False,
    count: Count | None = None,
) -> DatasetManifest:
    """Return the manifest of `ucf-crime`, `shanghaitech` or `xd-violence` in a folder of its videos or of their frames.

    Videos are found by name, at any depth. If a tree holds neither videos nor folders of frames, its `.npy` files
    stand in for them. Unless `check` is off, each video is opened: its own number of frames, by `count` or else a
    decoder, may differ from the list's by `frame_tolerance`. `num_frames` is the list's number, and null if it has
    none: a header's estimate would later be compared with the decoded frames as if it were the truth. With
    `allow_missing`, videos of the list that are not there are left out.
    Raises one UsageError with everything that is wrong.
    """
    rows, notes = official_list(dataset)
    media = find_media(root)
    # ShanghaiTech's frame masks are .npy files with the names of the videos
    media = [one for one in media if one.kind != Kind.FEATURES] or media
    homes = {row["video_id"]: _homes(dataset, row) for row in rows}
    matched = match(homes, COPIES.get(dataset, ()), media, root)
    _refuse_another_folder(dataset, root, matched, media)
    missing = [fault for fault in matched.faults if fault.kind == MISSING] if allow_missing else []
    counts = counts_of(rows, matched.found, count) if check else {}
    faults = [*matched.faults, *frame_faults(rows, counts, frame_tolerance, root)]
    _refuse(root, [fault for fault in faults if fault not in missing])
    found = [row for row in rows if row["video_id"] in matched.found]
    placed = [row | {"path": manifest_path(matched.found[row["video_id"]].path, root)} for row in found]
    notes += [*matched.notes, *tolerance_notes(rows, counts, frame_tolerance)]
    return dataset_manifest(placed, notes, [fault.text for fault in missing])


COPIES = {"ucf-crime": ("Normal_Videos_for_Event_Recognition",)}
"""Folders of a dataset that hold copies of videos in its other folders."""


def _homes(dataset: str, row: Row) -> Collection[str]:
    """Return the names of the folders in which a dataset's authors keep a video."""
    if dataset == "ucf-crime":
        part = "Training" if row["split"] == "train" else "Testing"
        return row["labels"] or (f"{part}_Normal_Videos_Anomaly",)
    if dataset == "shanghaitech":  # 01_001 is of its own training part, 01_0014 of its test part
        return ("videos",) if len(row["video_id"]) == len("01_001") else ("frames",)
    return ()


def _refuse_another_folder(dataset: str, root: Path, matched: Match, media: Sequence[Media]) -> None:
    """Raise one line instead of thousands of missing videos."""
    if not matched.found and all(fault.kind in (MISSING, "in no list") for fault in matched.faults):
        others = f" but {len(media)} others" if media else ""
        raise UsageError(
            f"{root} holds none of the videos of {dataset}{others}: give the folder that holds them under their "
            "official names"
        )


def _refuse(root: Path, faults: Sequence[Fault]) -> None:
    kinds = Counter(fault.kind for fault in faults)
    summary = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    if kinds.keys() & {"shorter", "longer"}:
        summary += "; decoders differ by a frame or two, which --frame-tolerance N allows"
    if MISSING in kinds:
        summary += "; --allow-missing leaves out the missing ones"
    raise_faults(root, [fault.text for fault in faults], summary)
