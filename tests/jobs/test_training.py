import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from anomalyclip.benchmark.footage import videos
from anomalyclip.config import BackboneConfig, RunConfig
from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.scoring import with_frame_counts
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.store import FeatureStore
from anomalyclip.job import Job
from anomalyclip.jobs import training as training_job
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.training import Trained, build_bundle, prepare, replan
from anomalyclip.methods import load_bundle
from anomalyclip.runs import TENSORS
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage
from anomalyclip.training.checkpoints import Checkpoint, learnt_state
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.sampling import NORMAL_LABEL, Bag
from anomalyclip.training.setup import build_model

NewJob = Callable[..., Job]


@pytest.fixture
def new_job(storage: Storage) -> NewJob:
    def new(*overrides: str, name: str | None = None, fresh: bool = False) -> Job:
        settings = ["training.batch_size=4", "model.embedding_dim=16", "model.heads=2", *overrides]
        return Job(storage, build_config(RunConfig(), None, settings), name, fresh, "sqlite:////none")

    return new


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The manifest of five videos of each kind in a folder `street`; nothing of them is read yet."""
    folder = tmp_path / "street"
    folder.mkdir()
    rows: list[tuple[Any, ...]] = []
    for split, label, count in (("train", "Arson", 5), ("train", "", 5), ("test", "Arson", 1), ("test", "", 1)):
        for number in range(count):
            name = f"{split}-{label}{number}"
            (folder / f"{name}.mp4").write_bytes(b"")
            rows.append((name, f"{name}.mp4", split, [label] if label else [], [], None))
    write_manifest(pl.DataFrame(rows, schema=SCHEMA, orient="row"), folder / "manifest.csv")
    return folder / "manifest.csv"


def rewrite(manifest: Path, change: pl.Expr) -> None:
    write_manifest(load_manifest(manifest).with_columns(change), manifest)


def test_a_job_in_order_opens_a_run_named_by_its_folder_and_content(manifest: Path, new_job: NewJob) -> None:
    training = prepare(new_job(), manifest)
    assert not new_job().storage.list("runs")  # checked, and nothing written
    assert training.run.name.startswith("street-")
    assert training.plan.classes == ["Arson", "Normal"]
    assert prepare(new_job("training.workers=2", "extraction.workers=3"), manifest).run == training.run
    assert prepare(new_job("training.seed=1"), manifest).run.name != training.run.name
    assert prepare(new_job("events.gap=1"), manifest).run == training.run
    assert prepare(new_job("events.gap=2"), manifest).run.name != training.run.name  # the model's table is another


def test_without_a_manifest_the_benchmark_is_drawn_in_the_storage_root(
    manifest: Path, new_job: NewJob, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {Path(storage.path("benchmark")): manifest}
    monkeypatch.setattr(videos, "draw_benchmark", drawn.__getitem__)
    for given in (None, Path("benchmark")):
        source = prepare(new_job(), given).source
        assert (source.path, source.dataset, source.tags()["demonstration"]) == (manifest, "benchmark", "true")


@pytest.fixture
def extracted(manifest: Path, new_job: NewJob, storage: Storage, put_features: Callable[..., None]) -> Extracted:
    """Two features of each video of the manifest."""
    source, store = prepare(new_job(), manifest).source, FeatureStore(storage, "print")
    for video in source.table["source"]:
        put_features(store, video, np.ones((2, 4), dtype=np.float16))
    return Extracted(store, with_frame_counts(source.table, store, 1), [], "float32")


def test_what_was_chosen_for_the_videos_is_kept_with_the_run(
    manifest: Path, new_job: NewJob, storage: Storage, extracted: Extracted
) -> None:
    job = new_job("training.batch_size=null", "model.fit_grid=true", "data.trimmed=auto")
    logged, training = MagicMock(), prepare(job, manifest)
    planned = replan(logged, job, training, extracted)
    kept = yaml.safe_load(storage.read(f"{training.run.key}/config.yaml"))
    assert kept == planned.plan.config.model_dump(mode="json")
    assert logged.log_config.call_args.args == (planned.plan.config,)
    assert (kept["training"]["batch_size"], kept["model"]["frames_per_segment"]) == (4, 1)
    assert (kept["data"]["trimmed"], kept["loss"]["bottom_k_abnormal"]) == (True, 0.0)
    assert "frames_per_segment=1" in logged.log_tags.call_args.args[0]["chosen"]


def test_a_batch_size_that_was_chosen_names_the_run(manifest: Path, new_job: NewJob) -> None:
    training = prepare(new_job("training.batch_size=null"), manifest)
    assert prepare(new_job("training.batch_size=4"), manifest).run == training.run


def test_a_changed_manifest_is_another_run(manifest: Path, new_job: NewJob) -> None:
    before = prepare(new_job(name="mine"), manifest).run
    before.start()
    rewrite(manifest, pl.col("num_frames").fill_null(40))
    with pytest.raises(UsageError, match=r"run mine exists with other content \(manifest was"):
        prepare(new_job(name="mine"), manifest)
    assert prepare(new_job(name="mine", fresh=True), manifest).run.key == before.key


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["backbone.weights=/none/weights.pt"], "/none/weights.pt"),
        (["model.context_length=80"], "exceed the text tower's 77 tokens"),
        (["backbone.name=ViT-Q"], "unknown architecture ViT-Q"),
        (["data.classes=[Robbery]"], "labels Arson are not among the run's classes"),
        (["training.batch_size=24", "training.workers=3"], "3 workers do not divide a batch of 4 abnormal"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_run_is_opened(
    manifest: Path, new_job: NewJob, storage: Storage, overrides: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(new_job(*overrides), manifest)
    assert storage.list("runs") == []


def test_a_backbone_whose_text_tower_reads_no_prompts_is_refused(
    manifest: Path, new_job: NewJob, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(BackboneConfig())
    monkeypatch.setattr(backbone.model, "text_pool_type", "first")
    monkeypatch.setattr(training_job, "load_backbone", lambda config: backbone)
    with pytest.raises(UsageError, match="cannot read learnt prompts"):
        prepare(new_job(), manifest)
    assert storage.list("runs") == []
    assert prepare(new_job("model.directions=auto"), manifest).plan.config.model.directions == "free"


@pytest.mark.parametrize("directions", ["auto", "finetuned"])
def test_a_backbone_without_its_tokenizer_is_refused_before_a_run_is_opened(
    manifest: Path, new_job: NewJob, storage: Storage, monkeypatch: pytest.MonkeyPatch, directions: str
) -> None:
    def refuse(texts: list[str]) -> Tensor:
        raise UsageError("backbone clip-tiny has no tokenizer here")

    backbone = dataclasses.replace(load_backbone(BackboneConfig()), tokenizer=refuse)
    monkeypatch.setattr(training_job, "load_backbone", lambda config: backbone)
    with pytest.raises(UsageError, match="clip-tiny has no tokenizer here"):
        prepare(new_job(f"model.directions={directions}"), manifest)
    assert storage.list("runs") == []
    assert prepare(new_job("model.directions=free", "model.zero_shot=false"), manifest).backbone is backbone


def test_a_manifest_that_cannot_be_trained_on_is_refused(manifest: Path, new_job: NewJob, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"manifest .*none\.csv is missing"):
        prepare(new_job(), tmp_path / "none.csv")
    rewrite(manifest, pl.lit("test").alias("split"))
    with pytest.raises(UsageError, match="the training part has 0 abnormal and 0 normal videos"):
        prepare(new_job(), manifest)


def test_a_run_says_what_it_needs_of_the_storage_root(
    manifest: Path, new_job: NewJob, storage: Storage, extracted: Extracted, put_features: Callable[..., None]
) -> None:
    training = prepare(new_job(), manifest)
    put_features(extracted.store, "other.mp4", np.ones((2, 4), dtype=np.float16))
    replan(MagicMock(), new_job(), training, extracted)
    needs = storage.read_json(f"{training.run.key}/features.json")
    assert needs["objects"] == sorted({Path(source).stem for source in training.source.table["source"]})
    assert (needs["fingerprint"], needs["manifest"]) == ("print", str(manifest.resolve()))
    assert needs["backbone"] == training.backbone_identity


def test_the_bundle_scores_with_the_checkpoints_weights(
    manifest: Path, new_job: NewJob, storage: Storage, tmp_path: Path
) -> None:
    job = new_job("extraction.sampling_rate=2", "extraction.crops=5")
    training = prepare(job, manifest)
    model = build_model(training.plan.classes, training.backbone, torch.randn(64), job.config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * parameter.requires_grad)
    extracted = Extracted(FeatureStore(storage, "print"), training.plan.manifest, [], "bfloat16")
    checkpoint = Checkpoint(3, learnt_state(model), {}, [{}])
    bundle = build_bundle(training, extracted, Trained(checkpoint, None), tmp_path)
    loaded, card = load_bundle(bundle)
    features = torch.randn(30, 64)
    for found, expected in zip(loaded.score_video(features), model.eval().score_video(features), strict=True):
        torch.testing.assert_close(found, expected)
    assert card.precision == "bfloat16"
    assert (card.sampling_rate, card.crops, card.classes, card.normal_index) == (2, 5, ("Arson", "Normal"), 1)
    assert card.backbone_identity == training.backbone.identity
    assert storage.is_complete(f"{training.run.key}/model")
    assert "prompts.context" in load_file(bundle / TENSORS)


def test_what_a_driver_left_that_was_killed_after_the_last_epoch_is_removed(storage: Storage) -> None:
    config = build_config(RunConfig(), None, ["training.epochs=3", "training.batch_size=2"])
    bags = [Bag("a", 0), Bag("b", NORMAL_LABEL)]
    plan = FitPlan(config, storage.root, "runs/fit", ["Arson", "Normal"], bags, (), None, "made-up", {})
    plan.checkpoints().save(Checkpoint(2, {}, {}, [{"epoch": epoch} for epoch in range(3)]), keep=())
    storage.write_json("runs/fit/ray/of-the-dead/trainer.json", {})
    training_job._fit(MagicMock(), plan)
    assert storage.list("runs/fit") == ["checkpoints"]


def test_a_training_sees_base_classes_alone_and_knows_the_novel_ones_by_name(manifest: Path, new_job: NewJob) -> None:
    """Its plan has no video of the others; without the setting the base classes change nothing, not even the name."""
    header, *rows = manifest.read_text().splitlines()
    riots = [row.replace("Arson", "Riot") for row in rows if "Arson" in row]
    for path in manifest.parent.glob("*Arson*.mp4"):
        path.with_name(path.name.replace("Arson", "Riot")).write_bytes(b"")
    manifest.write_text("\n".join([header, *rows, *riots]))
    base, whole = "data.base_classes=[Arson]", prepare(new_job(), manifest)
    assert whole.novel is None and whole.plan.classes == ["Arson", "Normal", "Riot"]
    assert prepare(new_job(base), manifest).run == whole.run

    training = prepare(new_job(base, "training.classes_seen=base"), manifest)
    assert training.novel is not None and training.novel.names == ("Riot",)
    assert training.plan.classes == ["Arson", "Normal"] and training.run.name != whole.run.name
    seen = training.plan.manifest.filter(pl.col("split") != "test")["labels"].explode().drop_nulls()
    assert set(seen) == {"Arson"}
    assert set(training.source.test_part("test")["labels"].explode().drop_nulls()) == {"Arson", "Riot"}


def test_a_training_on_base_classes_needs_names_and_prompts(manifest: Path, new_job: NewJob) -> None:
    with pytest.raises(UsageError, match=r"data.base_classes names none: give some, or the preset ucf-crime"):
        prepare(new_job("training.classes_seen=base"), manifest)
    settings = ["training.classes_seen=base", "data.base_classes=[Arson]", "model.directions=free"]
    with pytest.raises(UsageError, match="novel classes are recognised by their names, which need prompts"):
        prepare(new_job(*settings), manifest)
