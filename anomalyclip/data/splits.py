"""Splits: the validation part of the `clean` protocol, other parts by seed, and videos in two splits."""

import hashlib
import logging
from collections.abc import Iterable

import polars as pl

from anomalyclip.data.labels import video_class
from anomalyclip.errors import UsageError, first_names

log = logging.getLogger("anomalyclip")


def with_validation(df: pl.DataFrame, fraction: float, seed: int) -> pl.DataFrame:
    """Move a part of the training videos to split `val`, stratified by class (first label or Normal).

    A manifest that has val rows is returned unchanged. Otherwise each class of n training videos gives
    round(fraction * n), at least 1 and at most n - 1 if n >= 2, chosen by a hash of (seed, video_id):
    a video that is added later does not reshuffle the others. UsageError if train or val has no
    abnormal or no normal video.
    """
    if not (df["split"] == "val").any():
        chosen = _chosen(df.filter(pl.col("split") == "train"), fraction, seed)
        moved = pl.col("video_id").is_in(chosen) & (pl.col("split") == "train")
        df = df.with_columns(split=pl.when(moved).then(pl.lit("val")).otherwise("split"))
    for split in ("train", "val"):
        is_abnormal = df.filter(pl.col("split") == split)["labels"].list.len() > 0
        if is_abnormal.all() or not is_abnormal.any():
            kind = "normal" if is_abnormal.any() else "abnormal"
            raise UsageError(
                f"no {kind} video is in split {split!r}: mark rows of the manifest as val, "
                "or use protocol=paper, which needs no validation part"
            )
    return df


def _chosen(train: pl.DataFrame, fraction: float, seed: int) -> list[str]:
    members: dict[str, list[str]] = {}
    for video_id, labels in train.select("video_id", "labels").iter_rows():
        members.setdefault(video_class(labels), []).append(video_id)
    chosen = []
    for video_ids in members.values():
        chosen += keyed_part(video_ids, fraction, seed, len(video_ids) - 1)
    return chosen


def keyed_part(video_ids: Iterable[str], fraction: float, seed: int, most: int) -> list[str]:
    """Return round(fraction * n) of n ids, at least 1 and at most `most`, by a hash of (seed, video_id).

    Adding an id does not reshuffle the others.
    """
    ordered = sorted(video_ids, key=lambda video_id: _keyed_hash(seed, video_id))
    return ordered[: min(max(round(fraction * len(ordered)), 1), most)]


def _keyed_hash(seed: int, video_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{video_id}".encode()).digest()


def in_two_splits(videos: pl.DataFrame) -> list[str]:
    """Return the pairs of videos that are the same and in two splits, as `'a' (train) and 'b' (test)`.

    `videos` has the columns video_id, split, and what makes them the same. The same video twice in one split is
    allowed.
    """
    identity = videos.columns[2]
    pairs, first = list[str](), dict[str, tuple[str, str]]()
    mixed = videos.filter(pl.col(identity).is_duplicated()).filter(pl.col("split").n_unique().over(identity) > 1)
    for video_id, split, same in mixed.iter_rows():
        other, other_split = first.setdefault(same, (video_id, split))
        if other_split != split:
            pairs.append(f"{other!r} ({other_split}) and {video_id!r} ({split})")
    return pairs


def check_contents(df: pl.DataFrame, index: pl.DataFrame) -> None:
    """Raise UsageError if videos of the same content are in two splits, which then are not independent.

    `df` is a manifest with `source`, `index` the feature store's index. The same content twice in one split is
    allowed; copies that were encoded again are not noticed.
    """
    found = df.join(index, left_on="source", right_on="video", maintain_order="left")
    if pairs := in_two_splits(found.select("video_id", "split", "hash")):
        raise UsageError(f"videos of the same content are in two splits: {first_names(pairs)}: keep one of each pair")


def warn_of_repeats(df: pl.DataFrame, index: pl.DataFrame) -> None:
    """Log a warning about test videos that repeat the content of another; the tables are those of `check_contents`."""
    test = df.filter(pl.col("split") == "test").join(index, left_on="source", right_on="video")
    if repeats := test.height - test["hash"].n_unique():
        log.warning(
            "%d of %d test videos repeat the content of another: intervals count all of them, and are too narrow",
            repeats, test.height,
        )  # fmt: skip
