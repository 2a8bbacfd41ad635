"""Validation of an epoch in `clean` runs: video-level AUC and loss on the validation part, never on the test set."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from sklearn.metrics import roc_auc_score

from anomalyclip.config import EpochChoice, RunConfig, TrainingConfig
from anomalyclip.evaluation.metrics import video_score
from anomalyclip.evaluation.scoring import model_scorer, score_features
from anomalyclip.features.cache import FeatureCache
from anomalyclip.model.collectives import rank, world_size
from anomalyclip.model.method import Method
from anomalyclip.training.sampling import NORMAL_LABEL, Bag, Draw, draw_clip, split_bags

AUC, LOSS = "val/video_auc", "val/loss"


@torch.inference_mode()
def validate(model: Method, bags: Sequence[Bag], cache: FeatureCache, config: RunConfig) -> dict[str, float]:
    """Return the video-level AUC and the loss, without segment dropout, on fixed clips of the validation videos.

    The workers share the videos; every worker gets the same result.
    """
    abnormal, normal = split_bags(bags)
    ordered = abnormal + normal
    # every n-th video each; they are put back in order below, for the smooth term depends on it
    mine = [_judge(model, bag, cache, config) for bag in ordered[rank() :: world_size()]]
    gathered: list[list[tuple[float, Any]]] = [mine]
    if world_size() > 1:
        gathered = [[] for _ in range(world_size())]
        dist.all_gather_object(gathered, mine)
    judged = [gathered[index % world_size()][index // world_size()] for index in range(len(ordered))]
    truth = [bag.label != NORMAL_LABEL for bag in ordered]
    outputs = [output for _, output in judged]
    whole = outputs[0]._make(map(torch.cat, zip(*outputs, strict=True)))
    labels = torch.tensor([bag.label for bag in abnormal])
    terms = model.loss_terms(whole, labels, config.loss)
    loss = sum(terms.values(), torch.zeros(()))
    return {AUC: float(roc_auc_score(truth, [score for score, _ in judged])), LOSS: loss.item()}


def is_validated(epoch: int, config: TrainingConfig) -> bool:
    """Return whether an epoch has a validation."""
    return (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.num_epochs


def best_epoch(history: Sequence[Mapping[str, float]], choice: EpochChoice) -> int:
    """Return the epoch to keep: the last, or the highest video-level AUC, then the lower loss, then the earlier epoch.

    Epochs without validation are skipped, and those with learning rate 0 if there are others; without any validation it
    is the last epoch.
    """
    judged = [epoch for epoch, row in enumerate(history) if AUC in row]
    if choice == "last" or not judged:
        return len(history) - 1
    # an untrained model may have the highest AUC of a small validation part by luck
    trained = [epoch for epoch in judged if history[epoch]["learning_rate"] > 0] or judged[:1]
    return min(trained, key=lambda epoch: (-history[epoch][AUC], history[epoch][LOSS], epoch))


def score_video(model: Method, video: str, cache: FeatureCache, config: RunConfig) -> float:
    """Return the score of a video, by its id, that its epoch is judged by; the model is in evaluation mode."""
    scorer = model_scorer(model, config.extraction.sampling_rate)
    features, frames = torch.from_numpy(cache.video(video)), cache.video_frames(video)
    scores, _ = score_features(scorer, features, frames)
    return video_score(scores, scorer.segment_length(frames, len(features)))


def _judge(model: Method, bag: Bag, cache: FeatureCache, config: RunConfig) -> tuple[float, Any]:
    device = model.normality_prototype.device
    video = bag.video_id
    seed = config.training.seed
    # epoch 0 and pass 0 always: losses of epochs compare only on the same clips
    clip = draw_clip(Draw(bag, 0), cache.num_frames(video), 0, seed, config.model, cache.crops(video))
    features = torch.from_numpy(cache.gather(video, clip.frames, clip.crop)).to(device, torch.float32)
    output = model(features[None])
    return score_video(model, video, cache, config), output._make(part.cpu() for part in output)
