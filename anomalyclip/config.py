"""The one configuration of a run: typed sections, YAML files, and `section.key=value` overrides."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from anomalyclip.errors import UsageError

Precision = Literal["auto", "float32", "tf32", "bfloat16"]
Architecture = Literal["axial", "transformer", "mlp"]
"""Of the Temporal model; each is a case of `anomalyclip/model/temporal.py`."""


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnyConfig = TypeVar("AnyConfig", bound=Section)
"""A configuration: sections by name."""


class DataConfig(Section):
    """What is read from the manifest."""

    classes: tuple[str, ...] | None = None
    """Class names of the run; None takes the labels of the training videos."""
    frame_tolerance: NonNegativeInt = 0
    """Frames by which a manifest's count or interval may differ from the decoded video."""
    features: str | None = None
    """Import name of the imported features to use; None extracts features from the videos."""


class BackboneConfig(Section):
    """The frozen CLIP whose image tower makes the features and whose text tower reads the prompts."""

    name: str = "clip-tiny"
    """An open_clip architecture; OpenAI's own weights need the `-quickgelu` one."""
    weights: str = "embedded"
    """`random` (seeded), `embedded` (ours, in this package), a weight file, or a tag of open_clip's hub (`openai`)."""
    offline: bool = False
    """Refuse the hub: weights must be a local file, or already downloaded."""


class ExtractionConfig(Section):
    """From video files to stored features."""

    sampling_rate: PositiveInt = 1
    """Keep every n-th frame; scores are repeated to cover the frames between."""
    batch_size: PositiveInt = 64
    """Frames the image tower takes at once; a batch never spans two videos."""
    crops: Literal[1, 5, 10] = 1
    """Views of a frame: the whole, the corners and the centre, or these and their mirror images; training draws
    one a clip, scoring averages."""
    precision: Precision = "auto"
    """Of the image tower; auto is float32 on CPUs and bfloat16 on GPUs."""
    workers: PositiveInt | None = None
    """Extraction workers; None is one a GPU, or one on a machine without."""
    cpus_per_worker: PositiveFloat = 0.9
    """CPUs that Ray sets aside for a worker (below 1, so that small machines schedule the rest)."""
    decode_processes: PositiveInt = 2
    """Videos a worker decodes at the same time, each in a process of its own."""
    decode_timeout: PositiveFloat = 120.0
    """Seconds without a batch after which a video's decoder counts as hung."""


class ModelConfig(Section):
    """Selector and Temporal model."""

    context_length: PositiveInt = 8
    """Learnt context tokens in front of a class name."""
    context_text: str | None = None
    """Words whose embeddings start the context; their number replaces `context_length`."""
    shared_context: bool = False
    """One context for all classes instead of one a class."""
    k: PositiveInt = 3
    """Segments selected a video, at the top and at the bottom (the paper's K)."""
    segments: PositiveInt = 32
    frames_per_segment: PositiveInt = 16
    stride: PositiveInt = 1
    """Distance of the frames of a clip, in stored features."""
    top_dropout: float = Field(default=0.7, ge=0, lt=1)
    """Probability that a segment is hidden from the top-K selection in training."""
    bottom_dropout: float = Field(default=0.7, ge=0, lt=1)
    """The same for bottom-K; with equal values one mask serves both."""
    embedding_dim: PositiveInt = 64
    heads: PositiveInt = 8
    depth: PositiveInt = 1
    """Layers of the axial transformer; a plain one has twelve for each, an MLP ignores it."""
    concat_logits: bool = False
    """Feed the Selector's logits to the Temporal model beside the features."""
    directions: Literal["finetuned", "frozen", "engineered", "free"] = "finetuned"
    """Prompts learnt with the text projection or beside a frozen one, fixed prompts, or free parameters (Table 3)."""
    likelihood: Literal["projection", "cosine"] = "projection"
    """Projection on the directions in the re-centred space, or cosine similarity in CLIP's own (Table 4)."""
    selection: Literal["likelihood", "magnitude"] = "likelihood"
    """What segments are selected by: their likelihood, or the magnitude of their features (Table 4)."""
    temporal: Architecture = "axial"
    """Architecture of the Temporal model (Table 5); a transformer has twelve layers a layer of `depth`."""

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.embedding_dim % self.heads:
            raise ValueError(f"heads={self.heads} must divide embedding_dim={self.embedding_dim}")
        if self.k > self.segments:
            raise ValueError(f"k={self.k} exceeds the {self.segments} segments of a clip")
        return self


class LossConfig(Section):
    """Weights (lambda) of the seven loss terms."""

    direction_abnormal: NonNegativeFloat = 1.0
    direction_normal: NonNegativeFloat = 1.0
    top_k_abnormal: NonNegativeFloat = 1.0
    bottom_k_abnormal: NonNegativeFloat = 1.0
    top_k_normal: NonNegativeFloat = 1.0
    smooth: NonNegativeFloat = 8e-4
    sparse: NonNegativeFloat = 8e-3


class TrainingConfig(Section):
    """Optimisation, and how a run chooses its model."""

    protocol: Literal["clean", "paper"] = "clean"
    """clean: a validation part chooses the epoch; paper: all training videos, last epoch."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Part of the training videos of each class held out by `clean` where the manifest has no `val` rows."""
    final_fit: bool = False
    """`clean` only: fit once more on all training videos for the chosen number of epochs."""
    epochs: PositiveInt = 15
    warmup_epochs: PositiveInt = 2
    learning_rate: PositiveFloat = 2e-4
    weight_decay: NonNegativeFloat = 0.2
    batch_size: PositiveInt | None = 64
    """Videos per step over all workers: half abnormal, half normal. None chooses it by the number of training videos:
    the largest of 64, 32, 16, 8 and 4 that gives at least 8 steps per epoch."""
    seed: NonNegativeInt = 1024
    workers: PositiveInt = 1
    """Data-parallel workers; they compute what one does, and must divide half the batch."""
    cpus_per_worker: PositiveFloat = 0.9
    precision: Precision = "auto"
    """Of the training step; auto is float32 on CPUs and bfloat16 autocast on GPUs."""
    max_failures: NonNegativeInt = 2
    """Times that lost workers are started again from the last checkpoint."""

    @property
    def half_batch(self) -> int:
        """Videos of a kind per step; the batch size must be chosen by now (`plan_training`)."""
        assert self.batch_size is not None
        return self.batch_size // 2

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingConfig":
        if self.batch_size is not None:
            if self.batch_size % 2:
                raise ValueError(f"batch_size={self.batch_size} must be even: half abnormal, half normal")
            if self.half_batch % self.workers:
                raise ValueError(
                    f"workers={self.workers} must divide half the batch ({self.half_batch} videos of a kind)"
                )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs} must be below epochs={self.epochs}: set both")
        return self


class CacheConfig(Section):
    """The memory-mapped features of a node."""

    max_gigabytes: PositiveFloat = 500.0
    """Size above which the caches used longest ago are removed."""


class TrackingConfig(Section):
    """Where a run is filed in MLflow."""

    experiment: str = "anomalyclip"
    model_name: str = "anomalyclip"


class RunConfig(Section):
    """Everything that decides a run; a preset is one such value."""

    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    extraction: ExtractionConfig = ExtractionConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    cache: CacheConfig = CacheConfig()
    tracking: TrackingConfig = TrackingConfig()


def build_config(base: AnyConfig, file: Path | None = None, overrides: Sequence[str] = ()) -> AnyConfig:
    """Return `base` with a YAML file's settings and then `section.key=value` overrides on top.

    Raises UsageError that names the first setting that is unknown, with the nearest known one, or all that are wrong.
    """
    return with_settings(base, [*_file_settings(file), *map(_parse_override, overrides)])


def with_settings(base: AnyConfig, changes: Iterable[tuple[str, str, Any]]) -> AnyConfig:
    """Return `base` with changes on top: where each comes from, its `section.key`, and the value.

    Raises UsageError that names the first setting that is unknown, with the nearest known one, or all that are wrong.
    """
    settings = base.model_dump()
    for source, dotted, value in changes:
        section, key = _resolve(dotted, settings, source)
        settings[section][key] = value
    try:
        return type(base).model_validate(settings)
    except ValidationError as error:
        raise UsageError("; ".join(map(_fault, error.errors()))) from None


def _fault(fault: Mapping[str, Any]) -> str:
    where, message = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" + ("" if fault["type"] == "value_error" else f" (got {fault['input']!r})")


def to_yaml(config: Section) -> str:
    """Return the whole configuration as YAML that `--config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def digest(*parts: Any) -> str:
    """Return 16 hexadecimal digits (SHA-256) that name JSON-like values and configuration sections."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _file_settings(file: Path | None) -> list[tuple[str, str, Any]]:
    if file is None:
        return []
    try:
        content = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise UsageError(f"config file {file} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"config file {file} is not readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping) or not all(isinstance(part, Mapping) for part in content.values()):
        raise UsageError(f"config file {file}: expected sections of settings, such as `training: {{epochs: 5}}`")
    return [(str(file), f"{section}.{key}", value) for section, part in content.items() for key, value in part.items()]


def _parse_override(text: str) -> tuple[str, str, Any]:
    dotted, separator, value = text.partition("=")
    if not separator or dotted.count(".") != 1:
        raise UsageError(f"--set {text}: expected section.key=value, such as training.epochs=5")
    try:
        return "--set", dotted, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"--set {text}: the value is not valid YAML") from None


def _resolve(dotted: str, settings: Mapping[str, Mapping[str, Any]], source: str) -> tuple[str, str]:
    section, _, key = dotted.partition(".")
    if section in settings and key in settings[section]:
        return section, key
    known = [f"{name}.{item}" for name, part in settings.items() for item in part]
    nearest = difflib.get_close_matches(dotted, known, n=1, cutoff=0.0)[0]
    raise UsageError(f"{source}: unknown setting {dotted}; did you mean {nearest}?")
