import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.pretrained import _PRETRAINED
from safetensors.torch import save_file

from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import (
    Backbone,
    load_backbone,
    load_stored_backbone,
    save_backbone,
)
from anomalyclip.storage import Storage

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def random(name: str) -> Backbone:
    return load_backbone(BackboneConfig(name=name, weights="random"))


def image_features(backbone: Backbone) -> torch.Tensor:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8))
    with torch.inference_mode():
        return backbone.model.encode_image(backbone.preprocess(frames))


@pytest.fixture(scope="module", autouse=True)
def small_architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("architectures")
    variants = {
        "test-vit": {},
        "test-vit-quickgelu": {"quick_gelu": True},
        "test-lonely": {},
        "test-custom": {"custom_text": True},
    }
    for name, change in variants.items():
        (folder / f"{name}.json").write_text(json.dumps({**SMALL, **change}))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return random("clip-tiny")


@pytest.fixture
def tiny_file(tiny: Backbone, tmp_path: Path) -> Path:
    save_file(tiny.model.state_dict(), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_golden_image_features_of_a_quickgelu_tower() -> None:
    golden = np.load(GOLDEN / "02b_tiny_clip_visual.npz")
    vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 64, "patch_size": 16}
    model = open_clip.CLIP(64, vision, SMALL["text_cfg"], quick_gelu=True).eval()
    state = {name.removeprefix("visual."): torch.from_numpy(golden[name]) for name in golden if "visual." in name}
    model.visual.load_state_dict(state)
    with torch.inference_mode():
        features = model.encode_image(torch.from_numpy(golden["images"]))
    np.testing.assert_allclose(features, golden["image_features"], rtol=1e-4, atol=2e-5)


def test_clip_tiny_is_a_frozen_clip_that_squashes_wide_pictures(tiny: Backbone) -> None:
    assert tiny.name == "clip-tiny" and tiny.dim == 64
    assert tiny.preprocess.size == 64 and tiny.preprocess.resize_mode == "squash"
    assert not tiny.model.training and not any(p.requires_grad for p in tiny.model.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in tiny.model.parameters())
    tokens = tiny.tokenizer(["X X robbery.", "X X normal."])
    assert tokens.shape == (2, 77) and tokens.dtype == torch.int64
    assert image_features(tiny).shape == (3, 64)


def test_random_weights_are_the_same_every_time_and_warned_of(tiny: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="anomalyclip"):
        again = random("clip-tiny")
    assert again.identity == tiny.identity and len(tiny.identity) == 32
    assert all(map(torch.equal, again.model.state_dict().values(), tiny.model.state_dict().values()))
    assert [record.message for record in caplog.records] == [
        "backbone clip-tiny has random weights: accuracies mean nothing"
    ]


def test_loading_disturbs_neither_the_global_generator_nor_the_root_logger() -> None:
    handlers = list(logging.getLogger().handlers)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    random("test-vit")
    assert torch.equal(torch.rand(3), expected)
    assert logging.getLogger().handlers == handlers and not logging.getLogger().filters


def test_weights_of_a_file_give_the_same_backbone(tiny: Backbone, tiny_file: Path) -> None:
    loaded = load_backbone(BackboneConfig(name="clip-tiny", weights=str(tiny_file)))
    assert loaded.identity == tiny.identity and loaded.preprocess == tiny.preprocess
    assert torch.equal(image_features(loaded), image_features(tiny))


def test_identity_follows_image_weights_and_activation_only(tiny: Backbone, tmp_path: Path) -> None:
    def identity(**changed: torch.Tensor) -> str:
        state = {**tiny.model.state_dict(), **changed}
        save_file(state, tmp_path / "changed.safetensors")
        return load_backbone(BackboneConfig(name="clip-tiny", weights=str(tmp_path / "changed.safetensors"))).identity

    state = tiny.model.state_dict()
    assert identity(text_projection=state["text_projection"] + 1) == tiny.identity
    assert identity(**{"visual.bn1.bias": state["visual.bn1.bias"] + 1e-6}) != tiny.identity
    assert random("test-vit").identity != random("test-vit-quickgelu").identity


def test_file_of_another_architecture_is_refused(tiny_file: Path) -> None:
    with pytest.raises(UsageError, match=r"does not fit architecture test-vit: missing: .*visual.class_emb"):
        load_backbone(BackboneConfig(name="test-vit", weights=str(tiny_file)))


@pytest.mark.parametrize("weights", ["weights/absent", "absent.pt"])
def test_missing_file_is_refused(weights: str) -> None:
    with pytest.raises(UsageError, match=f"{weights} does not exist"):
        load_backbone(BackboneConfig(name="clip-tiny", weights=weights))


def test_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown architecture ViT-B16; .*ViT-B-16"):
        load_backbone(BackboneConfig(name="ViT-B16"))


@pytest.mark.parametrize(("name", "answer"), [("ViT-B-16", "openai, "), ("clip-tiny", "no published weights")])
def test_unknown_tag_lists_the_known(name: str, answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        load_backbone(BackboneConfig(name=name, weights="opnai"))


def openai_file(folder: Path) -> Path:
    state = random("test-vit").model.state_dict()
    torch.save({**state, "context_length": torch.tensor(77)}, folder / "openai.pt")
    return folder / "openai.pt"


def test_openai_file_under_a_gelu_architecture_is_given_quickgelu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = str(openai_file(tmp_path))
    with caplog.at_level(logging.WARNING, logger="anomalyclip"):
        backbone = load_backbone(BackboneConfig(name="test-vit", weights=file))
    assert backbone.name == "test-vit-quickgelu"
    assert backbone.identity == random("test-vit-quickgelu").identity
    assert "using test-vit-quickgelu instead of test-vit" in caplog.text
    with pytest.raises(UsageError, match="QuickGELU, which architecture test-lonely does not compute"):
        load_backbone(BackboneConfig(name="test-lonely", weights=file))


def test_published_quickgelu_weights_under_a_gelu_architecture_are_given_quickgelu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(random("test-vit").model.state_dict(), tmp_path / "hub.safetensors")
    published = {"file": str(tmp_path / "hub.safetensors"), "quick_gelu": True, "resize_mode": "squash"}
    monkeypatch.setitem(_PRETRAINED, "test-vit", {"openai": published})
    backbone = load_backbone(BackboneConfig(name="test-vit", weights="openai"))
    assert backbone.name == "test-vit-quickgelu" and backbone.preprocess.resize_mode == "squash"


def test_a_file_takes_the_preprocessing_that_all_published_weights_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(random("test-vit").model.state_dict(), tmp_path / "own.safetensors")
    tags = [{"mean": (0.5,) * 3, "std": (value,) * 3} for value in (0.5, 0.4)]
    monkeypatch.setitem(_PRETRAINED, "test-vit", dict(zip("ab", tags, strict=True)))
    backbone = load_backbone(BackboneConfig(name="test-vit", weights=str(tmp_path / "own.safetensors")))
    assert backbone.preprocess.mean == (0.5, 0.5, 0.5)
    assert backbone.preprocess.std == open_clip.OPENAI_DATASET_STD


@pytest.mark.parametrize("name", ["clip-tiny", "test-vit-quickgelu", "test-custom"])
def test_stored_backbone_comes_back_bit_identical(tmp_path: Path, name: str) -> None:
    backbone, storage = random(name), Storage(str(tmp_path))
    save_backbone(backbone, storage)
    stored = load_stored_backbone(storage, backbone.identity)
    assert (stored.name, stored.identity, stored.dim) == (name, backbone.identity, backbone.dim)
    assert stored.preprocess == backbone.preprocess and stored.architecture == backbone.architecture
    assert torch.equal(image_features(stored), image_features(backbone))
    tokens = stored.tokenizer(["a robbery."])
    assert torch.equal(stored.model.encode_text(tokens), backbone.model.encode_text(tokens))
    assert not any(parameter.requires_grad for parameter in stored.model.parameters())


def test_a_backbone_is_stored_once(tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    save_backbone(tiny, storage)
    monkeypatch.setattr(storage, "publish", lambda *_: pytest.fail("stored twice"))
    save_backbone(load_stored_backbone(storage, tiny.identity), storage)


def test_another_text_tower_beside_the_same_image_tower_is_refused(tiny: Backbone, tmp_path: Path) -> None:
    storage, other = Storage(str(tmp_path)), random("clip-tiny")
    save_backbone(tiny, storage)
    other.model.text_projection.data.add_(1)
    with pytest.raises(UsageError, match="another text tower or preprocessing"):
        save_backbone(other, storage)
    squeezed = dataclasses.replace(tiny, preprocess=dataclasses.replace(tiny.preprocess, std=(1.0,) * 3))
    with pytest.raises(UsageError, match="another text tower or preprocessing"):
        save_backbone(squeezed, storage)


def test_absent_unfinished_and_damaged_stored_backbones_are_refused(tiny: Backbone, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    key = f"backbones/{tiny.identity}"
    with pytest.raises(UsageError, match=f"backbone {tiny.identity} is not in"):
        load_stored_backbone(storage, tiny.identity)
    save_backbone(tiny, storage)
    storage.delete(f"{key}/_COMPLETE")
    with pytest.raises(UsageError, match="is not in"):
        load_stored_backbone(storage, tiny.identity)
    storage.write(f"{key}/_COMPLETE", b"")
    storage.write(f"{key}/open_clip_model.safetensors", b"short")
    with pytest.raises(UsageError, match="is damaged"):
        load_stored_backbone(storage, tiny.identity)
