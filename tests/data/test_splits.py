"""The validation part: stratified, keyed, and refused where it could not measure anything."""

import polars as pl
import pytest

from anomalyclip.data.schema import SCHEMA
from anomalyclip.data.splits import check_contents, warn_of_repeats, with_validation
from anomalyclip.errors import UsageError


def table(**count_of: int) -> pl.DataFrame:
    """Training videos, so many of a class; one test video."""
    rows = [
        [f"{name}{i}", "x.mp4", "train", [] if name == "Normal" else [name, "Second"], [], None]
        for name, count in count_of.items()
        for i in range(count)
    ]
    return pl.DataFrame([*rows, ["t", "x.mp4", "test", [], [], None]], schema=SCHEMA, orient="row")


def chosen(df: pl.DataFrame) -> set[str]:
    return set(df.filter(pl.col("split") == "val")["video_id"])


def test_each_class_gives_its_part_of_the_training_videos() -> None:
    df = table(Normal=20, Fighting=10, Riot=2, Arson=1)
    val = with_validation(df, fraction=0.2, seed=1)
    classes = [video_id.rstrip("0123456789") for video_id in chosen(val)]
    assert {name: classes.count(name) for name in ("Normal", "Fighting", "Riot", "Arson")} == {
        "Normal": 4, "Fighting": 2, "Riot": 1, "Arson": 0,
    }  # fmt: skip
    assert val.drop("split").equals(df.drop("split"))
    assert val["split"].to_list()[-1] == "test"


def test_a_class_keeps_a_training_video_at_any_fraction() -> None:
    val = with_validation(table(Normal=3, Fighting=1, Riot=2), fraction=0.95, seed=1)
    left = val.filter(pl.col("split") == "train")["video_id"].to_list()
    assert len(left) == 3 and "Fighting0" in left


def test_the_choice_follows_the_seed_and_not_the_order_of_rows() -> None:
    df = table(Normal=50, Fighting=50)
    first = chosen(with_validation(df, 0.2, seed=1))
    assert chosen(with_validation(df.sample(fraction=1.0, shuffle=True, seed=3), 0.2, seed=1)) == first
    assert chosen(with_validation(df, 0.2, seed=2)) != first


def test_a_new_video_does_not_reshuffle_the_others() -> None:
    before = chosen(with_validation(table(Normal=50, Fighting=50), 0.2, seed=1))
    after = chosen(with_validation(table(Normal=51, Fighting=50), 0.2, seed=1))
    assert len(before - after) <= 1


def test_marked_validation_rows_are_left_alone() -> None:
    df = table(Normal=4, Fighting=4)
    marked = df.with_columns(
        split=pl.when(pl.col("video_id").is_in(["Normal3", "Fighting3"])).then(pl.lit("val")).otherwise("split")
    )
    assert with_validation(marked, 0.5, seed=1).equals(marked)


@pytest.mark.parametrize(("counts", "words"), [
    ({"Normal": 4, "Fighting": 1}, "no abnormal video is in split 'val'"),
    ({"Normal": 1, "Fighting": 4}, "no normal video is in split 'val'"),
    ({"Normal": 4}, "no abnormal video is in split 'train'"),
    ({"Fighting": 4}, "no normal video is in split 'train'"),
    ({}, "no abnormal video is in split 'train'"),
])  # fmt: skip
def test_a_part_without_both_kinds_is_refused_with_a_way_out(counts: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=f"{words}.*mark rows.*protocol=paper"):
        with_validation(table(**counts), 0.2, seed=1)


def test_videos_of_the_same_content_may_share_a_split_and_no_two() -> None:
    rows = [["a", "train", "/a"], ["copy of a", "train", "/a2"], ["b", "val", "/b"], ["c", "test", "/c"]]
    df = pl.DataFrame(rows, schema=["video_id", "split", "source"], orient="row")
    index = pl.DataFrame({"video": ["/a", "/a2", "/b", "/c", "/elsewhere"], "hash": ["1", "1", "2", "3", "1"]})
    check_contents(df, index)
    same = index.with_columns(hash=pl.col("hash").replace("3", "1"))
    with pytest.raises(UsageError, match=r"same content are in two splits: 'a' \(train\) and 'c' \(test\): keep one"):
        check_contents(df, same)


def test_repeated_test_videos_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = [["a", "train", "/a"], ["a2", "train", "/a2"], *([f"t{n}", "test", f"/t{n}"] for n in range(4))]
    df = pl.DataFrame(rows, schema=["video_id", "split", "source"], orient="row")
    hashes = ["1", "1", "2", "3", "3", "3"]
    warn_of_repeats(df, pl.DataFrame({"video": df["source"], "hash": hashes}))
    (message,) = caplog.messages
    assert message.startswith("2 of 4 test videos repeat the content of another")
