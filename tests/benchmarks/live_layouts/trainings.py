"""Models of three seeds, trained on the training part alone, so that validation cameras are new to them."""

from pathlib import Path

import polars as pl
import torch

from anomalyclip.presets import PRESETS
from anomalyclip.runs import CARD
from anomalyclip.settings import with_settings
from anomalyclip.training.adaptation import Length, adapt
from anomalyclip.training.fit_plan import FitPlan, run_plan
from anomalyclip.training.plan import plan_training
from anomalyclip.training.setup import median_and_longest, save_trained
from tests.benchmarks.live_layouts.footage import Footage

SEEDS = (1024, 1025, 1026)


def train(drawn: Footage, seed: int, target: Path) -> Path:
    """Train the preset `default` in this process, resuming an earlier attempt; returns the folder of the model."""
    if (target / CARD).exists():
        return target
    changes = {"training.seed": seed, "training.final_fit": False, "model.directions": "finetuned"}
    changes["model.zero_shot"] = True
    config = with_settings(PRESETS["default"], [("", *each) for each in changes.items()])
    plan = plan_training(drawn.manifest, config)
    found = drawn.manifest.join(drawn.store.index(), left_on="source", right_on="video")
    rows = found.filter(pl.col("split") == "train").select("video_id", "source", "frames", "fps").rows()
    bags, lengths = plan.bags("train"), {video: Length(frames, frames / fps) for video, _, frames, fps in rows}
    fitted, _ = adapt(plan.config, bags, [lengths[bag.video_id] for bag in bags])
    fit = FitPlan(
        config=fitted,
        storage_root=drawn.storage.root,
        key=f"fits/{seed}",
        classes=plan.classes,
        train=bags,
        validation=(),
        backbone_identity=drawn.backbone.identity,
        fingerprint=drawn.store.fingerprint,
        sources={video: source for video, source, _, _ in rows},
    )
    model = run_plan(fit, torch.device("cpu"))
    weights = fit.checkpoints().load(fit.epochs - 1).weights
    stored = median_and_longest([frames for _, _, frames, _ in rows])
    save_trained(target, model, weights, fitted, drawn.backbone.identity, "float32", stored)
    return target
