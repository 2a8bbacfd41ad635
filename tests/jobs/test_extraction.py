"""What an extraction reports of videos that it left out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anomalyclip import cluster
from anomalyclip.config import RunConfig
from anomalyclip.errors import JobError
from anomalyclip.features.ray_extraction import ExtractionReport
from anomalyclip.job import Job
from anomalyclip.jobs import extraction
from anomalyclip.jobs.extraction import prepare, run
from anomalyclip.storage import Storage

REPORT = ExtractionReport("f", "float32", "features/f", "quarantine.parquet", 4, 1, 1, 2, 0, 9, 1.0, {"10.0.0.1": 9})


@pytest.fixture
def job(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(cluster, "connect", lambda: None)
    return Job(storage, RunConfig(), None, False, "", retry=True)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "manifest.csv").write_text("video_id,path,split,labels,anomalies,num_frames\na,a.mp4,train,,,\n")
    return tmp_path / "manifest.csv"


def test_videos_whose_decoder_was_killed_fail_the_job_and_others_do_not(
    job: Job, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [REPORT, replace(REPORT, killed=1)]
    retried: list[bool] = []

    def extract(*_: Any, retry: bool, **__: Any) -> ExtractionReport:
        retried.append(retry)
        return reports.pop(0)

    monkeypatch.setattr(extraction, "extract_missing", extract)
    assert run(job, prepare(job, manifest)) == REPORT
    with pytest.raises(JobError, match=r"decoders of 1 of 4 videos were killed.*--retry tries them again") as failure:
        run(job, prepare(job, manifest))
    assert retried == [True, True]
    assert (failure.value.result.quarantined, failure.value.result.killed) == (2, 1)
