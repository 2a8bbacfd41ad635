"""Predictions table: schema, reading, writing. One Parquet file per model and test set."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anomalyclip.data.labels import NORMAL
from anomalyclip.data.parquet import read_undamaged
from anomalyclip.errors import JobError, UsageError, first_names
from anomalyclip.evaluation.predictions import (
    NORMAL_IS_KNOWN,
    BoolArray,
    Digests,
    FloatArray,
    FrameLabels,
    IntArray,
    Predictions,
    VideoPrediction,
    gathered_labels,
    outside_unit_interval,
)
from anomalyclip.events.detection import OperatingPoint


def predictions_schema(
    classes: Sequence[str],
    digests: Digests,
    segment_frames: int,
    snippets: int | None = None,
    operating: OperatingPoint | None = None,
) -> pa.Schema:
    """The table's columns and file metadata for a model of these classes (model order, Normal among them).

    `video_labels` is the same in all rows of a video, and null if nothing is known of its truth; `labels` is null if
    the truth of a frame is unknown, `time` if the video's rate is.
    """
    if NORMAL not in classes or len(set(classes)) != len(classes):
        raise UsageError(f"classes must be distinct and hold {NORMAL!r}; got {', '.join(classes) or 'none'}")
    return pa.schema(
        [
            pa.field("video_id", pa.string()),
            pa.field("frame", pa.int32()),
            pa.field("time", pa.float64()),
            pa.field("video_labels", pa.list_(pa.string())),
            pa.field("labels", pa.list_(pa.string())),
            pa.field("score", pa.float32()),
            *(pa.field(f"p_{name}", pa.float32()) for name in classes),
        ],
        metadata={
            "classes": json.dumps(list(classes)),
            "segment_frames": str(segment_frames),
            **({} if snippets is None else {"snippets": str(snippets)}),
            **({} if operating is None else {"operating": operating.model_dump_json()}),
            **{f"{name}_digest": value for name, value in asdict(digests).items()},
        },
    )


def write_predictions(
    path: Path,
    videos: Iterable[VideoPrediction],
    classes: Sequence[str],
    digests: Digests,
    segment_frames: int,
    snippets: int | None = None,
    operating: OperatingPoint | None = None,
) -> None:
    """Write the table to a local file, one row group per video as it arrives.

    `segment_frames` is the number of frames in a segment of the model, or of snippets if there are `snippets` per
    video: video-level scores are means over segments. `operating` holds the model's thresholds of events.
    The file appears under its name only when it is complete. Raises JobError if a video comes twice or has another
    number of classes, or if there is no video; errors that `videos` raises pass through.
    """
    schema = predictions_schema(classes, digests, segment_frames, snippets, operating)
    partial = path.with_name(path.name + ".partial")
    seen: set[str] = set()
    try:
        with pq.ParquetWriter(partial, schema, write_page_checksum=True) as writer:
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


def read_predictions(path: Path, need_truth: bool = True) -> Predictions:
    """Read and check a predictions table.

    Raises UsageError if there is no such file, or if truth is needed, as for figures, and nothing is known of a video;
    JobError if the file is not a predictions table or its rows break the contract: the message names the file, the
    video and the frame.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such predictions table")
    try:
        with path.open("rb") as file:
            predictions = _checked(read_undamaged(file, _read))
    except (pa.ArrowInvalid, JobError, UsageError) as error:
        raise JobError(f"{path} is not a predictions table: {error}") from error
    if need_truth and predictions.labelled is not None:
        unknown = [predictions.video_ids[video] for video in np.flatnonzero(~predictions.labelled)]
        raise UsageError(f"{path}: nothing is known of the truth of {first_names(unknown)}, so there are no figures")
    return predictions


def _read(file: IO[bytes]) -> pa.Table:
    return pq.ParquetFile(file, page_checksum_verification=True).read()


def _video_table(video: VideoPrediction, schema: pa.Schema) -> pa.Table:
    shape, expected = video.probabilities.shape, len(schema) - schema.get_field_index("score") - 1
    if shape[1:] != (expected,):
        raise JobError(f"video {video.video_id}: probabilities of shape {shape} for {expected} classes")
    frames, kind = len(video.scores), schema.field("labels").type
    columns = [
        pa.repeat(video.video_id, frames),
        pa.array(np.arange(frames, dtype=np.int32)),
        pa.nulls(frames, pa.float64()) if video.times is None else pa.array(video.times, pa.float64()),
        pa.nulls(frames, kind) if video.video_labels is None else _repeated(video.video_labels, frames, kind),
        pa.nulls(frames, kind) if video.labels is None else _lists(video.labels, kind),
        *(pa.array(np.asarray(column, dtype=np.float32)) for column in (video.scores, *video.probabilities.T)),
    ]
    return pa.table(columns, schema=schema)


def _repeated(names: Sequence[str], frames: int, kind: pa.DataType) -> pa.ListArray:
    return _lists(FrameLabels([names], np.zeros(frames, dtype=np.int64)), kind)


def _lists(labels: Sequence[Sequence[str]], kind: pa.DataType) -> pa.ListArray:
    """The lists as a column; equal ones, of which there are millions, are converted once."""
    lists = gathered_labels(labels)
    return pa.array([list(names) for names in lists.distinct], kind).take(pa.array(lists.places))


def _checked(table: pa.Table) -> Predictions:
    classes, digests, segment_frames, snippets, operating = _metadata(table.schema)
    schema = predictions_schema(classes, digests, segment_frames, snippets, operating)
    if "time" not in table.column_names:  # tables from before events
        table = table.add_column(2, schema.field("time"), pa.nulls(len(table), pa.float64()))
    if not table.schema.equals(schema):
        wrong = [f.name for f in schema if f not in list(table.schema)] or ["unexpected columns or order"]
        raise JobError(f"columns missing or of another type: {', '.join(wrong)}")
    optional = ("video_labels", "labels", "time")
    if not len(table) or (empty := [n for n in table.column_names if n not in optional and table[n].null_count]):
        raise JobError(f"empty cells in {', '.join(empty)}" if len(table) else "no rows")
    video_ids, offsets = _videos(table)
    figures = np.column_stack([table[name].to_numpy() for name in ("score", *(f"p_{name}" for name in classes))])
    if len(wrong_rows := outside_unit_interval(figures)):
        video = int(np.searchsorted(offsets, wrong_rows[0], side="right")) - 1
        where = f"video {video_ids[video]}, frame {wrong_rows[0] - offsets[video]}"
        raise JobError(f"{where}: a score is not a probability in [0, 1]")
    labelled = table["video_labels"].combine_chunks().take(pa.array(offsets[:-1])).is_valid().to_numpy(False)
    label_classes, truth, video_truth, known = _truth(table, classes, video_ids, offsets, labelled)
    return Predictions(
        video_ids=video_ids,
        offsets=offsets,
        scores=np.ascontiguousarray(figures[:, 0]),
        probabilities=figures[:, 1:],
        truth=truth,
        video_truth=video_truth,
        known=known,
        classes=classes,
        label_classes=label_classes,
        digests=digests,
        segment_frames=segment_frames,
        times=_times(table, video_ids, offsets),
        snippets=snippets,
        operating=operating,
        labelled=None if labelled.all() else labelled,
    )


def _times(table: pa.Table, video_ids: Sequence[str], offsets: IntArray) -> FloatArray:
    """The seconds at which frames start, NaN where unknown, after checking that they rise in each video."""
    times: FloatArray = table["time"].to_numpy()
    rises = np.diff(times) > 0
    rises[offsets[1:-1] - 1] = True
    unknown = np.isnan(times)
    wrong = np.flatnonzero(~rises & ~(unknown[:-1] & unknown[1:]))
    if len(wrong):
        video = video_ids[int(np.searchsorted(offsets, wrong[0], side="right")) - 1]
        raise JobError(f"video {video}: the times of its frames do not rise")
    return times


def _metadata(schema: pa.Schema) -> tuple[tuple[str, ...], Digests, int, int | None, OperatingPoint | None]:
    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    try:
        classes, segment_frames = json.loads(metadata["classes"]), metadata["segment_frames"]
        digests = Digests(*(metadata[f"{name}_digest"] for name in ("manifest", "annotations", "model")))
    except (KeyError, json.JSONDecodeError) as error:
        raise JobError(f"its metadata lack classes, segment_frames or digests ({error}): evaluate again") from error
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise JobError("`classes` in its metadata is not a list of names")
    try:
        operating = OperatingPoint.model_validate_json(given) if (given := metadata.get("operating")) else None
    except ValueError as error:
        raise JobError(f"`operating` in its metadata is not an operating point: {error}") from error
    snippets = metadata.get("snippets")
    for name, count in (("segment_frames", segment_frames), ("snippets", snippets)):
        if count is not None and (not count.isdecimal() or not int(count)):
            raise JobError(f"`{name}` in its metadata is not a number of frames: {count!r}")
    return tuple(classes), digests, int(segment_frames), None if snippets is None else int(snippets), operating


def _videos(table: pa.Table) -> tuple[tuple[str, ...], IntArray]:
    """The videos in order and their offsets (videos + 1,), after checking that frames run 0, 1, 2, …"""
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


def _truth(
    table: pa.Table, classes: Sequence[str], video_ids: Sequence[str], offsets: IntArray, labelled: BoolArray
) -> tuple[tuple[str, ...], BoolArray, BoolArray, BoolArray]:
    """The classes that occur, the truth of frames and of videos by class, and which videos' frames have a truth."""
    starts, lengths = offsets[:-1], np.diff(offsets)
    of_frames, repeated = table["labels"].combine_chunks(), table["video_labels"].combine_chunks()
    of_videos = repeated.take(pa.array(starts))
    if not repeated.equals(of_videos.take(pa.array(np.repeat(np.arange(len(starts)), lengths)))):
        raise JobError("video_labels differ between the frames of a video")
    names: list[str] = pc.unique(pa.concat_arrays([of_frames.flatten(), of_videos.flatten()])).to_pylist()
    if NORMAL in names or None in names:
        raise JobError(f"a normal frame or video has an empty list of labels, not {NORMAL!r} or an empty cell")
    known_names = [name for name in classes if name in names]
    label_classes = (*known_names, *sorted(set(names) - set(known_names)))
    truth, video_truth = (_one_hot(lists, label_classes) for lists in (of_frames, of_videos))
    unknown = np.add.reduceat(of_frames.is_null().to_numpy(zero_copy_only=False), starts, dtype=np.int64)
    extra = np.logical_or.reduceat(truth, starts, axis=0) & ~video_truth
    for wrong, message in (
        ((unknown > 0) & (unknown < lengths), "labels are null in some of its frames, not in all"),
        ((unknown > 0) & labelled & ~video_truth.any(axis=1), NORMAL_IS_KNOWN),
        ((unknown == 0) & ~labelled, "its frames have a truth, but video_labels is null"),
        (extra.any(axis=1), "a frame has labels that its video_labels lack"),
    ):
        if wrong.any():
            raise JobError(f"video {video_ids[int(np.argmax(wrong))]}: {message}")
    return label_classes, truth, video_truth, unknown == 0


def _one_hot(lists: pa.ListArray, names: Sequence[str]) -> BoolArray:
    """Which of the names each list holds: (lists, names)."""
    held = np.zeros((len(lists), len(names)), dtype=np.bool_)
    columns = pc.index_in(lists.flatten(), pa.array(names, pa.string())).to_numpy(zero_copy_only=False)
    held[pc.list_parent_indices(lists).to_numpy(), columns.astype(np.int64)] = True
    return held
