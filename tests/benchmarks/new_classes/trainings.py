"""The trainings: each class left out in turn, with several variants and seeds, one after the other in this process."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import polars as pl
import torch

from anomalyclip.benchmark.footage.videos import draw_benchmark
from anomalyclip.config import RunConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.manifest import load_manifest
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.features.backbone import Backbone, load_backbone, save_backbone
from anomalyclip.features.encoder import feature_fingerprint
from anomalyclip.features.local_extraction import extract_here
from anomalyclip.features.store import FeatureStore
from anomalyclip.presets import PRESETS
from anomalyclip.runs import CARD
from anomalyclip.settings import with_settings
from anomalyclip.storage import Storage
from anomalyclip.training.adaptation import Length, adapt
from anomalyclip.training.fit_plan import FitPlan, run_plan
from anomalyclip.training.plan import TrainingPlan, plan_training
from anomalyclip.training.setup import save_trained

CLASSES = ("Arson", "Explosion", "Fighting", "RoadAccidents", "Robbery", "Stealing", "Vandalism")
SEEDS = (1024, 1025, 1026)
OWN_TEXTS = {"model.directions": "finetuned", "model.zero_shot": True}
"""What the preset `default` chooses where features are those of a CLIP with a text tower."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "class context": ("default", OWN_TEXTS),
    "shared context": ("default", OWN_TEXTS | {"model.shared_context": True}),
    "frozen projection": ("default", OWN_TEXTS | {"model.directions": "frozen"}),
    "paper settings": ("benchmark", {"training.chosen_epoch": "last"}),
}
"""Preset, and what differs from it, by name."""
NOTHING = "nothing"
"""Left out where all classes are trained."""


class Case(NamedTuple):
    """One training."""

    variant: str
    left_out: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.variant.replace(' ', '-')}-{self.left_out}-{self.seed}"


@dataclass(frozen=True)
class Footage:
    """The drawn benchmark and the stored features of all its videos."""

    storage: Storage
    manifest: pl.DataFrame
    backbone: Backbone
    store: FeatureStore

    def lengths(self) -> dict[str, Length]:
        """Return the length of each video, by its id."""
        found = self.manifest.join(self.store.index(), left_on="source", right_on="video")
        return {
            row["video_id"]: Length(row["frames"], row["frames"] / row["fps"])
            for row in found.select("video_id", "frames", "fps").iter_rows(named=True)
        }


def footage(folder: Path) -> Footage:
    """Draw the benchmark in a folder and extract its features, as far as they are missing."""
    storage, backbone = Storage(str(folder)), load_backbone(PRESETS["default"].backbone)
    manifest = load_manifest(draw_benchmark(folder / "benchmark"))
    settings, device = PRESETS["default"].extraction, resolve_device()
    precision = resolve_precision(settings.precision, device)
    store = FeatureStore(storage, feature_fingerprint(backbone, precision, settings.step, settings.crops))
    save_backbone(backbone, storage)
    decoder = Decoder()
    while extract_here(manifest["source"].to_list(), store, backbone, precision, device, settings, decoder):
        pass
    decoder.close()
    return Footage(storage, manifest, backbone, store)


def cases() -> Iterator[Case]:
    """Yield the trainings, the most wanted first: whole rows of the default, then the variants."""
    for variant in VARIANTS:
        for seed in SEEDS:
            yield from (Case(variant, left_out, seed) for left_out in (*CLASSES, NOTHING))


def bundle_of(folder: Path, case: Case) -> Path:
    """Return the folder of a training's model."""
    return folder / "trainings" / case.name


def train(drawn: Footage, case: Case, target: Path) -> None:
    """Train a model without one class and write its bundle, unless it is there.

    Its validation videos are never used by the fit: the last epoch is taken.
    """
    if (target / CARD).exists():
        return
    preset, changes = VARIANTS[case.variant]
    changes = {"training.seed": case.seed, "training.final_fit": False, **changes}
    config = with_settings(PRESETS[preset], [("", *each) for each in changes.items()])
    kept = drawn.manifest.filter(~pl.col("labels").list.contains(case.left_out) | (pl.col("split") == "test"))
    plan = plan_training(kept, config)
    lengths, bags = drawn.lengths(), plan.bags("train")
    fitted, _ = adapt(plan.config, bags, [lengths[bag.video_id] for bag in bags])
    with TemporaryDirectory(dir=target.parent) as work:
        fit = fit_plan(drawn, plan, fitted, work)
        model = run_plan(fit, torch.device("cpu"))
        weights = fit.checkpoints().load(fit.epochs - 1).weights
        save_trained(target, model, weights, fitted, drawn.backbone.identity, "float32")


def fit_plan(drawn: Footage, plan: TrainingPlan, config: RunConfig, work: str) -> FitPlan:
    """Return the fit on the training part alone, with its checkpoints in the folder `work`."""
    bags = plan.bags("train")
    ids = [bag.video_id for bag in bags]
    sources = drawn.manifest.filter(pl.col("video_id").is_in(ids)).select("video_id", "source")
    return FitPlan(
        config=config,
        storage_root=drawn.storage.root,
        key=str(Path(work).relative_to(drawn.storage.root)),
        classes=plan.classes,
        train=bags,
        validation=(),
        backbone_identity=drawn.backbone.identity,
        fingerprint=drawn.store.fingerprint,
        sources=dict(sources.iter_rows()),
    )
