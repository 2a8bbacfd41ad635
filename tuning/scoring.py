"""Scores of a trial's model, computed once after its fits: of the validation videos, or of the test videos."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import torch

from anomalyclip.config import Precision
from anomalyclip.device import resolve_device
from anomalyclip.evaluation.report import write_report
from anomalyclip.evaluation.scoring import bundle_scorer, score_manifest
from anomalyclip.features.backbone import load_stored_backbone
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.store import FeatureStore
from anomalyclip.model.method import Method
from anomalyclip.runs import EVALUATION, MODEL, PREDICTIONS
from anomalyclip.storage import Storage, scratch
from anomalyclip.training.checkpoints import State, load_learnt_state
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.sampling import NORMAL_LABEL
from anomalyclip.training.setup import build_model, median_and_longest, save_trained
from anomalyclip.training.validation import score_video
from anomalyclip.tuning.trials import Trial

VALIDATION = "validation.parquet"
"""In a trial's folder: `video_id`, `abnormal` (bool) and `score` (float64) of every validation video."""


def score_validation(trial: Trial, epoch: int) -> dict[str, float]:
    """Publish the validation videos' scores, as `validate` judged the epoch by them; adds no figures."""
    plan = trial.plan
    model, weights = _trained(plan, epoch, resolve_device())
    load_learnt_state(model, weights)
    judged = model.eval().for_scoring()
    store = FeatureStore(Storage(plan.storage_root), plan.fingerprint)
    cache = FeatureCache.build(store, dict(plan.sources), plan.config.cache.max_gigabytes)
    with torch.inference_mode():
        rows = [
            (bag.video_id, bag.label != NORMAL_LABEL, score_video(judged, bag.video_id, cache, plan.config))
            for bag in plan.validation
        ]
    schema = {"video_id": pl.String, "abnormal": pl.Boolean, "score": pl.Float64}
    file = BytesIO()
    pl.DataFrame(rows, schema, orient="row").sort("video_id").write_parquet(file)
    trial.folder.storage.write(trial.folder.part(VALIDATION), file.getvalue())
    return {}


def validation_scores(folder: str, storage: Storage) -> pl.DataFrame:
    """Read what `score_validation` published in a trial's folder, rows in the order of `video_id`."""
    return pl.read_parquet(BytesIO(storage.read(f"{folder}/{VALIDATION}")))


@dataclass(frozen=True)
class ScoreTestVideos:
    """Publishes a trial's model and its evaluation on the test videos, which gives the figures."""

    test: pl.DataFrame
    """The counted test part of the manifest."""
    manifest_digest: str
    precision: Precision
    """Of the image tower that made the features."""

    def __call__(self, trial: Trial, epoch: int) -> dict[str, float]:
        """Score the test videos with the model of the last fit's chosen epoch."""
        plan, device = trial.last_fit(epoch), resolve_device()
        model, weights = _trained(plan, epoch, device)
        with TemporaryDirectory(dir=scratch()) as temporary:
            bundle, evaluation = Path(temporary) / MODEL, Path(temporary) / EVALUATION
            store = FeatureStore(trial.folder.storage, plan.fingerprint)
            lengths = median_and_longest(_stored(store, plan))
            save_trained(bundle, model, weights, plan.config, plan.backbone_identity, self.precision, lengths)
            evaluation.mkdir()
            scorer = bundle_scorer(bundle, device)
            score_manifest(scorer, self.test, self.manifest_digest, store, evaluation / PREDICTIONS)
            figures = write_report(evaluation).metrics.flat()
            trial.folder.publish(bundle, MODEL)
            trial.folder.publish(evaluation, EVALUATION)
        return figures


def _stored(store: FeatureStore, plan: FitPlan) -> list[int]:
    """Return the number of stored features of each video of the fit."""
    frames = dict(store.index().select("video", "frames").iter_rows())
    return [frames[plan.sources[bag.video_id]] for bag in (*plan.train, *plan.validation)]


def _trained(plan: FitPlan, epoch: int, device: torch.device) -> tuple[Method, State]:
    """Return an untrained model of a fit, and the weights of one of its epochs."""
    weights = plan.checkpoints().load(epoch).weights
    storage, identity = Storage(plan.storage_root), plan.backbone_identity
    backbone = load_stored_backbone(storage, identity) if identity else None
    return build_model(plan.classes, backbone, weights["normality_prototype"], plan.config).to(device), weights
