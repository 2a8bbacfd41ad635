from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import load_backbone, new_backbone
from anomalyclip.importing.released_towers import image_tower_identity
from tests.released import TINY, add_tiny_architecture, golden


@pytest.fixture(scope="module", autouse=True)
def _architecture(tmp_path_factory: pytest.TempPathFactory) -> None:
    add_tiny_architecture(tmp_path_factory.mktemp("architecture"))


def golden_tower() -> dict[str, torch.Tensor]:
    tensors = golden("02b_tiny_clip_visual")
    return {name.removeprefix("visual."): tensors[name] for name in tensors if name.startswith("visual.")}


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_an_image_tower_has_the_identity_of_the_backbone_that_it_came_from(stored: torch.dtype, tmp_path: Path) -> None:
    whole = new_backbone(TINY).model.state_dict() | {f"visual.{name}": v for name, v in golden_tower().items()}
    published = {name: value.half() if value.is_floating_point() else value for name, value in whole.items()}
    save_file(published, tmp_path / "published.safetensors")
    backbone = load_backbone(BackboneConfig(name=TINY, weights=str(tmp_path / "published.safetensors")))
    tower = {n.removeprefix("visual."): v.to(stored) for n, v in published.items() if n.startswith("visual.")}
    assert image_tower_identity(TINY, 64, tower) == (TINY, backbone.identity)
    tower["proj"] = tower["proj"] * 2
    assert image_tower_identity(TINY, 64, tower)[1] != backbone.identity


def test_an_architecture_is_corrected_to_the_one_that_computes_quick_gelu() -> None:
    backbone = new_backbone("ViT-B-32-quickgelu")
    tower = {n.removeprefix("visual."): v for n, v in backbone.model.state_dict().items() if n.startswith("visual.")}
    assert image_tower_identity("ViT-B-32", 512, tower) == ("ViT-B-32-quickgelu", backbone.identity)


def test_every_tensor_that_does_not_fit_is_named() -> None:
    tower = golden_tower() | {"more": torch.zeros(2), "proj": torch.zeros(64, 3)}
    del tower["ln_pre.bias"]
    with pytest.raises(UsageError) as caught:
        image_tower_identity(TINY, 32, tower)
    for message in ("ln_pre.bias (64,) is missing", "more (2,) is unexpected", "proj is (64, 3), not (64, 64)",
                    "64 numbers, the checkpoint's 32"):  # fmt: skip
        assert message in str(caught.value)
    with pytest.raises(UsageError, match="unknown architecture nothing"):
        image_tower_identity("nothing", 64, tower)
    with pytest.raises(UsageError, match="QuickGELU, which architecture clip-tiny does not compute"):
        image_tower_identity("clip-tiny", 64, tower)
