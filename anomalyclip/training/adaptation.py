"""Adaptation of a configuration to the training videos: their number, their lengths, trimmed or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from anomalyclip.config import RunConfig
from anomalyclip.settings import Section
from anomalyclip.training.sampling import Bag, split_bags, steps_per_epoch

FEWEST_SMOOTHED = 12
"""Standard deviations of the smoothing that a typical video is long, at least."""
TRIMMED_SECONDS = 10.0
"""Abnormal training videos count as trimmed to their anomaly if half of them are shorter."""

LEAST_EPOCHS, LEAST_STEPS = 15, 200
"""Of a training whose epochs are chosen."""


@dataclass(frozen=True)
class Length:
    """Length of a training video."""

    stored: int
    """Stored features."""
    seconds: float


Adapted = tuple[RunConfig, str | None]
"""The configuration, and what was chosen and why (None: nothing)."""


def adapt(config: RunConfig, bags: Sequence[Bag], lengths: Sequence[Length]) -> tuple[RunConfig, list[str]]:
    """Return the configuration with what it leaves to the data, and a line for each choice.

    Args:
        config: with a batch size.
        bags: the training part.
        lengths: of the bags' videos, in their order.
    """
    steps: list[Callable[[RunConfig, Sequence[Bag], Sequence[Length]], Adapted]] = [_trimmed, _grid, _epochs]
    choices = []
    for step in steps:
        config, choice = step(config, bags, lengths)
        choices += [choice] if choice else []
    return config, choices


def _trimmed(config: RunConfig, bags: Sequence[Bag], lengths: Sequence[Length]) -> Adapted:
    """Leave out the bottom-K term if abnormal videos are trimmed: their lowest segments are anomalous too."""
    chosen, choice = config.data.trimmed, None
    if chosen == "auto":
        abnormal = set(split_bags(bags)[0])
        typical = median(length.seconds for bag, length in zip(bags, lengths, strict=True) if bag in abnormal)
        chosen = typical < TRIMMED_SECONDS
        kind = "trimmed: no bottom-K term" if chosen else "not trimmed"
        choice = f"data.trimmed={str(chosen).lower()}: the median abnormal video lasts {typical:.0f} s ({kind})"
    config = _with(config, "data", trimmed=chosen)
    return (_with(config, "loss", bottom_k_abnormal=0.0) if chosen else config), choice


def _grid(config: RunConfig, bags: Sequence[Bag], lengths: Sequence[Length]) -> Adapted:
    """Fit the clip to the videos: in a longer one, most frames of short videos would be repeated."""
    model = config.model
    if not model.fit_grid:
        return config, None
    typical = median(length.stored for length in lengths)
    fitting = max(1, round(typical / (model.segments * model.stride)))
    frames = min(model.frames_per_segment, fitting)
    smoothing = min(model.smoothing, typical / FEWEST_SMOOTHED)
    chosen = f"model.frames_per_segment={frames}, model.smoothing={smoothing:.3g}"
    adapted = _with(config, "model", frames_per_segment=frames, smoothing=smoothing, fit_grid=False)
    return adapted, f"{chosen}: half of the training videos have at most {typical:.0f} features"


def _epochs(config: RunConfig, bags: Sequence[Bag], lengths: Sequence[Length]) -> Adapted:
    """Choose the epochs by the least number of steps, with a warm-up in proportion."""
    training = config.training
    if training.epochs is not None:
        return config, None
    per_epoch = steps_per_epoch(bags, training)
    epochs = max(LEAST_EPOCHS, training.warmup_epochs + 1, -(-LEAST_STEPS // per_epoch))
    warmup = min(max(training.warmup_epochs, round(training.warmup_epochs * epochs / LEAST_EPOCHS)), epochs - 1)
    adapted = _with(config, "training", epochs=epochs, warmup_epochs=warmup)
    return adapted, f"training.epochs={epochs}: {per_epoch} steps each, at least {LEAST_STEPS} in all"


def _with(config: RunConfig, section: str, **changes: object) -> RunConfig:
    part: Section = getattr(config, section)
    return config.model_copy(update={section: type(part).model_validate(part.model_dump() | changes)})
