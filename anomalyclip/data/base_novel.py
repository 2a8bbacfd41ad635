"""Base and novel classes: a training sees the base ones alone, the test part has both (the open-vocabulary protocol).

Wu et al., CVPR 2024 (arXiv 2311.07042), and the lists of PLOVAD: videos of one label only.
"""

from collections.abc import Sequence

import polars as pl

from anomalyclip.data.labels import NORMAL, class_names, sorted_classes
from anomalyclip.errors import UsageError


def base_and_novel(
    manifest: pl.DataFrame, base: Sequence[str] | None, novel: Sequence[str] | None
) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows of a manifest that the protocol uses, and the novel classes.

    Training rows are normal or of one base class, test rows normal or of one base or novel class; videos of several
    labels are left out. Without `novel`, all other classes of the manifest are. Raises UsageError without base classes,
    for one that no training video has, and if nothing is left to be novel.
    """
    if not base:
        raise UsageError(
            "training.classes_seen=base: data.base_classes names none: give some, or the preset ucf-crime, "
            "shanghaitech or xd-violence"
        )
    trained = set(class_names(manifest))
    if unknown := [name for name in base if name not in trained]:
        raise UsageError(f"data.base_classes: no training video is of {', '.join(unknown)}")
    tested = sorted_classes(manifest.filter(pl.col("split") == "test")["labels"].explode().drop_nulls().to_list())
    others = [name for name in (tested if novel is None else novel) if name not in base and name in tested]
    names = [name for name in others if name != NORMAL]
    if not names:
        raise UsageError("training.classes_seen=base: no test video is of a class that is not in data.base_classes")
    first, count = pl.col("labels").list.first(), pl.col("labels").list.len()
    allowed = pl.when(pl.col("split") == "test").then(first.is_in([*base, *names])).otherwise(first.is_in(list(base)))
    return manifest.filter((count == 0) | ((count == 1) & allowed)), names
