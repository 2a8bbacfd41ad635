from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from anomalyclip.config import BackboneConfig, ModelConfig
from anomalyclip.data.manifest import annotations_digest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.parts import PartLengths
from anomalyclip.evaluation.predictions import Digests
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.scoring import Scorer, bundle_scorer, score_features, score_manifest, with_frame_counts
from anomalyclip.features.feature_file import FeatureWriter
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.methods import load_bundle
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, bundle_digest, load_card, save_bundle
from anomalyclip.model.directions import FixedDirections
from anomalyclip.storage import Storage

CLASSES = ("Arson", "Fighting", "Normal")
FRAMES = {"v1": 700, "v2": 50}
CPU = torch.device("cpu")
NewBundle = Callable[[int | None], Path]


@pytest.fixture
def new_bundle(tmp_path: Path) -> NewBundle:
    """Save an untrained model of a sampling rate."""

    def new(sampling_rate: int | None) -> Path:
        torch.manual_seed(0)
        config = ModelConfig(embedding_dim=16, heads=2)
        model = AnomalyCLIP(FixedDirections(torch.randn(2, 8)), CLASSES, 2, torch.zeros(8), config)
        card = ModelCard(
            classes=CLASSES, normal_index=2, model=config, backbone=BackboneConfig(),
            backbone_identity="tower", sampling_rate=sampling_rate,
        )  # fmt: skip
        save_bundle(tmp_path / "bundle", model.state_dict(), model.directions(), card)
        return tmp_path / "bundle"

    return new


def stored(storage: Storage, folder: Path, sampling_rate: int) -> FeatureStore:
    """A store of the features of every `sampling_rate`-th frame of two videos."""
    store = FeatureStore(storage, "print")
    for number, (name, frames) in enumerate(FRAMES.items()):
        rows = np.random.default_rng(number).normal(size=(-(-frames // sampling_rate), 1, 8)).astype(np.float16)
        with FeatureWriter(folder / "file", sampling_rate) as writer:
            writer.append(rows)
            writer.describe({"num_frames": str(frames), "fps": "25.0"})
        store.publish(folder / "file", name)
        store.record([ExtractionResult(f"/{name}.mp4", 1, 1, name, len(rows), frames, 25.0)])
    return store


def manifest(num_frames: int | None = 700, end: int = 699) -> pl.DataFrame:
    anomalies = [{"start": 10, "end": 19, "labels": []}, {"start": 690, "end": end, "labels": ["Fighting"]}]
    rows = [
        ("v1", "v1.mp4", "test", ["Arson", "Fighting"], anomalies, num_frames, "/v1.mp4"),
        ("v2", "v2.mp4", "test", [], [], None, "/v2.mp4"),
    ]
    return pl.DataFrame(rows, schema={**SCHEMA, "source": pl.String()}, orient="row")


@pytest.mark.parametrize("rate", [1, 3])
def test_every_decoded_frame_has_a_row(rate: int, new_bundle: NewBundle, storage: Storage, tmp_path: Path) -> None:
    store, bundle = stored(storage, tmp_path, rate), new_bundle(rate)
    checked = with_frame_counts(manifest(), store, rate)
    score_manifest(bundle_scorer(bundle, CPU), checked, "m", store, tmp_path / "predictions.parquet")
    table = pl.read_parquet(tmp_path / "predictions.parquet")
    assert dict(table.group_by("video_id").len().iter_rows()) == FRAMES
    assert dict(checked.select("video_id", "num_frames").iter_rows()) == FRAMES
    model, _ = load_bundle(bundle)
    scores = model.score_video(torch.from_numpy(store.read_features("/v1.mp4")[:, 0]))
    mine = table.filter(pl.col("video_id") == "v1")
    assert mine["frame"].to_list() == list(range(700))
    assert mine["score"].to_list() == [scores.scores[frame // rate].item() for frame in range(700)]
    for index, name in enumerate(CLASSES):
        assert mine[f"p_{name}"][698] == scores.probabilities[698 // rate, index].item()


def test_scores_and_probabilities_are_the_means_over_the_crops(
    new_bundle: NewBundle, storage: Storage, put_features: Callable[..., None], tmp_path: Path
) -> None:
    store, bundle = FeatureStore(storage, "print"), new_bundle(1)
    features = np.random.default_rng(0).normal(size=(60, 5, 8)).astype(np.float16)
    put_features(store, "/v2.mp4", features)
    one = manifest().filter(pl.col("video_id") == "v2")
    score_manifest(
        bundle_scorer(bundle, CPU), with_frame_counts(one, store, 1), "m", store, tmp_path / "predictions.parquet"
    )
    found = read_predictions(tmp_path / "predictions.parquet")
    model, _ = load_bundle(bundle)
    each = [model.score_video(crop) for crop in torch.from_numpy(features).unbind(dim=1)]
    np.testing.assert_allclose(found.scores, np.mean([crop.scores for crop in each], axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.probabilities, np.mean([crop.probabilities for crop in each], axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.probabilities[:, 2], 1 - found.scores, atol=1e-6)


def test_the_last_value_stands_for_frames_that_no_stored_one_covers(
    new_bundle: NewBundle, storage: Storage, put_features: Callable[..., None], tmp_path: Path
) -> None:
    store, bundle = FeatureStore(storage, "print"), new_bundle(16)
    features = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float16)
    put_features(store, "/v2.mp4", features, sampling_rate=16, num_frames=50)  # 50 // 16 snippets, two frames left over
    one = manifest().filter(pl.col("video_id") == "v2")
    score_manifest(
        bundle_scorer(bundle, CPU), with_frame_counts(one, store, 16), "m", store, tmp_path / "predictions.parquet"
    )
    scores = load_bundle(bundle)[0].score_video(torch.from_numpy(features)).scores
    expected = [scores[min(frame // 16, 2)].item() for frame in range(50)]
    assert read_predictions(tmp_path / "predictions.parquet").scores.tolist() == expected


@pytest.mark.parametrize("frames", [50, 20])
def test_snippets_stand_for_even_parts_of_the_frames(
    frames: int, new_bundle: NewBundle, storage: Storage, put_features: Callable[..., None], tmp_path: Path
) -> None:
    store, bundle, target = FeatureStore(storage, "print"), new_bundle(None), tmp_path / "predictions.parquet"
    features = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float16)
    put_features(store, "/v2.mp4", features, num_frames=frames)
    one = manifest().filter(pl.col("video_id") == "v2")
    score_manifest(bundle_scorer(bundle, CPU), with_frame_counts(one, store, None), "m", store, target)
    scores = load_bundle(bundle)[0].score_video(torch.from_numpy(features)).scores
    covered = [range(k * frames // 32, (k + 1) * frames // 32) for k in range(32)]
    found = read_predictions(target)
    assert found.scores.tolist() == [scores[k].item() for k in range(32) for _ in covered[k]]
    assert (found.segment_frames, found.snippets, found.segment_length(0)) == (16, 32, frames / 2)


def test_features_are_scored_per_frame_over_crops_by_one_function() -> None:
    def score(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features[:, 0], features

    scorer = Scorer(score, ("Arson", "Normal"), 2, 2, 32, "x")
    features = torch.tensor([[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]])
    scores, probabilities = score_features(scorer, features, 5)
    np.testing.assert_allclose(scores, [0.2, 0.2, 0.6, 0.6, 0.6], rtol=1e-6)
    np.testing.assert_allclose(probabilities[:, 1], [0.3, 0.3, 0.7, 0.7, 0.7], rtol=1e-6)


@pytest.mark.parametrize("rate", [1, 16])
def test_a_segment_has_as_many_stored_frames_as_the_models(rate: int, new_bundle: NewBundle) -> None:
    assert bundle_scorer(new_bundle(rate), CPU).segment_frames == 16 * rate


def test_labels_without_intervals_leave_the_truth_of_frames_unknown(
    new_bundle: NewBundle, storage: Storage, tmp_path: Path
) -> None:
    unlocated = manifest().with_columns(anomalies=pl.lit([], dtype=SCHEMA["anomalies"]))
    store, bundle, target = stored(storage, tmp_path, 1), new_bundle(1), tmp_path / "predictions.parquet"
    score_manifest(bundle_scorer(bundle, CPU), with_frame_counts(unlocated, store, 1), "m", store, target)
    found = read_predictions(target)
    assert dict(zip(found.video_ids, found.known.tolist(), strict=True)) == {"v1": False, "v2": True}
    assert [found.labels_of(number) for number in range(2)] == [("Arson", "Fighting"), ()]
    assert found.segment_frames == 16


def test_the_truth_is_that_of_the_intervals(new_bundle: NewBundle, storage: Storage, tmp_path: Path) -> None:
    target = tmp_path / "predictions.parquet"
    bundle, store = new_bundle(1), stored(storage, tmp_path, 1)
    checked = with_frame_counts(manifest(), store, 1)
    score_manifest(bundle_scorer(bundle, CPU), checked, "m", store, target)
    labels = pl.read_parquet(target).filter(pl.col("video_id") == "v1")["labels"].to_list()
    assert labels[9:20] == [[]] + [["Arson", "Fighting"]] * 10
    assert labels[20:690] == [[]] * 670
    assert labels[690:] == [["Fighting"]] * 10
    expected = Digests("m", annotations_digest(checked), bundle_digest(bundle))
    assert read_predictions(target).digests == expected


def test_frame_counts_that_differ_are_named(storage: Storage, tmp_path: Path) -> None:
    store = stored(storage, tmp_path, 1)
    with pytest.raises(UsageError, match=r"'v1': annotations 702, video 700, features 700: fix num_frames"):
        with_frame_counts(manifest(702), store, 1)
    with pytest.raises(UsageError, match=r"'v1': annotations 700, video 700, features 700: features must be 234"):
        with_frame_counts(manifest(), store, 3)
    with pytest.raises(UsageError, match=r"'v1': annotations unknown, video 700, .* 690-705 goes past"):
        with_frame_counts(manifest(None, end=705), store, 1)


def test_a_tolerance_that_was_asked_for_cuts_the_intervals(storage: Storage, tmp_path: Path) -> None:
    checked = with_frame_counts(manifest(702, end=701), stored(storage, tmp_path, 1), 1, frame_tolerance=2)
    assert checked["num_frames"].to_list() == [700, 50]
    assert checked["anomalies"][0][1]["end"] == 699


def test_a_video_without_features_is_refused(storage: Storage) -> None:
    with pytest.raises(UsageError, match=r"2 video\(s\):\n.*'v1': annotations 700, video unknown, features unknown"):
        with_frame_counts(manifest(), FeatureStore(storage, "other"), 1)


def test_nothing_is_written_where_scoring_breaks_off(new_bundle: NewBundle, storage: Storage, tmp_path: Path) -> None:
    store, target = stored(storage, tmp_path, 1), tmp_path / "predictions.parquet"
    checked = with_frame_counts(manifest(), store, 1)
    storage.delete(store.object_key("v2"))
    with pytest.raises(JobError, match=r"the features of /v2\.mp4 are gone"):
        score_manifest(bundle_scorer(new_bundle(1), CPU), checked, "m", store, target)
    assert [path for path in tmp_path.iterdir() if target.name in path.name] == []


def test_only_videos_longer_than_those_of_the_training_are_scored_in_parts(new_bundle: NewBundle) -> None:
    folder = new_bundle(1)
    whole = bundle_scorer(folder, CPU)
    card = load_card(folder).model_copy(update={"lengths": (300, 700)})
    (folder / "model.json").write_text(card.model_dump_json())
    scorer = bundle_scorer(folder, CPU)
    assert (whole.parts, scorer.parts) == (None, PartLengths(longest=700, part=512))
    features = torch.randn(701, 1, 8)
    for own, same in zip(
        score_features(scorer, features[:700], 700), score_features(whole, features[:700], 700), strict=True
    ):
        np.testing.assert_array_equal(own, same)
    scores, probabilities = score_features(scorer, features, 701)
    first, last = (whole.score(features[part, 0])[0].numpy() for part in (slice(512), slice(701 - 512, None)))
    np.testing.assert_array_equal(scores[: 701 - 512], first[: 701 - 512])  # where one part alone reaches
    np.testing.assert_array_equal(scores[512:], last[512 - 701 :])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
