"""The lists in the package say what the official files say, video by video and frame by frame.

`official_annotations.zip` holds the official text files as they are published; everything here is derived from them
a second time, in other ways than the lists were.
"""

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyclip.data.datasets.official import official
from anomalyclip.data.datasets.official_lists import DATASETS, official_list
from anomalyclip.data.labels import frame_labels
from anomalyclip.jobs.manifests import anomalous_frames
from anomalyclip.presets import preset

ANNOTATIONS = Path(__file__).with_name("official_annotations.zip")
XD_LABELS = {
    "B1": "Fighting", "B2": "Shooting", "B4": "Riot", "B5": "Abuse", "B6": "Car_accident", "G": "Explosion",
}  # fmt: skip
PUBLISHED = {
    "ucf-crime": {"train": (1610, 810), "test": (290, 140)},
    "shanghaitech": {"train": (238, 63), "test": (199, 44)},
    "xd-violence": {"train": (3954, 1905), "test": (800, 500)},
}
"""Videos and anomalous videos of each split."""
ANOMALOUS_FRAMES = {"ucf-crime": 84331, "shanghaitech": 7962, "xd-violence": 539562}

Masks = dict[str, NDArray[np.bool_]]


def lines(name: str) -> list[str]:
    with zipfile.ZipFile(ANNOTATIONS) as archive:
        return archive.read(name).decode().splitlines()


def table(name: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(ANNOTATIONS) as archive:
        return list(csv.DictReader(io.StringIO(archive.read(name).decode(), newline="")))


def ucf_masks() -> Masks:
    """The frames of each test video, anomalous where start <= i <= end."""
    masks = {}
    for line in lines("ucf_crime/test_frame_counts.txt"):
        place, frames, *_ = line.split()
        masks[Path(place).stem] = np.zeros(int(frames), bool)
    for line in lines("ucf_crime/Temporal_Anomaly_Annotation_for_Testing_Videos.txt"):
        name, _, *bounds = line.split()
        for start, end in np.array(bounds, int).reshape(2, 2):
            frame = np.arange(len(masks[name]))
            masks[name] |= (start >= 0) & (start <= frame) & (frame <= end)
    return masks


def shanghaitech_masks() -> Masks:
    masks = {name: np.zeros(1, bool) for name in lines("shanghaitech/SH_Test.txt")}
    for row in table("shanghaitech/frame_intervals.csv"):
        if row["video"] in masks:
            masks[row["video"]] = np.zeros(int(row["num_frames"]), bool)
            for span in row["anomalous_frames_0based_inclusive"].split(";"):
                masks[row["video"]][range(*(int(bound) for bound in span.split("-")))] = True
                masks[row["video"]][int(span.split("-")[1])] = True
    return masks


def xd_masks() -> Masks:
    """As long as the last interval: the official files know no numbers of frames."""
    masks = {row["video"]: np.zeros(1, bool) for row in table("xd_violence/test_list.csv")}
    for line in lines("xd_violence/annotations.txt"):
        name, *bounds = line.replace(".mp4 ", " ").split()
        masks[name] = np.zeros(max(map(int, bounds)) + 1, bool)
        for start, end in np.array(bounds, int).reshape(-1, 2):
            masks[name][start : end + 1] = True
    return masks


def split_and_labels(dataset: str) -> Iterator[tuple[str, str, list[str]]]:
    """Id, split and labels of every video as the official files have them."""
    if dataset == "ucf-crime":
        for split in ("Train", "Test"):
            for place in lines(f"ucf_crime/Anomaly_{split}.txt"):
                folder = place.split("/")[0]
                yield place.split("/")[1][:-4], split.lower(), [] if "Normal" in folder else [folder]
    elif dataset == "shanghaitech":
        classes = {row["video"]: row["classes"].replace("_", " ").split("|") for row in table(CLASSES)}
        for split in ("Train", "Test"):
            for name in lines(f"shanghaitech/SH_{split}.txt"):
                yield name, split.lower(), [label for label in classes[name] if label != "normal"]
    else:
        for split in ("train", "test"):
            for row in table(f"xd_violence/{split}_list.csv"):
                codes = row["video"].split("_label_")[1].split("-")
                yield row["video"], split, [XD_LABELS[code] for code in codes if code in XD_LABELS]


CLASSES = "shanghaitech/video_classes.csv"
MASKS: dict[str, Callable[[], Masks]] = {
    "ucf-crime": ucf_masks, "shanghaitech": shanghaitech_masks, "xd-violence": xd_masks,
}  # fmt: skip


@pytest.mark.parametrize("dataset", DATASETS)
def test_videos_splits_and_labels_are_the_official_ones(dataset: str) -> None:
    rows, _ = official_list(dataset)
    assert [(row["video_id"], row["split"], row["labels"]) for row in rows] == list(split_and_labels(dataset))
    counts = {
        split: (len(part), sum(map(bool, part)))
        for split in ("train", "test")
        if (part := [row["labels"] for row in rows if row["split"] == split])
    }
    assert counts == PUBLISHED[dataset]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_test_frame_is_as_the_official_intervals_say(dataset: str) -> None:
    masks = MASKS[dataset]()
    rows = {row["video_id"]: row for row in official_list(dataset)[0] if row["split"] == "test"}
    assert rows.keys() == masks.keys()
    for video_id, mask in masks.items():
        row = rows[video_id]
        _, truth = frame_labels(row["anomalies"], row["labels"], len(mask))
        np.testing.assert_array_equal(truth.any(axis=1), mask, err_msg=video_id)
        assert all(interval["end"] < len(mask) for interval in row["anomalies"]), video_id
    assert sum(int(mask.sum()) for mask in masks.values()) == ANOMALOUS_FRAMES[dataset]


@pytest.mark.parametrize("dataset", DATASETS)
def test_manifests_of_empty_stand_ins_have_the_official_counts(dataset: str, tmp_path: Path) -> None:
    for video_id, _, _ in split_and_labels(dataset):
        (tmp_path / f"{video_id}.mp4").touch()
    manifest = official(dataset, tmp_path, check=False).table
    counts = {split: manifest.filter(split=split).height for split in ("train", "test")}
    assert counts == {split: videos for split, (videos, _) in PUBLISHED[dataset].items()}
    # intervals added up, where the test above counts frames
    assert anomalous_frames(manifest) == ANOMALOUS_FRAMES[dataset]


def test_shanghaitechs_own_count_of_anomalous_frames_agrees() -> None:
    rows = table(CLASSES)
    assert (
        sum(int(row["anomalous_frames"]) for row in rows if row["split"] == "test") == ANOMALOUS_FRAMES["shanghaitech"]
    )


def test_numbers_of_frames_are_the_official_ones() -> None:
    for split in ("train", "test"):
        official_counts = {
            Path(line.split()[0]).stem: int(line.split()[1]) for line in lines(f"ucf_crime/{split}_frame_counts.txt")
        }
        rows = [row for row in official_list("ucf-crime")[0] if row["split"] == split]
        assert {row["video_id"]: row["num_frames"] for row in rows} == official_counts
    masked = {row["video"]: int(row["mask_frames"]) if row["mask_frames"] else None for row in table(CLASSES)}
    assert {row["video_id"]: row["num_frames"] for row in official_list("shanghaitech")[0]} == masked


@pytest.mark.parametrize("dataset", DATASETS)
def test_classes_are_the_presets(dataset: str) -> None:
    labels = {label for row in official_list(dataset)[0] for label in row["labels"]}
    assert labels == set(preset(dataset).data.classes or ())


def test_each_mend_of_a_list_is_reported() -> None:
    notes = {dataset: official_list(dataset)[1] for dataset in DATASETS}
    assert [note.split(":")[0] for note in notes["ucf-crime"]] == [
        "Arson011_x264", "Arson016_x264", "Assault006_x264", "Explosion033_x264", "Fighting003_x264",
        "Shooting015_x264", "Shooting046_x264",
    ]  # fmt: skip
    assert "680-1267 goes past the last frame: cut to 1265" in notes["ucf-crime"][0]
    named = {line.split()[0] for line in lines("xd_violence/annotations.txt") if ".mp4 " in line}
    assert len(named) == len(notes["xd-violence"]) == 14
    assert {note.split(": ")[0] for note in notes["xd-violence"]} == named
    assert notes["shanghaitech"] == []
