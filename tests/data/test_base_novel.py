from collections import Counter

import polars as pl
import pytest

from anomalyclip.data.base_novel import base_and_novel
from anomalyclip.data.datasets.official_lists import official_list
from anomalyclip.errors import UsageError
from anomalyclip.presets import PRESETS

SCHEMA = {"video_id": pl.String, "split": pl.String, "labels": pl.List(pl.String)}
# videos of a class, as in the lists of PLOVAD; of normal training videos of XD-Violence, its list has one less
PUBLISHED = {
    "ucf-crime": (
        {"Abuse": 48, "Assault": 47, "Burglary": 87, "RoadAccidents": 127, "Robbery": 145, "Stealing": 95, None: 800},
        {"Abuse": 2, "Assault": 3, "Burglary": 13, "RoadAccidents": 23, "Robbery": 5, "Stealing": 5, "Arrest": 5,
         "Arson": 9, "Explosion": 21, "Fighting": 5, "Shooting": 23, "Shoplifting": 21, "Vandalism": 5, None: 150},
    ),
    "shanghaitech": (
        {"vehicle": 28, "skateboard": 6, "running": 5, "fighting": 4, "robbery": 2, None: 175},
        {"vehicle": 18, "skateboard": 4, "running": 4, "fighting": 2, "robbery": 2, "chasing": 1, "car": 3,
         "throwing object": 2, "vaudeville": 1, "monocycle": 1, "fall": 4, None: 155},
    ),
    "xd-violence": (
        {"Fighting": 377, "Shooting": 232, "Car_accident": 375, None: 2049},
        {"Fighting": 107, "Shooting": 62, "Car_accident": 93, "Riot": 99, "Abuse": 7, "Explosion": 85, None: 300},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_the_presets_split_the_public_datasets_as_published(dataset: str) -> None:
    data = PRESETS[dataset].data
    rows = [(row["video_id"], row["split"], row["labels"]) for row in official_list(dataset)[0]]
    table, novel = base_and_novel(pl.DataFrame(rows, SCHEMA, orient="row"), data.base_classes, data.novel_classes)
    for split, published in zip(("train", "test"), PUBLISHED[dataset], strict=True):
        labels = table.filter(pl.col("split") == split)["labels"]
        assert Counter(names[0] if len(names) else None for names in labels) == published
    assert set(novel) == PUBLISHED[dataset][1].keys() - PUBLISHED[dataset][0].keys()


def small() -> pl.DataFrame:
    rows = [
        ("a", "train", ["Arson"]), ("b", "train", ["Fighting"]), ("c", "val", ["Arson", "Fighting"]),
        ("d", "train", []), ("e", "test", ["Arson"]), ("f", "test", ["Fighting"]), ("g", "test", ["Riot"]),
        ("h", "test", ["Arson", "Riot"]), ("i", "test", []),
    ]  # fmt: skip
    return pl.DataFrame(rows, SCHEMA, orient="row")


def test_training_sees_base_classes_and_the_test_part_has_both() -> None:
    table, novel = base_and_novel(small(), ["Arson"], None)
    assert (table["video_id"].to_list(), novel) == (["a", "d", "e", "f", "g", "i"], ["Fighting", "Riot"])
    table, novel = base_and_novel(small(), ["Arson"], ["Riot", "Abuse"])
    assert (table["video_id"].to_list(), novel) == (["a", "d", "e", "g", "i"], ["Riot"])


@pytest.mark.parametrize(
    "base, novel, message",
    [
        (None, None, "data.base_classes names none"),
        (["Arson", "Abuse"], None, "no training video is of Abuse"),
        (["Arson"], ["Abuse"], "no test video is of a class that is not in data.base_classes"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(base: list[str] | None, novel: list[str] | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        base_and_novel(small(), base, novel)
