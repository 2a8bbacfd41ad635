"""The demo's own stages: the drawn benchmark, and a trained model compared with zero-shot CLIP on its test videos."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalyclip.data.manifest import load_manifest
from anomalyclip.errors import JobError
from anomalyclip.evaluation.intervals import Difference, Interval, PairedDifference, paired_difference
from anomalyclip.evaluation.metrics import Metrics, compute_metrics, video_score
from anomalyclip.evaluation.plots import save_timeline
from anomalyclip.evaluation.predictions import Predictions, read_predictions
from anomalyclip.evaluation.report import PLOTS, PREDICTIONS
from anomalyclip.job import Job
from anomalyclip.jobs.evaluation import ScoredResult
from anomalyclip.jobs.lifecycle import stage, where_runs_are
from anomalyclip.jobs.sources import drawn_manifest
from anomalyclip.jobs.training import TrainingResult
from anomalyclip.runs import EVALUATION, RESULT, RunKind
from anomalyclip.storage import Storage, scratch

log = logging.getLogger("anomalyclip")

BEFORE, AFTER = "zero-shot CLIP", "AnomalyCLIP"


@dataclass(frozen=True)
class Comparison:
    """A trained model and zero-shot CLIP on the same test videos."""

    zero_shot: Metrics
    trained: Metrics
    difference: PairedDifference
    """Trained minus zero-shot."""
    videos: int

    def table(self) -> str:
        """Return AUC and mAUC of both with 95 % intervals, and the paired difference."""
        rows = [["", "AUC", "mAUC"]]
        for name, metrics in ((BEFORE, self.zero_shot), (AFTER, self.trained)):
            overall = _figure(metrics.auc, metrics.auc_interval)
            rows.append([name, overall, _figure(metrics.m_auc, metrics.m_auc_interval)])
        rows.append(["difference", _signed(self.difference.auc), _signed(self.difference.m_auc)])
        return _aligned(rows)

    def class_table(self) -> str:
        """Return the AUC of every class against the rest."""
        rows = [["class", BEFORE, AFTER, "difference"]]
        for name, after in self.trained.class_auc.items():
            before = self.zero_shot.class_auc.get(name)
            difference = None if before is None or after is None else after - before
            rows.append([name, _figure(before), _figure(after), _figure(difference, None, "+")])
        return _aligned(rows)

    def figures(self) -> dict[str, Any]:
        """Return what the table says as JSON-like values."""
        return {
            name: {
                "zero_shot": getattr(self.zero_shot, name),
                "trained": getattr(self.trained, name),
                **_described(getattr(self.difference, name)),
            }
            for name in ("auc", "m_auc")
        }


def draw(job: Job) -> Path:
    """Return the benchmark's manifest, having drawn what of its videos is not there yet."""
    with stage("draw", "the benchmark's videos, a minute or so the first time"):
        path = drawn_manifest(job.storage)
        parts = dict(load_manifest(path).group_by("split").len().iter_rows())
        log.info("%d training and %d test videos: %s", parts["train"], parts["test"], path)
    return path


def compare(job: Job, trained: TrainingResult, zero_shot: ScoredResult) -> dict[str, Any]:
    """Compare two finished evaluations, log the table and where to look, and keep both."""
    with stage("compare", "the two on the same test videos, paired by video"):
        after = _predictions(job.storage, RunKind.TRAINING, trained)
        before = _predictions(job.storage, RunKind.EVALUATION, zero_shot)
        comparison = Comparison(
            compute_metrics(before), compute_metrics(after), paired_difference(after, before), len(after.video_ids)
        )
        key = f"{RunKind.COMPARISON}/{trained.run}"
        video = _most_anomalous(after)
        _publish(job.storage, key, comparison, after, video)
    log.info("AUC by class, one against the rest:\n\n%s\n", comparison.class_table())
    log.info("%d test videos, 95 %% intervals:\n\n%s\n", comparison.videos, comparison.table())
    timeline = job.storage.uri(f"{key}/timeline.png")
    _say_where(job, trained, zero_shot, after.video_ids[video], timeline)
    result = {
        "run": trained.run,
        "zero_shot": zero_shot.run,
        "model_version": trained.model_version,
        **comparison.figures(),
        "paths": {"run": trained.paths["run"], "zero_shot": zero_shot.paths["run"], "timeline": timeline},
        "tracking_uri": job.tracking_uri,
    }
    job.storage.write_json(f"{key}/{RESULT}", result)
    return result


def _predictions(storage: Storage, kind: RunKind, result: ScoredResult) -> Predictions:
    if EVALUATION not in result.paths:
        raise JobError(f"{result.run} has scored no test video: there is nothing to compare")
    with storage.local(f"{kind}/{result.run}/{EVALUATION}/{PREDICTIONS}") as path:
        return read_predictions(path)


def _most_anomalous(predictions: Predictions) -> int:
    """Return the position of the video with the highest video-level score."""
    scores = [video_score(predictions.scores[predictions.frames_of(i)]) for i in range(len(predictions.video_ids))]
    return scores.index(max(scores))


def _publish(storage: Storage, key: str, comparison: Comparison, predictions: Predictions, video: int) -> None:
    with TemporaryDirectory(dir=scratch()) as folder:
        save_timeline(predictions, video, Path(folder) / "timeline.png")
        (Path(folder) / "table.txt").write_text(f"{comparison.table()}\n\n{comparison.class_table()}\n")
        storage.publish_folder(Path(folder), key)


def _say_where(job: Job, trained: ScoredResult, zero_shot: ScoredResult, video_id: str, timeline: str) -> None:
    rows = [
        ["runs and models:", where_runs_are(job.tracking_uri)],
        ["plots:", f"{trained.paths[EVALUATION]}/{PLOTS}"],
        ["zero-shot's:", f"{zero_shot.paths[EVALUATION]}/{PLOTS}"],
        ["most anomalous:", f"{video_id}, its scores over time in {timeline}"],
    ]
    log.info("where to look:\n\n%s\n", _aligned(rows))


def _figure(value: float | None, interval: Interval | None = None, sign: str = "") -> str:
    if value is None:
        return "undefined"
    bounds = f" ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})" if interval else ""
    return f"{value:{sign}.3f}{bounds}"


def _signed(difference: Difference | None) -> str:
    return "undefined" if difference is None else _figure(difference.value, difference.interval, "+")


def _described(difference: Difference | None) -> dict[str, float | None]:
    interval = difference.interval if difference else None
    return {
        "difference": difference.value if difference else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
    }


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"  {line.rstrip()}" for line in lines)
