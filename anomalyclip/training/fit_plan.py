"""Plan of a fit: a small value that a process on any node can run, given the storage root."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from anomalyclip.config import RunConfig
from anomalyclip.features.backbone import load_stored_backbone
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.store import FeatureStore
from anomalyclip.model.collectives import share_buffers
from anomalyclip.model.method import Method
from anomalyclip.storage import Storage
from anomalyclip.training.checkpoints import CheckpointStore
from anomalyclip.training.fit import EpochMetrics, FitData, fit
from anomalyclip.training.sampling import Bag, split_bags
from anomalyclip.training.setup import build_model, normality_prototype, training_features


@dataclass(frozen=True)
class FitPlan:
    """Input of a fit for a worker on any node; small, without tensors."""

    config: RunConfig
    storage_root: str
    key: str
    """Folder of the fit in the storage root; its checkpoints lie below."""
    classes: Sequence[str]
    train: Sequence[Bag]
    validation: Sequence[Bag]
    backbone_identity: str | None
    """None if the features are imported and the directions free."""
    fingerprint: str
    sources: Mapping[str, str]
    """Source of each video of the fit, by its id: the key to its stored features."""
    stop_after: int | None = None

    @property
    def epochs(self) -> int:
        """Number of epochs after which the fit has ended."""
        return self.stop_after or self.config.training.num_epochs

    def final(self, epochs: int) -> "FitPlan":
        """Return the fit on all training videos, with those held out, for the chosen number of epochs."""
        # the number of epochs was chosen with them held out; without validation nothing is left to choose by
        everything = [*self.train, *self.validation]
        return replace(self, key=f"{self.key}/final", train=everything, validation=(), stop_after=epochs)

    def checkpoints(self) -> CheckpointStore:
        """Return the fit's checkpoints."""
        return CheckpointStore(Storage(self.storage_root), self.key)


def run_plan(
    plan: FitPlan, device: torch.device, on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None
) -> Method:
    """Run or resume this process's part of a fit; returns the model after the last epoch."""
    storage = Storage(plan.storage_root)
    store = FeatureStore(storage, plan.fingerprint)
    cache = FeatureCache.build(store, dict(plan.sources), plan.config.cache.max_gigabytes)
    _, normal = split_bags(plan.train)
    # from the cache's sums per video in every worker, so that the plan stays small, without tensors
    prototype = normality_prototype(cache, [bag.video_id for bag in normal])
    backbone = load_stored_backbone(storage, plan.backbone_identity) if plan.backbone_identity else None
    model = build_model(plan.classes, backbone, prototype, plan.config).to(device)
    if not plan.checkpoints().epochs():  # else the checkpoint has what it computes
        model.prepare(training_features(cache, plan.train))
        share_buffers(model)
    fit(model, FitData(plan.train, plan.validation, cache), plan.config, plan.checkpoints(), on_epoch, plan.stop_after)
    return model
