"""Image towers that people use through open_clip: each by its own name and tag, with one layer."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import (
    Backbone,
    load_backbone,
    load_stored_backbone,
    new_backbone,
    save_backbone,
    with_quick_gelu,
)
from anomalyclip.features.encoder import FrameEncoder, round_weights
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.directions import TextEncoder
from anomalyclip.storage import Storage
from tests.small_backbones import shrink

CPU = torch.device("cpu")
TAGS = {
    "ViT-B-16": "datacomp_xl_s13b_b90k",
    "ViT-B-16-quickgelu": "dfn2b",
    "ViT-L-14-336": "openai",
    "EVA02-B-16": "merged2b_s8b_b131k",
    "EVA02-L-14-336": "merged2b_s6b_b61k",
    "PE-Core-B-16": "meta",
    "PE-Core-L-14-336": "meta",
    "MobileCLIP2-S0": "dfndr2b",
    "MobileCLIP2-S2": "dfndr2b",
    "MobileCLIP2-S3": "dfndr2b",
    "MobileCLIP2-B": "dfndr2b",
    "ViT-B-16-SigLIP2": "webli",
    "ViT-SO400M-14-SigLIP2-378": "webli",
}


@pytest.fixture(scope="module", params=TAGS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(request.param, monkeypatch)
        return new_backbone(request.param)


def frames() -> np.ndarray:
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 60, (2, 480, 640, 3), dtype=np.uint8)
    noise[:, 120:300, 200:420] += 180
    return noise


def test_frames_are_prepared_as_open_clip_prepares_pictures_for_the_published_weights(backbone: Backbone) -> None:
    tag = open_clip.get_pretrained_cfg(backbone.name, TAGS[backbone.name])
    size = backbone.architecture["vision_cfg"]["image_size"]
    kept = {name: tag[name] for name in ("mean", "std", "interpolation", "resize_mode")}
    theirs = open_clip.image_transform(size, is_train=False, **kept)
    expected = torch.stack([theirs(Image.fromarray(frame)) for frame in frames()])
    got = backbone.preprocess(torch.from_numpy(frames()))
    assert got.shape == expected.shape == (2, 3, size, size)
    levels = (got - expected).abs() * torch.tensor(tag["std"])[:, None, None] * 255
    assert levels.max() < 2.01
    assert levels.mean() < 0.25


def test_features_are_those_of_the_models_own_image_side(backbone: Backbone) -> None:
    got = FrameEncoder(backbone, "float32", CPU)(frames())
    with torch.inference_mode():
        expected = backbone.model.encode_image(backbone.preprocess(torch.from_numpy(frames())))  # type: ignore[operator]
    assert got.shape == (2, 1, backbone.dim)
    assert backbone.dim == text_tower(backbone.model).text_projection.shape[1]
    np.testing.assert_array_equal(got[:, 0], expected.half().numpy())
    assert np.abs(got[0] - got[1]).max() > 0


def test_rounding_the_weights_once_gives_the_features_of_autocast(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CPUs alone have a fast path of attention that autocast does not change
    monkeypatch.setattr(torch.backends.mha, "_is_fastpath_enabled", False)
    visual = backbone.model.get_submodule("visual")
    rounded = copy.deepcopy(visual)
    round_weights(rounded)
    assert any(parameter.dtype == torch.bfloat16 for parameter in rounded.parameters())
    pixels = backbone.preprocess(torch.from_numpy(frames()))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rounded(pixels), visual(pixels))


@pytest.mark.parametrize("name", ["EVA02-B-16", "PE-Core-B-16", "MobileCLIP2-S0", "ViT-B-16-SigLIP2"])
def test_a_stored_backbone_comes_back_bit_identical(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shrink(name, monkeypatch)
    backbone, storage = new_backbone(name), Storage(str(tmp_path))
    save_backbone(backbone, storage)
    stored = load_stored_backbone(storage, backbone.identity)
    assert (stored.name, stored.preprocess, stored.architecture) == (name, backbone.preprocess, backbone.architecture)
    theirs, ours = stored.model.state_dict(), backbone.model.state_dict()
    assert list(theirs) == list(ours) and all(torch.equal(theirs[key], ours[key]) for key in ours)


def test_every_tag_of_weights_trained_with_quickgelu_has_an_architecture() -> None:
    for name, tag in open_clip.list_pretrained():
        if open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"):
            assert open_clip.get_model_config(with_quick_gelu(name, tag))["quick_gelu"]


@pytest.mark.parametrize("offline", [False, True])
def test_a_tokenizer_of_the_hub_is_fetched_when_a_text_is_read_and_for_stored_backbones_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: bool
) -> None:
    shrink("ViT-B-16-SigLIP2", monkeypatch)
    asked: list[tuple[str, bool]] = []

    def fetch(name: str, cache_dir: str | None, local_files_only: bool) -> Callable[..., SimpleNamespace]:
        asked.append((name, local_files_only))
        return lambda texts, **options: SimpleNamespace(input_ids=torch.ones(len(texts), options["max_length"]))

    hub = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=fetch))
    monkeypatch.setitem(sys.modules, "transformers", hub)
    backbone = load_backbone(BackboneConfig(name="ViT-B-16-SigLIP2", weights="random", offline=offline))
    save_backbone(backbone, Storage(str(tmp_path)))
    stored = load_stored_backbone(Storage(str(tmp_path)), backbone.identity)
    assert asked == []
    assert backbone.tokenizer(["a", "b"]).shape == backbone.tokenizer(["a", "b"]).shape == (2, 64)
    assert asked == [("timm/ViT-B-16-SigLIP2", offline)]
    assert stored.tokenizer(["a"]).shape == (1, 64)
    assert asked[1:] == [("timm/ViT-B-16-SigLIP2", False)]


def test_without_its_tokenizer_a_tower_is_refused_by_name_where_texts_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shrink("ViT-B-16-SigLIP2", monkeypatch)
    monkeypatch.setitem(sys.modules, "transformers", None)
    backbone = load_backbone(BackboneConfig(name="ViT-B-16-SigLIP2", weights="random"))
    with pytest.raises(UsageError, match=r"backbone ViT-B-16-SigLIP2 has no tokenizer here: .*directions=free"):
        backbone.tokenizer(["a robbery"])


@pytest.mark.accept
@pytest.mark.parametrize("name", TAGS)
def test_whole_towers_encode_a_batch_of_frames_and_a_prompt(name: str) -> None:
    backbone = new_backbone(name)
    assert FrameEncoder(backbone, "float32", CPU)(frames()).shape == (2, 1, backbone.dim)
    tower = text_tower(backbone.model)
    tokens = torch.arange(10, 10 + len(tower.positional_embedding))[None]
    with torch.inference_mode():
        got = TextEncoder(tower)(tower.token_embedding(tower.needed(tokens)), tower.pooled_at(tokens))
        expected = backbone.model.encode_text(tokens)  # type: ignore[operator]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
