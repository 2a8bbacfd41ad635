"""Weights that are part of the package."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.features import weights
from anomalyclip.features.backbone import load_backbone, new_backbone
from anomalyclip.features.weights import write_weights


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in the place of the package's own."""
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path)
    return tmp_path


def test_embedded_weights_load_as_float32_whatever_the_random_ones(package: Path, little_clip: str) -> None:
    written = new_backbone(little_clip, seed=5).model
    write_weights(written, package / f"{little_clip}.safetensors", {})
    loaded = load_backbone(BackboneConfig(name=little_clip, weights="embedded"))
    for name, value in written.state_dict().items():
        got = loaded.model.state_dict()[name]
        assert got.dtype == value.dtype
        torch.testing.assert_close(got, value, rtol=1e-3, atol=1e-4)
    assert loaded.identity != load_backbone(BackboneConfig(name=little_clip, weights="random")).identity


def test_an_architecture_without_embedded_weights_is_refused(package: Path, little_clip: str) -> None:
    config = BackboneConfig(name="RN50", weights="embedded")
    with pytest.raises(UsageError, match="architecture RN50 has no embedded weights; those that have: none yet"):
        load_backbone(config)
    write_weights(new_backbone(little_clip).model, package / f"{little_clip}.safetensors", {})
    with pytest.raises(UsageError, match="RN50 has no embedded weights; those that have: test-little"):
        load_backbone(config)


def test_weights_are_written_whole_or_not_at_all(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = package / "w.safetensors"
    write_weights(torch.nn.Linear(1, 1), path, {})
    before = path.read_bytes()

    def break_off(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(weights, "save_file", break_off)
    with pytest.raises(OSError, match="disk full"):
        write_weights(torch.nn.Linear(2, 2), path, {})
    assert path.read_bytes() == before
    assert list(package.iterdir()) == [path]


def test_whole_numbers_stay_what_they_are(package: Path) -> None:
    write_weights(torch.nn.BatchNorm2d(2), package / "w.safetensors", {})
    stored = load_file(package / "w.safetensors")
    assert stored["num_batches_tracked"].dtype == torch.int64
    assert stored["running_var"].dtype == torch.float16


def test_the_small_clip_takes_less_than_24_megabytes(package: Path) -> None:
    write_weights(new_backbone("clip-tiny").model, package / "clip-tiny.safetensors", {})
    assert (package / "clip-tiny.safetensors").stat().st_size < 24e6
