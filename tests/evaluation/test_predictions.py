"""The predictions table: what is written is read back, and what is not such a table is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.predictions import Digests, VideoPrediction
from anomalyclip.evaluation.predictions_file import predictions_schema, read_predictions, write_predictions

CLASSES = ("Arson", "Fighting", "Normal")
DIGESTS = Digests(manifest="m1", annotations="a1", model="x1")


def video(
    video_id: str, labels: list[list[str]] | None, seed: int = 0, own: list[str] | None = None, frames: int = 2
) -> VideoPrediction:
    rng = np.random.default_rng(seed)
    frames = frames if labels is None else len(labels)
    scores = rng.random(frames, dtype=np.float32)
    own = sorted({name for names in labels or () for name in names}) if own is None else own
    return VideoPrediction(video_id, own, labels, scores, rng.random((frames, 3), dtype=np.float32))


def two_videos() -> list[VideoPrediction]:
    return [
        video("b", [[], ["Riot", "Fighting"], ["Riot"]], seed=1),
        video("a", [[], []], seed=2),
    ]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    videos = two_videos()
    write_predictions(tmp_path / "p.parquet", videos, CLASSES, DIGESTS, 32)
    read = read_predictions(tmp_path / "p.parquet")
    assert (read.video_ids, read.classes, read.digests) == (("b", "a"), CLASSES, DIGESTS)
    assert read.segment_frames == 32
    np.testing.assert_array_equal(read.offsets, [0, 3, 5])
    np.testing.assert_array_equal(read.scores, np.concatenate([v.scores for v in videos]))
    np.testing.assert_array_equal(read.probabilities, np.concatenate([v.probabilities for v in videos]))
    assert read.label_classes == ("Fighting", "Riot")
    np.testing.assert_array_equal(read.truth, [[0, 0], [1, 1], [0, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(read.truth_of("Normal"), [1, 0, 0, 1, 1])
    assert not read.truth_of("Arson").any()
    assert read.known.all() and [read.labels_of(0), read.labels_of(1)] == [("Fighting", "Riot"), ()]


def test_a_video_of_unknown_frames_keeps_its_labels(tmp_path: Path) -> None:
    videos = [video("a", [[], ["Arson"]]), video("b", None, own=["Riot", "Arson"], frames=3), video("c", [[]])]
    write_predictions(tmp_path / "p.parquet", videos, CLASSES, DIGESTS, 16)
    assert pq.read_table(tmp_path / "p.parquet")["labels"].null_count == 3
    read = read_predictions(tmp_path / "p.parquet")
    assert read.known.tolist() == [True, False, True]
    assert [read.labels_of(number) for number in range(3)] == [("Arson",), ("Arson", "Riot"), ()]
    assert read.anomalous.tolist() == [False, True, False, False, False, False]
    chosen = read.select([2, 1])
    assert (chosen.video_ids, chosen.offsets.tolist(), chosen.known.tolist()) == (("c", "b"), [0, 1, 4], [True, False])
    np.testing.assert_array_equal(chosen.scores, read.scores[[5, 2, 3, 4]])
    assert chosen.labels_of(1) == ("Arson", "Riot")


def test_columns_are_those_of_the_contract_one_row_group_a_video(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", two_videos(), CLASSES, DIGESTS, 32)
    file = pq.ParquetFile(tmp_path / "p.parquet")
    assert [f"{field.name}: {field.type}" for field in file.schema_arrow] == [
        "video_id: string",
        "frame: int32",
        "time: double",
        "video_labels: list<element: string>",
        "labels: list<element: string>",
        "score: float",
        "p_Arson: float",
        "p_Fighting: float",
        "p_Normal: float",
    ]
    metadata = file.schema_arrow.metadata
    assert metadata[b"classes"] == b'["Arson", "Fighting", "Normal"]'
    assert metadata[b"segment_frames"] == b"32"
    assert metadata[b"manifest_digest"] == b"m1"
    assert metadata[b"annotations_digest"] == b"a1"
    assert metadata[b"model_digest"] == b"x1"
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [3, 2]


def test_an_all_normal_table_has_no_label_classes(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", [video("a", [[], []])], CLASSES, DIGESTS, 32)
    read = read_predictions(tmp_path / "p.parquet")
    assert read.truth.shape == (2, 0)
    assert not read.anomalous.any()


def test_a_broken_off_writing_leaves_no_file(tmp_path: Path) -> None:
    def breaking() -> Iterator[VideoPrediction]:
        yield video("a", [[]])
        raise RuntimeError("decoder died")

    with pytest.raises(RuntimeError, match="decoder died"):
        write_predictions(tmp_path / "p.parquet", breaking(), CLASSES, DIGESTS, 32)
    assert list(tmp_path.iterdir()) == []


def test_writing_refuses_a_video_twice_none_at_all_and_wrong_classes(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(JobError, match="video a comes twice"):
        write_predictions(path, [video("a", [[]]), video("a", [[]])], CLASSES, DIGESTS, 32)
    with pytest.raises(JobError, match="no video"):
        write_predictions(path, [], CLASSES, DIGESTS, 32)
    with pytest.raises(JobError, match=r"shape \(1, 3\) for 2 classes"):
        write_predictions(path, [video("a", [[]])], ("Arson", "Normal"), DIGESTS, 16)
    with pytest.raises(UsageError, match="Normal"):
        write_predictions(path, [video("a", [[]])], ("Arson", "Fighting"), DIGESTS, 16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.5])
def test_a_figure_that_is_no_probability_is_refused_with_its_frame(bad: float) -> None:
    scores = np.array([0.5, bad], dtype=np.float32)
    with pytest.raises(JobError, match="video a, frame 1"):
        VideoPrediction("a", [], [[], []], scores, np.full((2, 3), 0.5, dtype=np.float32))


def test_lengths_that_differ_no_frames_and_the_label_normal_are_refused() -> None:
    figures = np.full((2, 3), 0.5, dtype=np.float32)
    with pytest.raises(JobError, match="2 scores, 1 frames of truth"):
        VideoPrediction("a", [], [[]], figures[:, 0], figures)
    with pytest.raises(JobError, match="at least one"):
        VideoPrediction("a", [], [], figures[:0, 0], figures[:0])
    with pytest.raises(JobError, match="labels that the video lacks: Riot"):
        VideoPrediction("a", ["Arson"], [["Riot"], []], figures[:, 0], figures)
    with pytest.raises(JobError, match="a video without labels is normal in every frame"):
        VideoPrediction("a", [], None, figures[:, 0], figures)
    with pytest.raises(JobError, match="'Normal'"):
        VideoPrediction("a", [], [[], ["Normal"]], figures[:, 0], figures)


def column(name: str, values: list[object]) -> Callable[[pa.Table], pa.Table]:
    def replace(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    return replace


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop_columns(["p_Arson"]), "p_Arson"),
        (lambda table: table.append_column("extra", table["score"]), "unexpected columns"),
        (lambda table: table.replace_schema_metadata({}), "metadata lack classes"),
        (lambda table: table.slice(0, 0), "no rows"),
        (column("video_id", ["b", "a", "b", "a", "a"]), "do not stand together"),
        (column("frame", [0, 2, 1, 0, 1]), "video b: frame 1 is missing"),
        (column("frame", [0, 1, 2, 3, 4]), "video a: frame 0 is missing"),
        (column("score", [0.1, None, 0.2, 0.2, 0.2]), "empty cells in score"),
        (column("p_Normal", [0.1, 0.1, 0.2, 0.2, float("nan")]), "video a, frame 1"),
        (lambda table: table.replace_schema_metadata(table.schema.metadata | {b"segment_frames": b"0"}), "'0'"),
        (lambda table: table.replace_schema_metadata(table.schema.metadata | {b"snippets": b"x"}), "`snippets` .*'x'"),
        (column("labels", [[], [], [None], [], []]), "empty cell"),
        (column("labels", [[], None, [], [], []]), "video b: labels are null in some of its frames"),
        (column("labels", [[], [], [], None, None]), "video a: a video without labels is normal in every frame"),
        (column("labels", [[], [], [], ["Riot"], []]), "video a: a frame has labels that its video_labels lack"),
        (column("video_labels", [["Riot"], ["Riot"], [], [], []]), "video_labels differ between the frames"),
        (column("video_labels", [["Riot"], ["Riot"], None, [], []]), "video_labels differ between the frames"),
        (column("video_labels", [None, None, None, [], []]), "its frames have a truth, but video_labels is null"),
        (column("labels", [[], [], ["Normal"], [], []]), "Normal"),
    ],
)
def test_reading_refuses_a_table_that_breaks_the_contract(
    tmp_path: Path, spoil: Callable[[pa.Table], pa.Table], message: str
) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, two_videos(), CLASSES, DIGESTS, 32)
    pq.write_table(spoil(pq.read_table(path)), path)
    with pytest.raises(JobError, match=message) as refused:
        read_predictions(path)
    assert str(path) in str(refused.value)


def test_reading_refuses_what_is_no_parquet_and_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_text("video_id,frame\n")
    with pytest.raises(JobError, match="not readable as Parquet"):
        read_predictions(tmp_path / "p.parquet")
    with pytest.raises(UsageError, match="no such predictions table"):
        read_predictions(tmp_path / "other.parquet")


def test_the_schema_is_the_same_for_any_writer() -> None:
    assert predictions_schema(CLASSES, DIGESTS, 16).names[5:] == ["score", "p_Arson", "p_Fighting", "p_Normal"]
