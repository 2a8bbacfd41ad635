"""Training loop: one `fit` for one worker or many, without Ray or MLflow."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from anomalyclip.config import ModelConfig, RunConfig
from anomalyclip.device import resolve_precision, tf32_allowed
from anomalyclip.errors import JobError
from anomalyclip.features.cache import FeatureCache
from anomalyclip.model.collectives import all_gather_rows, rank, world_size
from anomalyclip.model.method import Method
from anomalyclip.training.checkpoints import (
    Checkpoint,
    CheckpointStore,
    learnt_state,
    load_learnt_state,
    load_optimizer_state,
    optimizer_state,
)
from anomalyclip.training.sampling import Bag, Batch, draw_clip, epoch_batches
from anomalyclip.training.validation import LOSS, best_epoch, is_validated, validate

EpochMetrics = dict[str, float]

AHEAD = 3
"""Batches that are gathered before they are needed: one may come from a slow disk."""
REMEDY = "try a lower training.learning_rate, or training.precision=float32"


@dataclass(frozen=True)
class FitData:
    """Bags of a fit and the cache of their features; without validation bags the last epoch is chosen."""

    train: Sequence[Bag]
    validation: Sequence[Bag]
    cache: FeatureCache


@dataclass(frozen=True)
class StepInput:
    """One worker's clips of a step, and the labels and masks of the whole batch for its loss."""

    features: Tensor
    """This worker's `(videos, segments, frames, dim)`, abnormal videos first."""
    labels: Tensor
    """Of all abnormal videos of the batch, `(abnormal videos,)`."""
    keep_top: Tensor
    """Of all videos of the batch, `(videos, segments)`, abnormal videos first."""
    keep_bottom: Tensor
    abnormal_here: int
    """Number of abnormal videos of this worker."""
    noise: Tensor
    """A seed of this worker's videos each, for what a method draws in a step, `(videos,)`; stays on the CPU."""


def fit(
    model: Method,
    data: FitData,
    config: RunConfig,
    checkpoints: CheckpointStore,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
    stop_after: int | None = None,
) -> list[EpochMetrics]:
    """Train a model, resuming after the last checkpoint, and return the metrics of every epoch.

    Every worker calls it with the same arguments and the same initial weights. A checkpoint is written by the
    first worker before `on_epoch` is called with an epoch's metrics. `stop_after` is the number of epochs after
    which the fit ends before its schedule does. Raises JobError on every worker, before the epoch's checkpoint, if
    a loss or a weight is not finite.
    """
    device = model.normality_prototype.device
    optimizer = model.optimizer(config.training)
    history: list[EpochMetrics] = []
    if (latest := checkpoints.latest()) is not None:
        load_learnt_state(model, latest.weights)
        load_optimizer_state(optimizer, latest.optimizer)
        history = list(latest.history)
    parallel: nn.Module = model
    if world_size() > 1:
        # buffers are equal without a broadcast: the batch norm computes them from the sums of all workers
        parallel = DistributedDataParallel(model, broadcast_buffers=False)
    for epoch in range(len(history), stop_after or config.training.num_epochs):
        rate = model.learning_rate(epoch, config.training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with tf32_allowed(resolve_precision(config.training.precision, device)):
            losses = _train_epoch(parallel, optimizer, step_inputs(data, epoch, config, device), config, epoch)
        metrics = {"epoch": float(epoch), "learning_rate": rate, **losses, **model.diagnostics()}
        _refuse_broken_weights(model.learnt_parameters(), epoch)  # the epoch's last update has no loss after it
        if data.validation and is_validated(epoch, config.training):
            metrics |= validate(model.eval().for_scoring(), data.validation, data.cache, config)
            _refuse_broken_loss({LOSS: metrics[LOSS]}, f"validation after epoch {epoch}")
        history.append(metrics)
        # saved before it is reported: an epoch that MLflow knows can always be resumed from
        if rank() == 0:
            saved = Checkpoint(epoch, learnt_state(model), optimizer_state(optimizer), history)
            checkpoints.save(saved, keep=[best_epoch(history, config.training.chosen_epoch)])
        on_epoch(metrics)
    return history


def step_loss(model: nn.Module, step: StepInput, config: RunConfig) -> dict[str, Tensor]:
    """Return the loss terms of the whole batch, the same on every worker.

    Logits are gathered with their gradient: data-parallel averaging then gives the gradients of one worker.
    """
    device = step.features.device
    bfloat16 = resolve_precision(config.training.precision, device) == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        output = model(step.features, step.noise)
    # outside autocast: the sums of the loss need the digits of float32
    whole = gather_outputs(output, step.abnormal_here)
    method = cast(Method, model.module if isinstance(model, DistributedDataParallel) else model)
    return method.loss_terms(whole, step.labels, config.loss, step.keep_top, step.keep_bottom)


def gather_outputs(output: Any, abnormal_here: int) -> Any:
    """Return the outputs of all workers, the abnormal videos of all before the normal ones of all."""
    # kinds apart: the smooth term crosses videos, so their order must be that of one worker
    return output._make(
        torch.cat([all_gather_rows(part[:abnormal_here]), all_gather_rows(part[abnormal_here:])]) for part in output
    )


def step_inputs(data: FitData, epoch: int, config: RunConfig, device: torch.device) -> Iterator[StepInput]:
    """Yield this worker's input of every step of an epoch; the next ones are gathered while one is in use.

    A step must have ended on the device before the next one is asked for, as its memory is used again.
    """
    batches = epoch_batches(data.train, epoch, config.training)
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = deque(pool.submit(_step_input, batch, data.cache, epoch, config) for batch in islice(batches, AHEAD))
        while waiting:
            step = waiting.popleft().result()
            yield _to_device(step, device)
            if (batch := next(batches, None)) is not None:
                waiting.append(pool.submit(_step_input, batch, data.cache, epoch, config, step.features))


def _train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterator[StepInput], config: RunConfig, epoch: int
) -> EpochMetrics:
    model.train()
    totals: dict[str, Tensor] = {}
    count = 0
    for step in steps:
        terms = step_loss(model, step, config)
        loss = torch.stack(list(terms.values())).sum()
        # the terms are those of the whole batch, equal on every worker: all of them stop here, and none waits for
        # another. On a GPU this waits for the forward pass, once per step.
        if not loss.isfinite():
            _refuse_broken_loss({name: term.item() for name, term in terms.items()}, f"epoch {epoch}, step {count}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        count += 1
        # tensors until the epoch ends: each number read would be one more synchronisation with a GPU
        for name, term in terms.items():
            totals[name] = totals.get(name, torch.zeros_like(term)) + term.detach()
    means = {f"loss/{name}": total.item() / count for name, total in totals.items()}
    return {"loss": sum(means.values()), **means}


def _refuse_broken_loss(terms: Mapping[str, float], where: str) -> None:
    if not all(map(math.isfinite, terms.values())):
        values = ", ".join(f"{name}={value:.4g}" for name, value in terms.items())
        raise JobError(f"{where}: the loss is not finite ({values}); {REMEDY}")


def _refuse_broken_weights(parameters: Sequence[Tensor], epoch: int) -> None:
    if not torch.stack([parameter.isfinite().all() for parameter in parameters]).all():
        raise JobError(f"epoch {epoch}: weights are not finite after the last step; {REMEDY}")


def _step_input(
    batch: Batch, cache: FeatureCache, epoch: int, config: RunConfig, kept: Tensor | None = None
) -> StepInput:
    """Return a worker's input of a step, its features in those of an earlier step that is over."""
    mine = batch.part(rank(), world_size())
    seed = config.training.seed
    # of all workers, since the loss needs every mask: drawing is a pure function, so nothing has to be sent
    clips = {
        draw: draw_clip(draw, cache.num_frames(video), epoch, seed, config.model, cache.crops(video))
        for draw in batch.abnormal + batch.normal
        for video in [draw.bag.video_id]
    }
    chosen = [(draw.bag.video_id, clips[draw]) for draw in mine]
    features = _room(len(chosen), config.model, cache.dim) if kept is None else kept
    for place, (video, clip) in zip(features.numpy(), chosen, strict=True):
        cache.gather(video, clip.frames, clip.crop, place)
    return StepInput(
        features=features,
        labels=torch.tensor([draw.bag.label for draw in batch.abnormal]),
        keep_top=torch.stack([torch.from_numpy(clip.keep_top) for clip in clips.values()]),
        keep_bottom=torch.stack([torch.from_numpy(clip.keep_bottom) for clip in clips.values()]),
        abnormal_here=len(batch.abnormal) // world_size(),
        noise=torch.tensor([clip.noise for _, clip in chosen]),
    )


def _room(videos: int, model: ModelConfig, dim: int) -> Tensor:
    size = videos, model.segments, model.frames_per_segment, dim
    return torch.empty(size, dtype=torch.float16, pin_memory=torch.cuda.is_available())


def _to_device(step: StepInput, device: torch.device) -> StepInput:
    return StepInput(
        step.features.to(device, non_blocking=True).float(),
        step.labels.to(device),
        step.keep_top.to(device),
        step.keep_bottom.to(device),
        step.abnormal_here,
        step.noise,
    )
