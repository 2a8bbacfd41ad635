"""The predictions table: one Parquet file a model and test set, from which every figure is computed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import JobError, UsageError

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Digests:
    """What the predictions were made from: content digests of manifest, annotations and model."""

    manifest: str
    annotations: str
    model: str


@dataclass(frozen=True, eq=False)
class VideoPrediction:
    """Truth and prediction of one video.

    `labels` holds one list of class names a frame (empty: normal), `scores` (frames,) the anomaly
    probabilities and `probabilities` (frames, classes) those of the classes in model order, Normal among
    them. Raises JobError where lengths differ, a figure is not in [0, 1], or the truth says "Normal".
    """

    video_id: str
    labels: Sequence[Sequence[str]]
    scores: FloatArray
    probabilities: FloatArray

    def __post_init__(self) -> None:
        frames = len(self.scores)
        if frames == 0 or len(self.labels) != frames or self.probabilities.shape[:1] != (frames,):
            raise JobError(
                f"video {self.video_id}: {frames} scores, {len(self.labels)} frames of truth and "
                f"probabilities of shape {self.probabilities.shape}; all need the same frames, at least one"
            )
        figures = np.column_stack([self.scores, self.probabilities])
        if len(wrong := _outside_unit_interval(figures)):
            raise JobError(f"video {self.video_id}, frame {wrong[0]}: a score is not a probability in [0, 1]")
        if any(NORMAL in names for names in self.labels):
            raise JobError(f"video {self.video_id}: a normal frame has no labels, not the label {NORMAL!r}")


@dataclass(frozen=True, eq=False)
class Predictions:
    """A whole predictions table in memory; frames of all videos stand one after the other.

    Video i owns the frames `offsets[i]:offsets[i + 1]`. `scores` is (frames,), `probabilities`
    (frames, classes) in the order of `classes`, and `truth` (frames, label_classes) in the order of
    `label_classes`: the model's abnormal classes that occur, then the occurring ones it does not know.
    """

    video_ids: tuple[str, ...]
    offsets: IntArray
    scores: FloatArray
    probabilities: FloatArray
    truth: BoolArray
    classes: tuple[str, ...]
    label_classes: tuple[str, ...]
    digests: Digests

    @property
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

    def frames_of(self, video: int) -> slice:
        """The frames of the video at this position."""
        return slice(int(self.offsets[video]), int(self.offsets[video + 1]))

    def labels_of(self, video: int) -> tuple[str, ...]:
        """The classes that occur in the video at this position; none: Normal."""
        occurs = np.flatnonzero(self.truth[self.frames_of(video)].any(axis=0))
        return tuple(self.label_classes[column] for column in occurs)


def predictions_schema(classes: Sequence[str], digests: Digests) -> pa.Schema:
    """The table's columns and file metadata for a model of these classes (model order, Normal among them)."""
    if NORMAL not in classes or len(set(classes)) != len(classes):
        raise UsageError(f"classes must be distinct and hold {NORMAL!r}; got {', '.join(classes) or 'none'}")
    return pa.schema(
        [
            pa.field("video_id", pa.string()),
            pa.field("frame", pa.int32()),
            pa.field("labels", pa.list_(pa.string())),
            pa.field("score", pa.float32()),
            *(pa.field(f"p_{name}", pa.float32()) for name in classes),
        ],
        metadata={
            "classes": json.dumps(list(classes)),
            **{f"{name}_digest": value for name, value in asdict(digests).items()},
        },
    )


def write_predictions(path: Path, videos: Iterable[VideoPrediction], classes: Sequence[str], digests: Digests) -> None:
    """Write the table to a local file, one row group a video as it comes.

    The file appears under its name only when it is whole. Raises JobError where a video comes twice, has
    another number of classes, or where there is none; whatever `videos` raises passes through.
    """
    schema = predictions_schema(classes, digests)
    partial = path.with_name(path.name + ".partial")
    seen: set[str] = set()
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for video in videos:
                if video.video_id in seen:
                    raise JobError(f"video {video.video_id} comes twice; a table holds each video once")
                seen.add(video.video_id)
                writer.write_table(_video_table(video, schema))
        if not seen:
            raise JobError(f"{path}: no video to write predictions of")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_predictions(path: Path) -> Predictions:
    """Read and check a predictions table.

    Raises UsageError where there is no such file, and JobError where the file is not a predictions table
    or its rows break the contract; the message names the file, the video and the frame.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such predictions table")
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise JobError(f"{path} is not a predictions table: not readable as Parquet ({error})") from error
    try:
        return _checked(table)
    except (JobError, UsageError) as error:
        raise JobError(f"{path} is not a predictions table: {error}") from error


def _video_table(video: VideoPrediction, schema: pa.Schema) -> pa.Table:
    expected = len(schema) - schema.get_field_index("score") - 1
    if video.probabilities.shape[1:] != (expected,):
        shape = video.probabilities.shape
        raise JobError(f"video {video.video_id}: probabilities of shape {shape} for {expected} classes")
    frames = len(video.scores)
    columns = [
        pa.repeat(video.video_id, frames),
        np.arange(frames, dtype=np.int32),
        [list(names) for names in video.labels],
        np.asarray(video.scores, dtype=np.float32),
        *np.asarray(video.probabilities, dtype=np.float32).T,
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def _checked(table: pa.Table) -> Predictions:
    classes, digests = _metadata(table.schema)
    schema = predictions_schema(classes, digests)
    if not table.schema.equals(schema):
        wrong = [f.name for f in schema if f not in list(table.schema)] or ["unexpected columns or order"]
        raise JobError(f"columns missing or of another type: {', '.join(wrong)}")
    if not len(table) or (empty := [n for n in table.column_names if table[n].null_count]):
        raise JobError(f"empty cells in {', '.join(empty)}" if len(table) else "no rows")
    video_ids, offsets = _videos(table)
    figures = np.column_stack([table[name].to_numpy() for name in table.column_names[3:]])
    if len(wrong_rows := _outside_unit_interval(figures)):
        video = int(np.searchsorted(offsets, wrong_rows[0], side="right")) - 1
        where = f"video {video_ids[video]}, frame {wrong_rows[0] - offsets[video]}"
        raise JobError(f"{where}: a score is not a probability in [0, 1]")
    label_classes, truth = _truth(table, classes)
    scores = np.ascontiguousarray(figures[:, 0])
    return Predictions(video_ids, offsets, scores, figures[:, 1:], truth, classes, label_classes, digests)


def _metadata(schema: pa.Schema) -> tuple[tuple[str, ...], Digests]:
    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    try:
        classes = json.loads(metadata["classes"])
        digests = Digests(*(metadata[f"{name}_digest"] for name in ("manifest", "annotations", "model")))
    except (KeyError, json.JSONDecodeError) as error:
        raise JobError(f"its metadata lack classes or digests ({error})") from error
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise JobError("`classes` in its metadata is not a list of names")
    return tuple(classes), digests


def _videos(table: pa.Table) -> tuple[tuple[str, ...], IntArray]:
    """The videos in order and their offsets (videos + 1,), having checked that frames run 0, 1, 2, …"""
    encoded = table["video_id"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    video_ids = tuple(encoded.dictionary.to_pylist()[code] for code in codes[starts])
    if len(set(video_ids)) != len(video_ids):
        twice = next(v for i, v in enumerate(video_ids) if v in video_ids[:i])
        raise JobError(f"video {twice}: its rows do not stand together")
    offsets = np.append(starts, len(table)).astype(np.int64)
    expected = np.arange(len(table)) - np.repeat(starts, np.diff(offsets))
    wrong = np.flatnonzero(table["frame"].to_numpy() != expected)
    if len(wrong):
        video = video_ids[int(np.searchsorted(offsets, wrong[0], side="right")) - 1]
        raise JobError(f"video {video}: frame {expected[wrong[0]]} is missing or out of order")
    return video_ids, offsets


def _truth(table: pa.Table, classes: Sequence[str]) -> tuple[tuple[str, ...], BoolArray]:
    labels = table["labels"].combine_chunks()
    encoded = labels.flatten().dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    if NORMAL in names or encoded.null_count:
        raise JobError(f"a normal frame has an empty list of labels, not {NORMAL!r} or an empty cell")
    known = [name for name in classes if name in names]
    label_classes = (*known, *sorted(set(names) - set(known)))
    position = np.array([label_classes.index(name) for name in names], dtype=np.int64)
    truth = np.zeros((len(table), len(label_classes)), dtype=np.bool_)
    if names:
        truth[pc.list_parent_indices(labels).to_numpy(), position[encoded.indices.to_numpy()]] = True
    return label_classes, truth


def _outside_unit_interval(figures: FloatArray) -> IntArray:
    """The rows of (frames, columns) that hold NaN, or a number below 0 or above 1."""
    return np.flatnonzero(~((figures >= 0) & (figures <= 1)).all(axis=1))
