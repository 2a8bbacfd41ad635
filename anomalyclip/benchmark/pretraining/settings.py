"""The configuration of a pre-training: typed sections, set like those of a run."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from anomalyclip.settings import Section


class PictureSettings(Section):
    """The drawn pictures."""

    count: PositiveInt = 60_000
    """Pictures to learn from, drawn once and varied again each time they are shown."""
    held_out: PositiveInt = 4_000
    """Pictures of another seed, to measure zero-shot accuracy on."""
    seed: NonNegativeInt = 0
    """Of the pictures to learn from; those held out have the next one."""


class AugmentationSettings(Section):
    """Variation of a picture each time it is shown. Shares are parts of a batch, chosen again at every step."""

    zoom: tuple[PositiveFloat, PositiveFloat] = (0.6, 1.2)
    """Side of the shown window in sides of the picture; above 1 the picture shrinks and its border is repeated."""
    stretch: float = Field(default=1.15, ge=1)
    """Greatest ratio of the window's sides, either way."""
    turn: NonNegativeFloat = 5.0
    """Degrees of rotation, either way."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Share mirrored left to right."""
    brightness: NonNegativeFloat = 0.3
    """Greatest shift, as a part of white."""
    contrast: float = Field(default=0.5, ge=0, lt=1)
    """Greatest change of the factor 1 round the picture's mean grey."""
    saturation: NonNegativeFloat = 0.4
    """Greatest change of the factor 1."""
    tint: float = Field(default=0.2, ge=0, lt=1)
    """Greatest change of the factor 1 of each colour channel."""
    grey: float = Field(default=0.2, ge=0, le=1)
    """Share without colours."""
    blur: float = Field(default=0.2, ge=0, le=1)
    """Share blurred by three pixels, more or less."""
    coarse: float = Field(default=0.4, ge=0, le=1)
    """Share shown in a lower resolution."""
    coarsest: float = Field(default=0.4, gt=0, le=1)
    """The lowest resolution, in parts of the full one."""
    noise: float = Field(default=0.5, ge=0, le=1)
    """Share with Gaussian noise."""
    noise_std: NonNegativeFloat = 0.1
    """Greatest standard deviation of that noise, as a part of white."""


class PretrainingSettings(Section):
    """Architecture and optimisation."""

    architecture: str = "clip-tiny"
    """An open_clip architecture; it is trained from random weights."""
    seed: NonNegativeInt = 1024
    steps: PositiveInt = 2_000
    batch_size: PositiveInt = Field(default=256, ge=2)
    learning_rate: PositiveFloat = 2e-3
    """At its highest: linear warm-up by steps, then half a cosine down to 0."""
    warmup_steps: NonNegativeInt = 200
    weight_decay: NonNegativeFloat = 0.1
    """Of matrices and filters; gains, biases, embeddings and the logit scale have none."""
    one_to_one: float = Field(default=0.2, ge=0, le=1)
    """Weight of the plain contrast of each picture with its own caption; the rest counts all of its concept."""
    max_logit_scale: PositiveFloat = 100.0
    log_steps: PositiveInt = 50
    """Steps between figures of the loss."""
    checkpoint_steps: PositiveInt = 500
    """Steps between checkpoints, each with a zero-shot accuracy on the pictures held out."""

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainingSettings":
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps={self.warmup_steps} must be below steps={self.steps}")
        return self


class PretrainingConfig(Section):
    """Everything that decides a pre-training."""

    pictures: PictureSettings = PictureSettings()
    training: PretrainingSettings = PretrainingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
