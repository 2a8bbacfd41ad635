"""Pre-training of the small CLIP that ships with the package, as a resumable, tracked run."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from anomalyclip.benchmark.pictures.pool import DrawPicture, PicturePool, draw_pool, pool_digest
from anomalyclip.benchmark.pretraining.accuracy import ZeroShotAccuracy, zero_shot_accuracy
from anomalyclip.benchmark.pretraining.contrastive import Pretraining
from anomalyclip.benchmark.pretraining.settings import PretrainingConfig
from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import load_backbone, new_backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.features.weights import write_weights
from anomalyclip.job import Job
from anomalyclip.jobs.lifecycle import finished, tracked
from anomalyclip.runs import RunFolder, RunKind, RunResult, find_run
from anomalyclip.settings import to_yaml
from anomalyclip.storage import scratch
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.training.checkpoints import CheckpointStore

log = logging.getLogger("anomalyclip")

TOP1 = "zero_shot_top1"
WORST = 5
"""Number of the worst concepts that the log names."""


@dataclass(frozen=True)
class Prepared:
    """A checked pre-training."""

    config: PretrainingConfig
    draw: DrawPicture
    run: RunFolder
    output: Path | None
    """File for a copy of the weights, outside the run's folder."""

    @property
    def weights_key(self) -> str:
        """Key of the finished weights in the storage root."""
        return self.run.part(f"{self.config.training.architecture}.safetensors")


@dataclass(frozen=True, kw_only=True)
class PretrainingResult(RunResult):
    """Result of a pre-training."""

    steps: int
    zero_shot_top1: float
    mean_zero_shot_top1: float
    weights: str
    """URI of the weights."""


def prepare(job: Job, config: PretrainingConfig, draw: DrawPicture, output: Path | None) -> Prepared:
    """Check everything that can be wrong before work starts, and find the run; raises UsageError."""
    check_output(output)
    _check_architecture(config, draw)
    sample = {name: pool_digest(draw, seed, count) for name, (seed, count) in _pools(config).items()}
    content = {**settings(config), **sample}
    run = find_run(job.storage, RunKind.PRETRAINING, job.name, config.training.architecture, content, job.fresh)
    return Prepared(config, draw, run, output)


def settings(config: PretrainingConfig) -> dict[str, Any]:
    """Return the settings that can change the weights, by `section.key`."""
    sections = config.model_dump(mode="json")
    return {
        f"{section}.{key}": value
        for section, part in sections.items()
        for key, value in part.items()
        if key not in ("log_steps", "checkpoint_steps")
    }


def run(job: Job, prepared: Prepared) -> PretrainingResult:
    """Draw, train and measure, resuming after the last checkpoint; write the weights also to the file asked for."""
    if (result := finished(job, prepared.run, PretrainingResult)) is None:
        with tracked(job, prepared.run, prepared.config.training.architecture, on_ray=False) as tracking:
            tracking.log_settings(settings(prepared.config), to_yaml(prepared.config))
            learnt, held_out = draw_pictures(prepared)
            training = train(tracking, job, prepared, learnt, held_out)
            accuracy = publish(tracking, job, prepared, training, held_out)
            result = finish(tracking, job, prepared, accuracy)
    copy_weights(job, prepared)
    return result


def draw_pictures(prepared: Prepared) -> tuple[PicturePool, PicturePool]:
    """Return the pictures to learn from and those held out."""
    learnt, held_out = (draw_pool(prepared.draw, seed, count) for seed, count in _pools(prepared.config).values())
    return learnt, held_out


def train(
    tracking: TrackedRun, job: Job, prepared: Prepared, learnt: PicturePool, held_out: PicturePool
) -> Pretraining:
    """Train up to the last step, resuming after the last checkpoint; figures go to MLflow per step."""
    config, checkpoints = prepared.config.training, CheckpointStore(job.storage, prepared.run.key)
    training = Pretraining(learnt.pixels, learnt.captions, learnt.concepts, config, prepared.config.augmentation)
    history: list[dict[str, float]] = []
    if (checkpoint := checkpoints.latest()) is not None:
        training.restore(checkpoint)
        history = checkpoint.history
        log.info("resuming after step %d", training.step)
    while training.step < config.steps:
        figures = training.run(_next_stop(training.step, prepared.config) - training.step)
        whole = training.step % config.checkpoint_steps == 0 or training.step == config.steps
        if whole:
            figures[TOP1] = measure(training, held_out).top1
        history.append({"step": float(training.step), **figures})
        tracking.log_step(training.step, figures)
        log.info("step %d  %s", training.step, "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        if whole:
            checkpoints.save(training.checkpoint(history), keep=[])
    return training


def measure(training: Pretraining, held_out: PicturePool) -> ZeroShotAccuracy:
    """Return the accuracy of a model in training."""
    return zero_shot_accuracy(training.model, training.tokenizer, training.preprocess, held_out)


def publish(
    tracking: TrackedRun, job: Job, prepared: Prepared, training: Pretraining, held_out: PicturePool
) -> ZeroShotAccuracy:
    """Write the weights in half precision, and measure them as they will be loaded."""
    architecture = prepared.config.training.architecture
    with TemporaryDirectory(dir=scratch()) as folder:
        path = Path(folder) / f"{architecture}.safetensors"
        write_weights(training.model, path, {"pretraining": json.dumps(settings(prepared.config))})
        backbone = load_backbone(BackboneConfig(name=architecture, weights=str(path)))
        accuracy = zero_shot_accuracy(backbone.model, backbone.tokenizer, backbone.preprocess, held_out)
        (Path(folder) / "accuracy.md").write_text(accuracy.as_markdown())
        (Path(folder) / "accuracy.json").write_text(json.dumps(accuracy.as_json(), indent=2))
        tracking.log_artifacts(Path(folder), "backbone")
        for name in ("accuracy.md", "accuracy.json"):
            job.storage.publish(Path(folder) / name, f"{prepared.run.key}/{name}")
        job.storage.publish(path, prepared.weights_key)
    tracking.log_metrics({f"final_{TOP1}": accuracy.top1, f"final_mean_{TOP1}": accuracy.mean_top1})
    worst = ", ".join(f"{name} {row.accuracy:.2f}" for name, row in list(accuracy.concepts.items())[:WORST])
    log.info("zero-shot top-1 on %d pictures held out: %.3f (worst: %s)", len(held_out.concepts), accuracy.top1, worst)
    return accuracy


def finish(tracking: TrackedRun, job: Job, prepared: Prepared, accuracy: ZeroShotAccuracy) -> PretrainingResult:
    """Store and return the job's result."""
    result = PretrainingResult(
        run=prepared.run.name,
        run_id=tracking.run_id,
        paths=prepared.run.published(),
        tracking_uri=job.tracking_uri,
        steps=prepared.config.training.steps,
        zero_shot_top1=accuracy.top1,
        mean_zero_shot_top1=accuracy.mean_top1,
        weights=job.storage.uri(prepared.weights_key),
    )
    prepared.run.finish(result)
    return result


def check_output(output: Path | None) -> None:
    """Raise UsageError if the weights could not be written at the end."""
    if output is None:
        return
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output} must end in .safetensors")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: folder {output.parent} does not exist")


def copy_weights(job: Job, prepared: Prepared) -> None:
    """Write the finished weights to the file asked for."""
    if (output := prepared.output) is None:
        return
    partial = output.with_name(f"{output.name}.partial")
    partial.write_bytes(job.storage.read(prepared.weights_key))
    partial.replace(output)
    log.info("weights: %s (%.1f MB)", output, output.stat().st_size / 1e6)


def _check_architecture(config: PretrainingConfig, draw: DrawPicture) -> None:
    """Refuse an architecture that cannot be trained on the pictures, or cannot read learnt prompts afterwards."""
    backbone = new_backbone(config.training.architecture)
    tower = text_tower(backbone.model)
    if tower.reads_padding or tower.pooling != "argmax" or not isinstance(tower.text_projection, nn.Parameter):
        raise UsageError(
            f"training.architecture={backbone.name}: only CLIP's own text tower is trained here: causal, read at the "
            "end of the text, projected by one matrix"
        )
    size = draw(config.pictures.seed, 0).pixels.shape[0]
    if backbone.preprocess.size != size:
        raise UsageError(
            f"training.architecture={backbone.name} takes pictures of {backbone.preprocess.size} pixels, "
            f"the drawn ones have {size}"
        )


def _pools(config: PretrainingConfig) -> dict[str, tuple[int, int]]:
    """Return seed and number of the pictures to learn from and of those held out."""
    pictures = config.pictures
    return {"learnt": (pictures.seed, pictures.count), "held_out": (pictures.seed + 1, pictures.held_out)}


def _next_stop(step: int, config: PretrainingConfig) -> int:
    """Return the next step with something to log or keep."""
    every = (config.training.log_steps, config.training.checkpoint_steps)
    return min(config.training.steps, *(step - step % period + period for period in every))
