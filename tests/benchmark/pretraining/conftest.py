import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from anomalyclip.benchmark.pictures.illustrations import Picture
from anomalyclip.benchmark.pictures.pool import DrawPicture, PicturePool
from anomalyclip.benchmark.pretraining.settings import AugmentationSettings
from anomalyclip.features import torchvision_fix  # noqa: F401 - before open_clip, which imports torchvision

# isort: split
import open_clip

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 230), "white": (240, 240, 240)}
LITTLE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def _draw_square(seed: int, index: int) -> Picture:
    """A coloured square somewhere on grey: one of four concepts."""
    generator = np.random.default_rng([seed, index])
    name = list(COLOURS)[int(generator.integers(len(COLOURS)))]
    pixels = np.full((32, 32, 3), generator.integers(60, 180), np.uint8)
    left, top = generator.integers(0, 16, 2)
    pixels[top : top + 16, left : left + 16] = COLOURS[name]
    return Picture(pixels, name, (f"a {name} square", f"here is something {name}", name))


@pytest.fixture(scope="session", autouse=True)
def little_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An architecture like clip-tiny, but smaller."""
    folder = tmp_path_factory.mktemp("architectures")
    (folder / "test-little.json").write_text(json.dumps(LITTLE))
    open_clip.add_model_config(folder)
    return "test-little"


@pytest.fixture(scope="session")
def draw_square() -> DrawPicture:
    return _draw_square


@pytest.fixture(scope="session")
def squares() -> PicturePool:
    drawn = [_draw_square(0, index) for index in range(192)]
    return PicturePool(
        np.stack([picture.pixels for picture in drawn]),
        [list(picture.captions) for picture in drawn],
        [picture.concept for picture in drawn],
    )


@pytest.fixture(scope="session")
def unvaried() -> AugmentationSettings:
    """Every picture as it was drawn."""
    return AugmentationSettings(
        zoom=(1, 1), stretch=1, turn=0, flip=0, brightness=0, contrast=0, saturation=0, tint=0, grey=0, blur=0,
        coarse=0, noise=0,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
