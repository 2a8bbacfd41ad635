"""Parts of a dataset chosen by seed: the validation part of the `clean` protocol, and what adapters divide."""

import hashlib
from collections.abc import Iterable

import polars as pl

from anomalyclip.data.labels import video_class
from anomalyclip.errors import UsageError


def with_validation(df: pl.DataFrame, fraction: float, seed: int) -> pl.DataFrame:
    """Move a part of the training videos to split `val`, stratified by class (first label or Normal).

    A manifest that has val rows is returned unchanged. Otherwise each class of n training videos gives
    round(fraction * n), at least 1 and at most n - 1 where n >= 2, chosen by a hash of (seed, video_id):
    a video that is added later does not reshuffle the others. UsageError when train or val has no
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

    An id that is added later does not reshuffle the others.
    """
    ordered = sorted(video_ids, key=lambda video_id: _keyed_hash(seed, video_id))
    return ordered[: min(max(round(fraction * len(ordered)), 1), most)]


def _keyed_hash(seed: int, video_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{video_id}".encode()).digest()
