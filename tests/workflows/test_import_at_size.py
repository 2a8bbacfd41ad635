"""Features that are not CLIP's, at UCF-Crime's size: what a laptop must be able to train on."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest

from anomalyclip.data.manifest import write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.presets import preset

pytestmark = [pytest.mark.cluster, pytest.mark.accept]

TRAIN, TEST, SNIPPETS, DIM, EVERY = (810, 800), (140, 150), 200, 400, 16
MOST_BYTES = 4 * 2**30


def rows(classes: list[str]) -> Iterator[dict[str, Any]]:
    """Videos of both splits, the abnormal ones of every class in turn."""
    for split, (abnormal, normal) in {"train": TRAIN, "test": TEST}.items():
        for number in range(abnormal + normal):
            is_abnormal = number < abnormal
            yield {
                "video_id": f"{split}-{number}",
                "path": f"{split}-{number}.npy",
                "split": split,
                "labels": [classes[number % len(classes)]] if is_abnormal else [],
                "anomalies": [{"start": 800, "end": 1199, "labels": []}] if is_abnormal and split == "test" else [],
                "num_frames": SNIPPETS * EVERY,
            }


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest whose videos are their own features, drawn at random."""
    folder = tmp_path_factory.mktemp("at-size")
    table = pl.DataFrame(list(rows([*(preset("ucf-crime").data.classes or ())])), schema=SCHEMA)
    for number, path in enumerate(table["path"]):
        np.save(folder / path, np.random.default_rng(number).normal(size=(SNIPPETS, DIM)).astype(np.float16))
    write_manifest(table, folder / "manifest.csv")
    return folder / "manifest.csv"


def peak_bytes(driver: int) -> int:
    """Most resident memory so far, shared pages included, of the largest of the driver and its training workers."""
    peak = 0
    with suppress(psutil.Error, OSError):  # a process that has just ended
        for process in [psutil.Process(driver), *psutil.Process(driver).children(recursive=True)]:
            if process.pid == driver or "RayTrainWorker" in "".join(process.cmdline()[:1]):
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = max(peak, *(int(size) * 1024 for size in re.findall(r"VmHWM:\s+(\d+)", status)), 0)
    return peak


def test_two_epochs_and_an_evaluation_stay_below_four_gibibytes(
    manifest: Path, run_job: Callable[..., Any], start_job: Callable[..., Any]
) -> None:
    code, report, errors = run_job("import_features", str(manifest), str(manifest.parent), "--as", "logits-400",
                                   "--every", str(EVERY))  # fmt: skip
    assert (code, report and report["videos"]) == (0, sum(TRAIN) + sum(TEST)), errors
    settings = ("data.features=logits-400", "model.directions=free", "model.embedding_dim=64", "training.epochs=2",
                "training.warmup_epochs=1")  # fmt: skip
    job = start_job("train", str(manifest), "--name", "at-size", *(part for s in settings for part in ("--set", s)))
    peak = 0
    while job.poll() is None:
        peak = max(peak, peak_bytes(job.pid))
        with suppress(subprocess.TimeoutExpired):
            job.wait(timeout=0.5)
    output, errors = job.communicate()
    assert job.returncode == 0, errors
    print(f"peak of the largest training process: {peak / 2**30:.2f} GiB; {output}")
    assert 0 < peak < MOST_BYTES
