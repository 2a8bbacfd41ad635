import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from anomalyclip.config import BackboneConfig, ModelConfig, RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import load_backbone
from anomalyclip.methods import load_bundle
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, bundle_digest, load_card, save_bundle
from anomalyclip.runs import CARD, TENSORS
from anomalyclip.training.checkpoints import learnt_state
from anomalyclip.training.setup import build_model

CLASSES = ("Arson", "Fighting", "Normal")
CONFIG = RunConfig(model=ModelConfig(embedding_dim=16, heads=2, concat_logits=True))


@pytest.fixture(scope="module")
def model() -> AnomalyCLIP:
    backbone = load_backbone(BackboneConfig())
    model = build_model(CLASSES, backbone, torch.randn(64), CONFIG)
    directions: Any = model.directions
    with torch.no_grad():
        directions.prompt_learner.context += 1
        directions.text_encoder.text_projection *= 2
    model.train()(torch.randn(2, 32, 16, 64))  # gives the batch norm statistics of its own
    return model.eval()


@pytest.fixture
def bundle(model: AnomalyCLIP, tmp_path: Path) -> Path:
    card = ModelCard(
        classes=CLASSES, normal_index=2, model=CONFIG.model, backbone=CONFIG.backbone,
        backbone_identity="tower", sampling_rate=3,
    )  # fmt: skip
    folder = tmp_path / "new" / "bundle"
    save_bundle(folder, learnt_state(model), model.for_scoring().directions(), card)
    return folder


def test_a_loaded_model_scores_as_the_one_that_was_saved(model: AnomalyCLIP, bundle: Path) -> None:
    loaded, card = load_bundle(bundle)
    features = torch.randn(700, 64)
    before, after = model.for_scoring().score_video(features), loaded.score_video(features)
    for expected, found in zip(before, after, strict=True):
        assert torch.equal(found, expected)
    assert (card.classes, card.backbone_identity, card.sampling_rate) == (CLASSES, "tower", 3)
    assert loaded.classes == CLASSES


def test_a_bundle_is_tensors_and_json_and_no_pickle(bundle: Path) -> None:
    assert sorted(file.name for file in bundle.iterdir()) == sorted([TENSORS, CARD])
    header = int.from_bytes((bundle / TENSORS).read_bytes()[:8], "little")
    json.loads((bundle / TENSORS).read_bytes()[8 : 8 + header])
    json.loads((bundle / CARD).read_text())


def test_a_bundle_keeps_the_learnt_prompts_for_classes_added_later(model: AnomalyCLIP, bundle: Path) -> None:
    tensors = load_file(bundle / TENSORS)
    directions: Any = model.directions
    assert torch.equal(tensors["prompts.context"], directions.prompt_learner.context)
    assert torch.equal(tensors["prompts.text_projection"], directions.text_encoder.text_projection)
    assert torch.equal(tensors["normality_prototype"], model.normality_prototype)
    assert not [name for name in tensors if "transformer" in name or "token_embedding" in name]


def test_the_same_model_has_the_same_digest(bundle: Path) -> None:
    before = bundle_digest(bundle)
    save_file(load_file(bundle / TENSORS), bundle / TENSORS)
    assert bundle_digest(bundle) == before
    (bundle / CARD).write_text((bundle / CARD).read_text() + "\n")
    assert bundle_digest(bundle) != before


def changed(bundle: Path, **changes: object) -> None:
    (bundle / CARD).write_text(json.dumps(json.loads((bundle / CARD).read_text()) | changes))


def without(bundle: Path, name: str) -> None:
    save_file({key: value for key, value in load_file(bundle / TENSORS).items() if key != name}, bundle / TENSORS)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no card": lambda bundle: (bundle / CARD).unlink(),
    "no tensors": lambda bundle: (bundle / TENSORS).unlink(),
    "empty card": lambda bundle: (bundle / CARD).write_bytes(b""),
    "binary card": lambda bundle: (bundle / CARD).write_bytes(b"\xff\x00"),
    "cut card": lambda bundle: (bundle / CARD).write_text((bundle / CARD).read_text()[:50]),
    "a card of a later version": lambda bundle: changed(bundle, schema_version=2),
    "a card with more in it": lambda bundle: changed(bundle, code="print()"),
    "cut tensors": lambda bundle: (bundle / TENSORS).write_bytes((bundle / TENSORS).read_bytes()[:-9]),
    "other bytes": lambda bundle: (bundle / TENSORS).write_bytes(b"\x80\x04pickle"),
    "no directions": lambda bundle: without(bundle, "directions.class_features"),
    "no weights": lambda bundle: without(bundle, "temporal.classifier.weight"),
    "a card of another model": lambda bundle: changed(bundle, classes=["a", "Normal"], normal_index=1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_missing_or_damaged_file_is_refused(bundle: Path, damage: str) -> None:
    DAMAGE[damage](bundle)
    with pytest.raises(UsageError) as caught:
        load_bundle(bundle)
    assert str(bundle) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_folder_holds_no_model(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(UsageError, match=r"holds no model \(model.json is missing\)"):
            load_card(path)
