"""Predictions: truth and scores of the frames of videos; every figure comes from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import JobError
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.events.event import Track, frame_edges
from anomalyclip.features.spacing import frames_per_feature

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

NORMAL_IS_KNOWN = "a video without labels is normal in every frame: its frames have empty lists of labels"


@dataclass(frozen=True)
class Digests:
    """Origin of the predictions: content digests of manifest, annotations and model."""

    manifest: str
    annotations: str
    model: str


@dataclass(frozen=True, eq=False)
class FrameLabels(Sequence[Sequence[str]]):
    """The lists of labels of a video's frames, of which few differ."""

    distinct: Sequence[Sequence[str]]
    places: IntArray
    """Which of them each frame has: (frames,)."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, frame: Any) -> Any:
        """Return the labels of a frame, or of several."""
        if isinstance(frame, slice):
            return FrameLabels(self.distinct, self.places[frame])
        return self.distinct[self.places[frame]]


def gathered_labels(lists: Sequence[Sequence[str]]) -> FrameLabels:
    """Return lists of labels, one per frame, with equal ones kept once."""
    if isinstance(lists, FrameLabels):
        return lists
    places: dict[tuple[str, ...], int] = {}
    found = [places.setdefault(tuple(names), len(places)) for names in lists]
    return FrameLabels(list(places), np.array(found, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class VideoPrediction:
    """Truth and prediction of one video.

    `video_labels` are the classes of the whole video (none: normal), or None if nothing is known of its truth.
    `labels` holds a list of class names per frame (empty: normal), or is None if the truth of frames is unknown:
    nothing is known of the video, or it has labels but no intervals. `scores` (frames,) are the anomaly probabilities,
    `probabilities` (frames, classes) those of the classes in model order, Normal among them. `times` (frames,) are the
    seconds at which frames start, None if unknown. Raises JobError if lengths differ, a figure is not in [0, 1], times
    do not rise, the truth says "Normal", a frame has a label that its video lacks, or a video without labels has
    unknown frames.
    """

    video_id: str
    video_labels: Sequence[str] | None
    labels: Sequence[Sequence[str]] | None
    scores: FloatArray
    probabilities: FloatArray
    times: FloatArray | None = None

    def __post_init__(self) -> None:
        frames = len(self.scores)
        of_truth = frames if self.labels is None else len(self.labels)
        if frames == 0 or of_truth != frames or self.probabilities.shape[:1] != (frames,):
            raise JobError(
                f"video {self.video_id}: {frames} scores, {of_truth} frames of truth and "
                f"probabilities of shape {self.probabilities.shape}; all need the same frames, at least one"
            )
        figures = np.column_stack([self.scores, self.probabilities])
        if len(wrong := outside_unit_interval(figures)):
            raise JobError(f"video {self.video_id}, frame {wrong[0]}: a score is not a probability in [0, 1]")
        if self.times is not None and (self.times.shape != (frames,) or not (np.diff(self.times) > 0).all()):
            raise JobError(f"video {self.video_id}: its frames need {frames} rising times, one each")
        lists = gathered_labels(self.labels or ())
        of_frames = {name for place in np.unique(lists.places).tolist() for name in lists.distinct[place]}
        if NORMAL in {*(self.video_labels or ()), *of_frames}:
            raise JobError(f"video {self.video_id}: a normal frame or video has no labels, not the label {NORMAL!r}")
        if extra := sorted(of_frames - set(self.video_labels or ())):
            raise JobError(f"video {self.video_id}: frames have labels that the video lacks: {', '.join(extra)}")
        if self.labels is None and self.video_labels is not None and not self.video_labels:
            raise JobError(f"video {self.video_id}: {NORMAL_IS_KNOWN}")
        if self.labels is not None and self.video_labels is None:
            raise JobError(f"video {self.video_id}: its frames have a truth, so that its labels are known too")


@dataclass(frozen=True, eq=False)
class Predictions:
    """A whole predictions table in memory; frames of all videos stand one after the other.

    Video i owns the frames `offsets[i]:offsets[i + 1]`. `scores` is (frames,), `probabilities` (frames, classes) in
    the order of `classes`. The truth is `truth` (frames, label_classes) of frames and `video_truth` (videos,
    label_classes) of videos, in the order of `label_classes`: the model's abnormal classes that occur, then the
    occurring ones it does not know. `known` (videos,) marks videos with a known truth of frames; the rows of `truth` of
    the others are false and mean nothing. `labelled` (videos,) marks videos of which anything is known; None: all.
    `segment_frames` consecutive frames make a segment of the model; if the model
    reads `snippets`, so many per video, spread evenly, these are `segment_frames` snippets. `times` (frames,) are the
    seconds at which frames start in their video, NaN in videos of an unknown rate; None if all are unknown. `operating`
    decides which events the scores have; None if the model has no thresholds.
    """

    video_ids: tuple[str, ...]
    offsets: IntArray
    scores: FloatArray
    probabilities: FloatArray
    truth: BoolArray
    video_truth: BoolArray
    known: BoolArray
    classes: tuple[str, ...]
    label_classes: tuple[str, ...]
    digests: Digests
    segment_frames: int
    snippets: int | None = None
    times: FloatArray | None = None
    operating: OperatingPoint | None = None
    labelled: BoolArray | None = None

    @cached_property
    def anomalous(self) -> BoolArray:
        """Whether a frame carries any label, known to the model or not: (frames,)."""
        return np.asarray(self.truth.any(axis=1), dtype=np.bool_)

    def truth_of(self, name: str) -> BoolArray:
        """Whether a frame belongs to the class: (frames,); Normal means no label at all."""
        if name == NORMAL:
            return ~self.anomalous
        if name not in self.label_classes:
            return np.zeros(len(self.scores), dtype=np.bool_)
        return self.truth[:, self.label_classes.index(name)]

    def probability_of(self, name: str) -> FloatArray:
        """The probability of one of the model's classes: (frames,)."""
        return np.ascontiguousarray(self.probabilities[:, self.classes.index(name)])

    def frames_of(self, video: int) -> slice:
        """The frames of the video at this position."""
        return slice(int(self.offsets[video]), int(self.offsets[video + 1]))

    def track(self, video: int) -> Track | None:
        """Scores over time of the video at this position; None if its times are unknown."""
        frames = self.frames_of(video)
        if self.times is None or np.isnan(self.times[frames.start]):
            return None
        times = np.asarray(self.times[frames], dtype=np.float64)
        scores, probabilities = self.scores[frames], self.probabilities[frames]
        return Track(self.video_ids[video], self.classes, scores, probabilities, frame_edges(times))

    def segment_length(self, video: int) -> int | Fraction:
        """Frames in a segment of the video at this position."""
        if self.snippets is None:
            return self.segment_frames
        frames = int(self.offsets[video + 1] - self.offsets[video])
        return frames_per_feature(frames, self.snippets, None) * self.segment_frames

    def labels_of(self, video: int) -> tuple[str, ...]:
        """The classes of the video at this position; none: Normal."""
        return tuple(self.label_classes[column] for column in np.flatnonzero(self.video_truth[video]))

    def select(self, videos: Sequence[int] | IntArray) -> "Predictions":
        """The same predictions of the videos at these positions, in this order."""
        videos = np.asarray(videos, dtype=np.int64)
        lengths = np.diff(self.offsets)[videos]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        frames = np.arange(offsets[-1]) + np.repeat(self.offsets[videos] - offsets[:-1], lengths)
        return replace(
            self,
            video_ids=tuple(self.video_ids[video] for video in videos),
            offsets=offsets,
            scores=self.scores[frames],
            probabilities=self.probabilities[frames],
            truth=self.truth[frames],
            video_truth=self.video_truth[videos],
            known=self.known[videos],
            times=None if self.times is None else self.times[frames],
            labelled=None if self.labelled is None else self.labelled[videos],
        )


def outside_unit_interval(figures: FloatArray) -> IntArray:
    """The rows of (frames, columns) that hold NaN, or a number below 0 or above 1."""
    return np.flatnonzero(~((figures >= 0) & (figures <= 1)).all(axis=1))
