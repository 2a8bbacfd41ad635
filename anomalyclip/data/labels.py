"""Class names of a run and the truth of each frame."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from anomalyclip.data.schema import Anomaly

NORMAL = "Normal"


def is_normal(name: str) -> bool:
    """Whether a label names the normal class, in any case (ShanghaiTech's lists write `normal`)."""
    return name.casefold() == NORMAL.casefold()


def sorted_classes(names: Iterable[str]) -> list[str]:
    """Distinct class names with Normal among them, in the order of the method.

    Case does not count: `Normal` keeps its place beside ShanghaiTech's lower-case names (id 8 of 18).
    """
    abnormal = {name for name in names if not is_normal(name)}
    return sorted(abnormal | {NORMAL}, key=lambda name: (name.casefold(), name))


def class_names(df: pl.DataFrame, preset: Sequence[str] | None = None) -> list[str]:
    """Classes of a run: the preset's list, else the labels of the manifest's training videos.

    The validation part is taken from the training videos and counts as such. Always holds Normal.
    """
    if preset is not None:
        return sorted_classes(preset)
    return sorted_classes(df.filter(pl.col("split") != "test")["labels"].explode().drop_nulls().to_list())


def unknown_test_classes(df: pl.DataFrame, classes: Sequence[str]) -> list[str]:
    """Classes that occur only in the test part: they count for AUC and are null in per-class figures."""
    occurring = df.filter(pl.col("split") == "test")["labels"].explode().drop_nulls().to_list()
    return [name for name in sorted_classes(occurring) if name not in classes and name != NORMAL]


def video_class(labels: Sequence[str]) -> str:
    """Class a video is trained as: its first label, or Normal without one."""
    return labels[0] if labels else NORMAL


def known_truth() -> pl.Expr:
    """Rows of a manifest whose frames have a known truth: those without labels, and those with an interval.

    The other rows have labels and no interval: something happens in the video, at an unknown time. They count in
    figures of whole videos only; `frame_labels` is wrong for them.
    """
    return (pl.col("labels").list.len() == 0) | (pl.col("anomalies").list.len() > 0)


def frame_labels(
    anomalies: Sequence[Anomaly], labels: Sequence[str], num_frames: int
) -> tuple[list[str], NDArray[np.bool_]]:
    """Truth of every frame of a video: the video's labels and a matrix (num_frames, len(labels)).

    Entry (i, c) is true where start <= i <= end for an interval of label c; a row without any true entry
    is a normal frame. Intervals past the last frame are cut. Only for rows of `known_truth`.
    """
    names = list(labels)
    truth = np.zeros((num_frames, len(names)), dtype=np.bool_)
    for interval in anomalies:
        for name in interval["labels"] or names:
            last = num_frames - 1 if interval["end"] is None else interval["end"]
            truth[interval["start"] : last + 1, names.index(name)] = True
    return names, truth
