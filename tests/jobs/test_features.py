"""The features of a manifest, as training and evaluation obtain them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import JobError, UsageError
from anomalyclip.features import ray_extraction
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.importing.numpy_features import ImportSettings, import_features
from anomalyclip.job import Job
from anomalyclip.jobs.features import imported_store, obtain_features
from anomalyclip.storage import Storage


@pytest.fixture
def obtain(storage: Storage, tmp_path: Path) -> Callable[[int], None]:
    """Obtain imported features of a training and a test video, the second's made from a seed (the first's from 0)."""

    def run(seed: int) -> None:
        for number, name in enumerate("ab"):
            (tmp_path / f"{name}.mp4").touch()
            np.save(tmp_path / f"{name}.npy", np.random.default_rng(number * seed).normal(size=(9, 4)))
        rows = [("a", "a.mp4", "train", [], [], None), ("b", "b.mp4", "test", [], [], None)]
        write_manifest(pl.DataFrame(rows, schema=SCHEMA, orient="row"), tmp_path / "manifest.csv")
        manifest = load_manifest(tmp_path / "manifest.csv")
        import_features(manifest, [tmp_path], ImportSettings("i3d"), storage)
        obtain_features(Job(storage, RunConfig(), None, False, ""), RunConfig().extraction, manifest, None, "i3d")

    return run


def test_a_job_passes_on_that_quarantined_videos_are_tried_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bool] = []

    def extract(table: pl.DataFrame, config: RunConfig, into: Storage, retry: bool, backbone: Backbone) -> None:
        given.append(retry)
        raise JobError("far enough")

    monkeypatch.setattr(ray_extraction, "extract_missing", extract)
    backbone, job = load_backbone(RunConfig().backbone), Job(storage, RunConfig(), None, False, "", retry=True)
    with pytest.raises(JobError, match="far enough"):
        obtain_features(job, job.config.extraction, pl.DataFrame(schema=SCHEMA), backbone, None)
    assert given == [True]


def test_features_of_one_content_in_two_splits_are_refused(obtain: Callable[[int], None]) -> None:
    obtain(1)
    with pytest.raises(UsageError, match=r"in two splits: 'a' \(train\) and 'b' \(test\)"):
        obtain(0)


def test_imported_features_of_one_content_in_two_splits_are_refused_before_a_job_starts(
    obtain: Callable[[int], None], storage: Storage, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="in two splits"):
        obtain(0)
    job, manifest = Job(storage, RunConfig(), None, False, ""), load_manifest(tmp_path / "manifest.csv")
    with pytest.raises(UsageError, match=r"in two splits: 'a' \(train\) and 'b' \(test\)"):
        imported_store(job, manifest, "i3d")
