"""Configuration of a run: typed sections of settings."""

from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from anomalyclip.settings import Section

Precision = Literal["auto", "float32", "tf32", "bfloat16"]
EpochChoice = Literal["best", "last"]
Architecture = Literal["axial", "transformer", "mlp"]
"""Of the Temporal model; each is a case of `anomalyclip/model/temporal.py`."""
MethodName = Literal["anomalyclip", "sultani", "rtfm", "s3r", "ssrl", "actionclip", "vadclip"]
"""The method, or a competitor of `anomalyclip/baselines/`."""


class DataConfig(Section):
    """Reading of the manifest."""

    classes: tuple[str, ...] | None = None
    """Class names of the run; None uses the labels of the training videos."""
    base_classes: tuple[str, ...] | None = None
    """Classes that a training with `training.classes_seen=base` sees."""
    novel_classes: tuple[str, ...] | None = None
    """Classes that it recognises by their names alone, in the test part; None: all others there."""
    frame_tolerance: NonNegativeInt = 0
    """Number of frames by which a count or an interval in the manifest may differ from the decoded video."""
    features: str | None = None
    """Name of imported features (the import name); None extracts features from the videos."""
    buckets: tuple[str, ...] | None = None
    """Buckets that the URIs of videos may name; None for all. It protects an operator whose credentials open more."""
    fps: PositiveFloat = 25.0
    """Frames per second of videos whose rate is unknown: imported features and folders of pictures do not state it."""
    trimmed: Literal[True, False, "auto"] = False
    """Abnormal training videos show their anomaly from start to end: the loss has no bottom-K term for them then. auto:
    if half of them last less than 10 seconds."""


class BackboneConfig(Section):
    """The frozen CLIP: its image tower computes the features, its text tower reads the prompts."""

    name: str = "clip-tiny"
    """An open_clip architecture; weights from OpenAI need the one that ends in `-quickgelu`."""
    weights: str = "embedded"
    """`random` (seeded), `embedded` (part of this package), a weight file, or a tag on open_clip's hub (`openai`)."""
    offline: bool = False
    """Do not use the network: weights must be a local file or already downloaded."""


class ExtractionConfig(Section):
    """Extraction: from video files to stored features."""

    sampling_rate: PositiveInt | None = 1
    """Store the features of every n-th frame; a score then holds for n frames. null: imported snippets, of which a
    video has a fixed number, spread evenly over its frames."""
    batch_size: PositiveInt = 64
    """Frames that the image tower encodes at once; a batch never holds frames of two videos."""
    crops: Literal[1, 5, 10] = 1
    """Views of a frame: 1 is the whole frame, 5 the corners and the centre, 10 these and their mirror images. Training
    draws one per clip; scoring uses the mean over all."""
    precision: Precision = "auto"
    """Precision of the image tower: auto is float32 on CPUs and bfloat16 on GPUs. float32 is exact on every GPU; tf32
    lets GPUs round the inputs of products to 10 bits, which is faster."""
    compiled: bool = False
    """Compile the image tower on GPUs: a worker starts 10 to 30 s later, and encodes faster. Features differ by
    rounding."""
    workers: PositiveInt | None = None
    """Number of extraction workers; None is one per GPU, without GPUs one per machine."""
    cpus_per_worker: PositiveFloat = 0.9
    """CPUs that Ray reserves for a worker. From 1 up, the worker uses as many threads; below 1, small machines have
    room for other work, and the workers of a machine share its CPUs."""
    decode_processes: PositiveInt | None = None
    """Videos that a worker decodes at the same time, each in its own process; None is 2 on CPUs, and with a GPU one per
    CPU of the worker's share of the cluster."""
    decode_timeout: PositiveFloat = 120.0
    """Seconds without a batch of frames after which the decoder of a video counts as hung."""
    part_frames: PositiveInt = 15_000
    """Stored frames of a part of a long video, rounded up to whole row groups: parts are extracted and kept one by one,
    so that a job that dies loses no more than those in work."""
    max_pixels: PositiveInt = 8192 * 4320
    """Most pixels of a frame (8K film). A video with more is refused before a frame is decoded, for its memory."""

    @property
    def step(self) -> int:
        """Frames from one extracted frame to the next; only imported features have no sampling rate."""
        assert self.sampling_rate is not None
        return self.sampling_rate


class ModelConfig(Section):
    """The Selector and the Temporal model."""

    method: MethodName = "anomalyclip"
    """What is trained: the method, or a competitor. A competitor uses `k` and the sizes of a clip; its other constants,
    its loss and its optimiser are its authors'."""
    context_length: PositiveInt = 8
    """Number of learnt context tokens before a class name."""
    context_text: str | None = None
    """Words whose embeddings initialise the context; their number replaces `context_length`."""
    shared_context: bool = False
    """One context for all classes instead of one per class."""
    k: PositiveInt = 3
    """Segments selected per video, at the top and at the bottom (K in the paper)."""
    segments: PositiveInt = 32
    """Segments of a clip."""
    frames_per_segment: PositiveInt = 16
    """Stored features of a segment."""
    fit_grid: bool = False
    """Lower `frames_per_segment` so that a clip is not longer than half of the training videos."""
    clips: Literal["paper", "even"] = "paper"
    """Segments of a training clip: paper never draws the last frames of a video, and repeats the first ones of a short
    video; even spreads them from the first frame to the last."""
    stride: PositiveInt = 1
    """Distance between the frames of a segment, in stored features."""
    top_dropout: float = Field(default=0.7, ge=0, lt=1)
    """Probability that a segment is hidden from the top-K selection in training."""
    bottom_dropout: float = Field(default=0.7, ge=0, lt=1)
    """The same for the bottom-K selection; if both are equal, one mask is drawn for both."""
    embedding_dim: PositiveInt = 64
    """Width of the Temporal model."""
    heads: PositiveInt = 8
    """Attention heads; they must divide `embedding_dim`."""
    depth: PositiveInt = 1
    """Layers of the axial transformer; `temporal=transformer` has twelve per layer, `temporal=mlp` ignores it."""
    concat_logits: bool = False
    """Give the Selector's logits to the Temporal model together with the features."""
    directions: Literal["auto", "finetuned", "frozen", "engineered", "free"] = "finetuned"
    """Source of the directions (Table 3): prompts learnt with the text projection (finetuned) or without (frozen),
    fixed prompts (engineered), or parameters without a text (free). auto: finetuned where the features are those of a
    CLIP with a text tower, else free."""
    initial_directions: Literal["random", "class_means"] = "random"
    """Start of directions that are free: drawn, as in the paper, or towards the mean training feature of each class."""
    standardise: bool = False
    """Divide the offsets from the normality prototype by the standard deviation of each of their numbers over the
    training videos."""
    position_std: PositiveFloat = 1.0
    """Standard deviation of the axial transformer's initial positions."""
    linear: bool = False
    """Average the Temporal model's logit with that of a logistic regression on the features of single frames."""
    zero_shot: Literal[True, False, "auto"] = False
    """Average in zero-shot CLIP's logit of single frames, standardised over the training videos. auto: where the
    features are those of a CLIP with a text tower."""
    smoothing: NonNegativeFloat = 0.0
    """Standard deviation, in stored features, of the Gaussian that smooths logits along a video at scoring."""
    likelihood: Literal["projection", "cosine"] = "projection"
    """Likelihood of a class (Table 4): projection on its direction in the re-centred space, or cosine similarity in
    CLIP's own space."""
    selection: Literal["likelihood", "magnitude"] = "likelihood"
    """Segments are selected by their likelihood or by the magnitude of their features (Table 4)."""
    temporal: Architecture = "axial"
    """Architecture of the Temporal model (Table 5)."""

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
    """Optimisation, and which epoch becomes the model."""

    protocol: Literal["clean", "paper"] = "clean"
    """clean: a validation part chooses the epoch. paper: all training videos, the last epoch."""
    classes_seen: Literal["all", "base"] = "all"
    """base: train on normal videos and those of `data.base_classes`, and recognise the novel ones by their names alone
    (docs/new-classes.md)."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training videos of each class that `clean` holds out if the manifest has no `val` rows."""
    chosen_epoch: EpochChoice = "best"
    """`clean` only: the epoch that becomes the model: best by video-level AUC on the validation part, or the last."""
    validate_every: PositiveInt = 1
    """`clean` only: epochs from one validation to the next; the last epoch always has one. Whole validation videos are
    scored, which takes about half as long as training on clips; the best epoch is one of those with a validation."""
    final_fit: bool = False
    """`clean` only: train once more on all training videos, for the chosen number of epochs."""
    epochs: PositiveInt | None = 15
    """Epochs of the schedule; the first has the learning rate 0. None (the preset `default`) chooses by the number of
    training videos: 15, or as many as give 200 steps, with a longer warm-up then."""
    warmup_epochs: PositiveInt = 2
    """Epochs in which the learning rate rises to its highest value; then it falls along a half cosine."""
    learning_rate: PositiveFloat = 2e-4
    """Highest learning rate of AdamW."""
    weight_decay: NonNegativeFloat = 0.2
    """Weight decay of AdamW."""
    batch_size: PositiveInt | None = 64
    """Videos per step over all workers: half abnormal, half normal. None (the preset `default`) chooses by the number
    of training videos: the largest of 64, 32, 16, 8 and 4 that gives at least 8 steps per epoch, else 4."""
    seed: NonNegativeInt = 1024
    """Seed of every random draw; the same seed gives the same model."""
    workers: PositiveInt = 1
    """Number of data-parallel workers. Their result is that of one worker; they must divide half the batch."""
    min_workers: PositiveInt | None = None
    """Fewest workers with which a training starts, or goes on when nodes are lost, until there is room for all again;
    every number up to `workers` must divide half the batch. None: it waits for all."""
    cpus_per_worker: PositiveFloat = 0.9
    """CPUs that Ray reserves for a worker; see `extraction.cpus_per_worker`."""
    precision: Precision = "auto"
    """Precision of a training step: auto is float32 on CPUs and bfloat16 autocast on GPUs. float32 is exact on every
    GPU; tf32 lets GPUs round the inputs of products to 10 bits. bfloat16 is faster on CPUs with AVX512-BF16 or AMX."""
    max_failures: NonNegativeInt = 2
    """Number of times that lost workers are started again from the last checkpoint."""

    @property
    def num_epochs(self) -> int:
        """Epochs of the schedule; they must be chosen by now (`adapt`)."""
        assert self.epochs is not None
        return self.epochs

    @property
    def fewest_workers(self) -> int:
        """Number of workers below which a training waits."""
        return self.min_workers or self.workers

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
            for workers in range(self.fewest_workers, self.workers + 1):
                if self.half_batch % workers:
                    raise ValueError(
                        f"workers={workers} must divide half the batch ({self.half_batch} videos of a kind)"
                    )
        if self.fewest_workers > self.workers:
            raise ValueError(f"min_workers={self.min_workers} must be at most workers={self.workers}")
        if self.epochs is not None and self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs} must be below epochs={self.epochs}: set both")
        return self


class EventsConfig(Section):
    """Events: how the scores of a video become a list of events. All durations are in seconds."""

    smoothing: NonNegativeFloat = 0.5
    """Width of the moving mean over the scores."""
    leave: float = Field(default=0.5, gt=0, le=1)
    """An event starts where the score reaches the threshold, and ends where its odds p / (1 - p) fall below this share
    of the threshold's odds."""
    gap: NonNegativeFloat = 1.0
    """Events with a shorter pause between them are one event."""
    shortest: NonNegativeFloat = 0.5
    """Shorter events are dropped."""
    detections_per_hour: PositiveFloat = 1.0
    """False alarms per hour of normal video at the threshold of events of severity `detection`."""
    alerts_per_hour: PositiveFloat = 0.1
    """The same for events of severity `alert`."""

    @model_validator(mode="after")
    def _consistent(self) -> "EventsConfig":
        if self.alerts_per_hour > self.detections_per_hour:
            raise ValueError(
                f"alerts_per_hour={self.alerts_per_hour:g} exceeds detections_per_hour={self.detections_per_hour:g}: "
                "an alert is a detection too"
            )
        return self

    def changed(self) -> dict[str, float]:
        """Return the settings that differ from the defaults, by name."""
        return {name: value for name, value in self if value != getattr(type(self)(), name)}


class LiveConfig(Section):
    """Live cameras (`watch.py`). All durations are in seconds."""

    fps: PositiveFloat | None = None
    """Frames per second that are taken from a source; None takes all."""
    queue_frames: PositiveInt = 64
    """Frames of a source that wait to be scored; when more come, the oldest are dropped."""
    clip_before: NonNegativeFloat = 5.0
    """Footage before an alert in its clip."""
    clip_after: NonNegativeFloat = 10.0
    """The same after it."""
    clip_longest: PositiveFloat = 120.0
    """Longest clip; of a longer alert it holds the beginning."""
    lost_after: PositiveFloat = 3.0
    """A source without a frame for so long is lost; its open events end."""
    blind_after: PositiveFloat = 10.0
    """A picture that is black or does not change for so long is an event."""
    host: str = "127.0.0.1"
    """Address on which metrics and health are served."""
    port: int = Field(default=9464, ge=0, le=65535)
    """The same, its port; 0 serves nothing."""


class CacheConfig(Section):
    """The memory-mapped feature cache of a machine."""

    max_gigabytes: PositiveFloat = 500.0
    """Size in GB above which the least recently used caches are removed."""


class TrackingConfig(Section):
    """Place of a run in MLflow."""

    experiment: str = "anomalyclip"
    """Experiment of the run."""
    model_name: str = "anomalyclip"
    """Registered model of which the run creates a version."""


class RunConfig(Section):
    """All settings of a run; a preset is one such value."""

    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    extraction: ExtractionConfig = ExtractionConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    events: EventsConfig = EventsConfig()
    live: LiveConfig = LiveConfig()
    cache: CacheConfig = CacheConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.extraction.sampling_rate is None and self.data.features is None:
            raise ValueError("extraction.sampling_rate=null is for imported snippets (data.features): give a number")
        return self
