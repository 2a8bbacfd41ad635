"""`score.py --classes` and `evaluate.py --classes` from the job on, in this process, without Ray."""

import json
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from mlflow import MlflowClient

from anomalyclip import cluster
from anomalyclip.config import BackboneConfig, EventsConfig, ModelConfig, RunConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.new_table import read_new_table
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.scoring import with_frame_counts
from anomalyclip.events.alarms import AlarmTable, save_alarms
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.store import FeatureStore
from anomalyclip.job import Job
from anomalyclip.jobs import evaluation, scoring
from anomalyclip.jobs.candidates import trained_candidate
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.new_classes import new_names
from anomalyclip.jobs.operating import Asked
from anomalyclip.jobs.scored_media import Wanted
from anomalyclip.model.bundle import ModelCard, save_bundle
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import tracked_run
from anomalyclip.training.checkpoints import learnt_state
from anomalyclip.training.setup import build_model
from tests.registered import CLASSES, write_bundle

DrawVideo = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with prompts."""
    clip, config = load_backbone(BackboneConfig()), RunConfig(model=ModelConfig(embedding_dim=16, heads=2))
    untrained = build_model(CLASSES, clip, torch.zeros(64), config)
    card = ModelCard(
        classes=CLASSES, normal_index=2, model=config.model, backbone=config.backbone,
        backbone_identity=clip.identity, sampling_rate=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    save_bundle(folder, learnt_state(untrained), untrained.for_scoring().directions(), card)
    return folder


def new_job(storage: Storage, *overrides: str) -> Job:
    return Job(
        storage, build_config(RunConfig(), None, overrides), None, False, f"sqlite:///{storage.path('m.db')}", False
    )


def score(storage: Storage, model: Path, video: Path, names: tuple[str, ...] = ()) -> scoring.ScoringResult:
    job = new_job(storage)
    prepared = scoring.prepare(job, str(model), [str(video)], Asked(threshold=0.01), Wanted(), None, names)
    with closing(Decoder(timeout=20)) as decoder:
        return scoring.run(job, prepared, decoder)


def test_new_classes_stand_apart_from_the_trained_ones(
    storage: Storage, model: Path, draw_video: DrawVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "connect", None)
    clip, names = draw_video(tmp_path / "a.mp4", num_frames=30), ("dog", "person falling")
    before, after = score(storage, model, clip), score(storage, model, clip, names)
    assert before.run != after.run and "new_classes" not in before.paths
    one, other = (read_predictions(Path(each.paths["predictions"]), need_truth=False) for each in (before, after))
    assert other.classes == CLASSES
    assert np.array_equal(one.scores, other.scores) and np.array_equal(one.probabilities, other.probabilities)
    new = read_new_table(Path(after.paths["new_classes"]), names)
    assert all((column <= other.scores).all() for column in new.values())

    plain, lines = ([json.loads(line) for line in Path(each.paths["events_jsonl"]).read_text().splitlines()]
                    for each in (before, after))  # fmt: skip
    event = lines[0]
    assert [{name: value for name, value in row.items() if name[:4] != "new_"} for row in lines] == plain
    share = new["dog"][event["start_frame"] : event["end_frame"] + 1].sum() / other.scores.sum()
    assert event["new_shares"].keys() == set(names) and event["new_shares"]["dog"] == pytest.approx(share, rel=1e-4)
    table = pl.read_csv(after.paths["events"])
    assert table.columns[-3:] == ["new_label", "new_share_dog", "new_share_person falling"]
    assert '"new_shares":{"dog":' in Path(after.paths["report"]).read_text()
    assert "new_shares" not in "".join(Path(before.paths["report"]).read_text().split("<script")[1:3])


@pytest.mark.parametrize(
    "names, message",
    [
        (("arson",), "--classes arson: Arson is a class of the model already"),
        (("q " * 45 + "é" * 30,), "is too long for the text tower"),
    ],
)
def test_names_are_checked_before_any_work(
    storage: Storage, model: Path, draw_video: DrawVideo, tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        score(storage, model, draw_video(tmp_path / "a.mp4"), names)
    assert not Path(storage.path("scores")).exists()


def test_a_name_close_to_a_trained_class_is_a_warning(
    storage: Storage, model: Path, draw_video: DrawVideo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "anomalyclip"):
        score(storage, model, draw_video(tmp_path / "a.mp4"), ("people fighting", "dog"))
    warned = next(line for line in caplog.messages if "close to" in line)
    assert warned.startswith("--classes: people fighting is close to the trained class Fighting (cosine ")
    assert "dog" not in "".join(caplog.messages)


def test_a_model_whose_files_lack_prompts_is_refused(storage: Storage, tmp_path: Path, draw_video: DrawVideo) -> None:
    with pytest.raises(UsageError, match="--classes: the model's files lack its learnt prompts"):
        score(storage, write_bundle(tmp_path / "old", 0), draw_video(tmp_path / "a.mp4"), ("dog",))


def test_a_text_tower_without_its_tokenizer_is_refused(storage: Storage, model: Path) -> None:
    """As with imported features where a tokenizer of the hub cannot be had: it says so when it first reads a text."""

    def refuse(texts: list[str]) -> torch.Tensor:
        raise UsageError("the tokenizer of clip-tiny cannot be had")

    candidate = trained_candidate(new_job(storage), str(model))
    assert candidate.backbone is not None
    without = replace(candidate, backbone=replace(candidate.backbone, tokenizer=refuse))
    with pytest.raises(UsageError, match="the tokenizer of clip-tiny cannot be had"):
        new_names(new_job(storage), without, ("dog",))


def test_an_evaluation_measures_names_and_tags_the_version(
    storage: Storage, model: Path, tmp_path: Path, put_features: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other names were found to be stays in the tag."""
    monkeypatch.setattr(cluster, "connect", lambda uri: None)
    job, store = new_job(storage), FeatureStore(storage, "features")
    rows = []
    for number, label in enumerate(["Normal", "Riot", "Arson", "Fighting"] * 2):
        interval = [] if label == "Normal" else [{"start": 8, "end": 15, "labels": []}]
        (tmp_path / f"v{number}.mp4").write_bytes(b"")
        features = np.random.default_rng(number).normal(size=(24, 64)).astype(np.float16)
        put_features(store, str(tmp_path / f"v{number}.mp4"), features)
        rows.append((f"v{number}", f"v{number}.mp4", "test", [label], interval, 24))
    write_manifest(pl.DataFrame(rows, schema=SCHEMA, orient="row"), tmp_path / "manifest.csv")
    table = with_frame_counts(load_manifest(tmp_path / "manifest.csv"), store, 1)
    monkeypatch.setattr(evaluation, "obtain_features", lambda *_: Extracted(store, table, [], "float32"))
    with tracked_run(job.tracking_uri, storage, "tests", "made") as tracking:
        version = register_model(tracking, log_model(tracking, model), "named")
    save_alarms(
        model, AlarmTable(events=EventsConfig(), videos=4, hours=1.0, held_out=True, thresholds=(0.5,), alarms=(1,))
    )
    client = MlflowClient(job.tracking_uri)
    client.set_model_version_tag("named", version, "new_classes", '{"flood": {"dataset": "older"}}')
    prepared = evaluation.prepare(job, f"models:/named/{version}", tmp_path / "manifest.csv", ("riot", "dog"))
    result = evaluation.run(job, prepared)
    found = json.loads((Path(result.paths["evaluation"]) / "new_classes.json").read_text())
    assert found["classes"].keys() == {"riot", "dog"} and found["classes"]["dog"]["auc"] is None
    assert found["groups"]["all_auc"]["value"] == pytest.approx(result.figures["auc"])
    tagged = json.loads(client.get_model_version("named", version).tags["new_classes"])
    assert tagged.keys() == {"riot", "dog", "flood"} and tagged["flood"] == {"dataset": "older"}
    assert {"auc", "answer", "top1", "elsewhere"} < tagged["riot"].keys() and tagged["riot"]["dataset"] == tmp_path.name
    assert "auc" not in tagged["dog"]
