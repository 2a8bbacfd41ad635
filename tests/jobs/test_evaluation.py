import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from anomalyclip.config import BackboneConfig, EventsConfig, ModelConfig, RunConfig
from anomalyclip.data.manifest import write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.scoring import Scorer
from anomalyclip.evaluation.zero_shot import zero_shot
from anomalyclip.events.alarms import AlarmTable, save_alarms
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.job import Job
from anomalyclip.jobs import candidates
from anomalyclip.jobs.candidates import extraction_settings
from anomalyclip.jobs.evaluation import prepare
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, load_card, save_bundle
from anomalyclip.model.directions import FixedDirections
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BackboneConfig())


@pytest.fixture
def bundle(backbone: Backbone, tmp_path: Path) -> Path:
    config = ModelConfig(embedding_dim=16, heads=2)
    model = AnomalyCLIP(FixedDirections(torch.randn(1, 64)), ("Arson", "Normal"), 1, torch.zeros(64), config)
    card = ModelCard(
        classes=model.classes, normal_index=1, model=config, backbone=BackboneConfig(),
        backbone_identity=backbone.identity, sampling_rate=1,
    )  # fmt: skip
    save_bundle(tmp_path / "bundle", model.state_dict(), model.directions(), card)
    return tmp_path / "bundle"


def manifest(folder: Path, split: str = "test", label: str = "Arson") -> Path:
    (folder / "a.mp4").write_bytes(b"")
    row: tuple[Any, ...] = ("a", "a.mp4", split, [label], [], None)
    write_manifest(pl.DataFrame([row], schema=SCHEMA, orient="row"), folder / "manifest.csv")
    return folder / "manifest.csv"


def both_parts(folder: Path) -> Path:
    """A manifest with a training and a test video of Arson."""
    header, row = manifest(folder).read_text().splitlines()
    (folder / "b.mp4").write_bytes(b"")
    train = row.replace("a,a.mp4,test", "b,b.mp4,train")
    (folder / "manifest.csv").write_text("\n".join([header, row, train]))
    return folder / "manifest.csv"


def job(storage: Storage, *overrides: str, **more: Any) -> Job:
    config = build_config(RunConfig(), None, overrides)
    return Job(storage, config, more.get("name"), more.get("fresh", False), f"sqlite:///{storage.path('mlflow.db')}")


def test_an_evaluation_in_order_is_a_run_by_model_and_test_part(
    storage: Storage, bundle: Path, tmp_path: Path, backbone: Backbone
) -> None:
    found = prepare(job(storage), str(bundle), manifest(tmp_path))
    assert (found.candidate.scorer, found.candidate.model_id) == (bundle, None)
    assert found.run.key.startswith(f"evaluations/{tmp_path.name}-")
    assert found.candidate.backbone.identity == backbone.identity
    again = prepare(job(storage, "training.seed=3", "extraction.workers=2"), str(bundle), manifest(tmp_path))
    assert again.run == found.run
    other = prepare(job(storage, "extraction.precision=float32"), str(bundle), manifest(tmp_path))
    assert other.run != found.run


def test_settings_of_events_other_than_those_of_the_models_table_are_refused(
    storage: Storage, bundle: Path, tmp_path: Path
) -> None:
    prepare(job(storage, "events.gap=2"), str(bundle), manifest(tmp_path))
    own = EventsConfig(gap=3)
    save_alarms(bundle, AlarmTable(events=own, videos=1, hours=1, held_out=True, thresholds=(0.9,), alarms=(0,)))
    prepare(job(storage, "events.gap=3"), str(bundle), manifest(tmp_path))
    with pytest.raises(UsageError, match=r"were chosen with events.gap=3, not 2: leave it"):
        prepare(job(storage, "events.gap=2"), str(bundle), manifest(tmp_path))
    with pytest.raises(UsageError, match=r"were chosen with events.detections_per_hour=1, not 9: leave it"):
        prepare(job(storage, "events.detections_per_hour=9"), str(bundle), manifest(tmp_path))


def test_another_model_under_the_same_name_is_refused(storage: Storage, bundle: Path, tmp_path: Path) -> None:
    prepare(job(storage, name="mine"), str(bundle), manifest(tmp_path)).run.start()
    card = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps(card))  # the same card in other bytes
    with pytest.raises(UsageError, match=r"run mine exists with other content \(model was"):
        prepare(job(storage, name="mine"), str(bundle), manifest(tmp_path))


def test_a_manifest_without_test_rows_is_refused(storage: Storage, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no rows of split test"):
        prepare(job(storage), str(bundle), manifest(tmp_path, split="train"))


def test_what_holds_no_model_is_refused(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no model or run nothing: give models:/NAME/VERSION"):
        prepare(job(storage), "nothing", manifest(tmp_path))


def test_features_of_another_backbone_are_refused(storage: Storage, bundle: Path, tmp_path: Path) -> None:
    card = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps(card | {"backbone_identity": "0" * 32}))
    with pytest.raises(UsageError, match=r"backbone clip-tiny .* makes other features .*000000000000\)"):
        prepare(job(storage), str(bundle), manifest(tmp_path))
    assert storage.list("evaluations") == []


def test_a_model_of_snippets_asks_for_its_imported_features(storage: Storage, bundle: Path, tmp_path: Path) -> None:
    card = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps(card | {"sampling_rate": None, "features": "i3d"}))
    with pytest.raises(UsageError, match="no features were imported as i3d"):
        prepare(job(storage), str(bundle), manifest(tmp_path))


def test_classes_that_the_model_does_not_know_are_named(
    storage: Storage, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "anomalyclip"):
        prepare(job(storage), str(bundle), manifest(tmp_path, label="Robbery"))
    assert "classes that occur in the test part only: Robbery" in caplog.text


@pytest.mark.parametrize("asked, used", [("auto", "bfloat16"), ("float32", "float32")])
def test_features_are_made_as_those_of_the_training_unless_asked_otherwise(
    storage: Storage, bundle: Path, asked: str, used: str
) -> None:
    card = load_card(bundle).model_copy(update={"sampling_rate": 4, "crops": 5, "precision": "bfloat16"})
    settings = extraction_settings(job(storage, f"extraction.precision={asked}", "extraction.workers=2"), card)
    assert (settings.sampling_rate, settings.crops, settings.precision, settings.workers) == (4, 5, used, 2)


def test_zero_shot_stands_in_the_place_of_a_model(storage: Storage, tmp_path: Path, backbone: Backbone) -> None:
    found = prepare(job(storage, "extraction.sampling_rate=4"), "zero-shot", both_parts(tmp_path))
    assert found.candidate.classes == ("Arson", "Normal")
    assert found.run.key.startswith(f"evaluations/{tmp_path.name}-zero-shot-")
    assert found.candidate.tags["model_kind"] == "zero-shot"
    assert isinstance(found.candidate.scorer, Scorer)
    assert found.candidate.scorer.digest == zero_shot(backbone, ["Arson", "Normal"]).digest
    assert found.candidate.scorer.sampling_rate == found.candidate.extraction.sampling_rate == 4
    assert found.candidate.scorer.segment_frames == 16 * 4
    again = prepare(job(storage, "extraction.sampling_rate=4", "model.k=2"), "zero-shot", both_parts(tmp_path))
    assert again.run == found.run
    assert prepare(job(storage), "zero-shot", both_parts(tmp_path)).run != found.run
    cropped = prepare(
        job(storage, "extraction.sampling_rate=4", "extraction.crops=5"), "zero-shot", both_parts(tmp_path)
    )
    assert (cropped.candidate.extraction.crops, cropped.run == found.run) == (5, False)


def test_zero_shot_takes_the_classes_asked_for(storage: Storage, tmp_path: Path) -> None:
    found = prepare(job(storage, "data.classes=[Riot, Arson]"), "zero-shot", manifest(tmp_path))
    assert found.candidate.classes == ("Arson", "Normal", "Riot")


def test_zero_shot_without_any_class_is_refused(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least one abnormal class, not Normal: give data\.classes"):
        prepare(job(storage), "zero-shot", manifest(tmp_path))
    assert storage.list("evaluations") == []


def test_zero_shot_by_a_text_tower_that_cannot_read_prompts_is_refused(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(BackboneConfig())
    monkeypatch.setattr(backbone.model, "text_pool_type", "first")
    monkeypatch.setattr(candidates, "load_backbone", lambda config: backbone)
    with pytest.raises(UsageError, match="cannot read learnt prompts"):
        prepare(job(storage), "zero-shot", both_parts(tmp_path))
    assert storage.list("evaluations") == []


def test_a_wrong_name_is_refused_before_the_benchmark_is_drawn(storage: Storage) -> None:
    with pytest.raises(UsageError, match="there is no model or run nothing"):
        prepare(job(storage), "nothing", Path("benchmark"))
    assert not storage.exists("benchmark")
