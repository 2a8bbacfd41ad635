"""Stages of the demo: drawing the benchmark, and comparing a trained model with baselines on its test videos."""

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from anomalyclip.data.manifest import load_manifest
from anomalyclip.errors import JobError
from anomalyclip.evaluation import comparison as paired
from anomalyclip.evaluation.baselines import BASELINES
from anomalyclip.evaluation.figures import headlines, summarised_by_class
from anomalyclip.evaluation.metrics import Metrics, video_level
from anomalyclip.evaluation.plots import save_timeline
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.report import PLOTS
from anomalyclip.evaluation.standing import standing
from anomalyclip.evaluation.tables import aligned
from anomalyclip.evaluation.text import difference_text, difference_values, value_text
from anomalyclip.job import Job
from anomalyclip.jobs.baselines import log_standing
from anomalyclip.jobs.evaluation import ScoredResult
from anomalyclip.jobs.lifecycle import stage, where_runs_are
from anomalyclip.jobs.scoring import ScoringResult
from anomalyclip.jobs.sources import drawn_manifest
from anomalyclip.jobs.training import TrainingResult
from anomalyclip.runs import EVALUATION, PREDICTIONS, RESULT, RunKind
from anomalyclip.storage import Storage, scratch

log = logging.getLogger("anomalyclip")

BEFORE, AFTER = "zero-shot CLIP", "AnomalyCLIP"


@dataclass(frozen=True)
class Comparison:
    """A trained model and zero-shot CLIP on the same test videos."""

    zero_shot: Metrics
    trained: Metrics
    difference: paired.Comparison
    """Trained minus zero-shot."""

    def class_table(self) -> str:
        """Return the figures of every class against the rest."""
        rows = [["", BEFORE, AFTER, "difference"]]
        for kind in summarised_by_class():
            both = [metrics.of_class[kind.name] for metrics in (self.zero_shot, self.trained)]
            for name in both[1]:
                values = [value_text(None if (found := each.get(name)) is None else found.value) for each in both]
                difference = difference_text(self.difference.of_class[kind.name].get(name))
                rows.append([f"{kind.title} {name}", *values, difference])
        return aligned(rows)

    def figures(self) -> dict[str, Any]:
        """Return the table's figures as JSON-like values."""
        return {
            figure.name: {
                "zero_shot": self.zero_shot.value(figure.name),
                "trained": self.trained.value(figure.name),
                **difference_values(self.difference.figures[figure.name]),
            }
            for figure in headlines()
        }


def draw(job: Job) -> Path:
    """Draw the benchmark's missing videos, and return its manifest."""
    with stage("draw", "the benchmark's videos, a minute or so the first time"):
        path = drawn_manifest(job.storage)
        parts = dict(load_manifest(path).group_by("split").len().iter_rows())
        log.info("%d training and %d test videos: %s", parts["train"], parts["test"], path)
    return path


def compare(job: Job, trained: TrainingResult, zero_shot: ScoredResult, events: ScoringResult) -> dict[str, Any]:
    """Compare two finished evaluations; log the table and the places of all results, and store both.

    `events` are those that the trained model finds in the test videos.
    """
    with stage("compare", "the two on the same test videos, paired by video"):
        after = _measured(job.storage, RunKind.TRAINING, trained)
        before = _measured(job.storage, RunKind.EVALUATION, zero_shot)
        comparison = Comparison(before.metrics, after.metrics, paired.compare_measured(after, before))
        found = standing(after, {"zero_shot": before, **_baselines(job.storage, trained)})
        key = f"{RunKind.COMPARISON}/{trained.run}"
        video = _most_anomalous(after.predictions)
        _publish(job.storage, key, f"{found.table()}\n\n{comparison.class_table()}\n", after.predictions, video)
    log.info("by class, one against the rest:\n\n%s\n", comparison.class_table())
    log_standing(found)
    timeline = job.storage.uri(f"{key}/timeline.png")
    _log_places(job, trained, zero_shot, after.predictions.video_ids[video], timeline, events)
    result = {
        "run": trained.run,
        "zero_shot": zero_shot.run,
        "model_version": trained.model_version,
        **comparison.figures(),
        "events": events.events,
        "paths": {
            "run": trained.paths["run"],
            "zero_shot": zero_shot.paths["run"],
            "timeline": timeline,
            "report": events.paths["report"],
        },
        "tracking_uri": job.tracking_uri,
    }
    job.storage.write_json(f"{key}/{RESULT}", result)
    return result


def _measured(storage: Storage, kind: RunKind, result: ScoredResult, folder: str = EVALUATION) -> paired.Measured:
    if EVALUATION not in result.paths:
        raise JobError(f"{result.run} has scored no test video, so there is nothing to compare")
    with storage.local(f"{kind}/{result.run}/{folder}/{PREDICTIONS}") as path:
        return paired.measure(read_predictions(path))


def _baselines(storage: Storage, trained: TrainingResult) -> dict[str, paired.Measured]:
    """Return the baselines that the training has fitted."""
    fitted = {name: baseline.folder for name, baseline in BASELINES.items() if name != "zero_shot"}
    return {
        name: _measured(storage, RunKind.TRAINING, trained, folder)
        for name, folder in fitted.items()
        if folder in trained.paths
    }


def _most_anomalous(predictions: Predictions) -> int:
    """Return the position of the video with the highest video-level score."""
    return int(np.argmax(video_level(predictions).scores))


def _publish(storage: Storage, key: str, table: str, predictions: Predictions, video: int) -> None:
    with TemporaryDirectory(dir=scratch()) as folder:
        save_timeline(predictions, video, Path(folder) / "timeline.png")
        (Path(folder) / "table.txt").write_text(table)
        storage.publish_folder(Path(folder), key)


def _log_places(
    job: Job, trained: ScoredResult, zero_shot: ScoredResult, video_id: str, timeline: str, events: ScoringResult
) -> None:
    rows = [
        ["runs and models:", where_runs_are(job.tracking_uri)],
        ["plots:", f"{trained.paths[EVALUATION]}/{PLOTS}"],
        ["zero-shot's:", f"{zero_shot.paths[EVALUATION]}/{PLOTS}"],
        ["most anomalous:", f"{video_id}, its scores over time in {timeline}"],
        ["report:", f"{events.paths['report']}: {events.events} events in the test videos; open it in a browser"],
    ]
    log.info("where to look:\n\n%s\n", aligned(rows))
