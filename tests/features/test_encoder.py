import dataclasses
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from anomalyclip.config import BackboneConfig
from anomalyclip.device import ResolvedPrecision
from anomalyclip.errors import JobError
from anomalyclip.features import encoder as module
from anomalyclip.features.backbone import Backbone, load_backbone, new_backbone
from anomalyclip.features.encoder import FrameEncoder, feature_fingerprint, round_weights

CPU = torch.device("cpu")
FRAMES = np.random.default_rng(0).integers(0, 256, (4, 60, 80, 3), dtype=np.uint8)


@pytest.fixture
def tiny() -> Backbone:
    return load_backbone(BackboneConfig(name="clip-tiny"))


def test_features_are_the_image_towers_in_float16_and_not_normalised(tiny: Backbone) -> None:
    features = FrameEncoder(tiny, "float32", CPU)(FRAMES)
    with torch.inference_mode():
        expected = tiny.model.encode_image(tiny.preprocess(torch.from_numpy(FRAMES)))
    assert features.shape == (4, 1, 64) and features.dtype == np.float16
    np.testing.assert_array_equal(features[:, 0], expected.half().numpy())
    assert np.abs(np.linalg.norm(features.astype(np.float32), axis=2) - 1).min() > 0.01


def test_bfloat16_stays_near_float32(tiny: Backbone) -> None:
    exact, rough = (FrameEncoder(tiny, precision, CPU)(FRAMES) for precision in ("float32", "bfloat16"))
    assert rough.dtype == np.float16 and not np.array_equal(exact, rough)
    np.testing.assert_allclose(rough, exact, atol=0.03 * np.abs(exact).max())


@pytest.mark.parametrize("name", ["ViT-B-32", "RN50", "convnext_base", "coca_ViT-B-32"])
def test_weights_rounded_once_give_the_numbers_of_autocast(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # CPUs alone have a fast path of attention that autocast does not change
    monkeypatch.setattr(torch.backends.mha, "_is_fastpath_enabled", False)
    model = new_backbone(name).model
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model.encode_image(pixels)
        round_weights(model)
        assert torch.equal(model.encode_image(pixels), expected)
    assert sum(value.dtype == torch.bfloat16 for value in model.visual.state_dict().values()) > 20


def test_read_only_and_strided_frames_are_encoded_without_a_warning(tiny: Backbone) -> None:
    encoder = FrameEncoder(tiny, "float32", CPU)
    expected = encoder(FRAMES[:, ::2].copy())
    view = FRAMES[:, ::2]
    view.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(encoder(view), expected)


@pytest.mark.parametrize("factor", [float("nan"), 1e9], ids=["not a number", "beyond float16"])
def test_features_that_float16_cannot_hold_are_a_failure(tiny: Backbone, factor: float) -> None:
    tiny.model.visual.attnpool.c_proj.weight.mul_(factor)
    with pytest.raises(JobError, match="features of 4 of 4 frames"):
        FrameEncoder(tiny, "float32", CPU)(FRAMES)


@pytest.mark.parametrize("precision, arithmetic", [("float32", "ieee"), ("tf32", "tf32")])
def test_tf32_encodes_only_where_it_is_asked_for(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch, precision: ResolvedPrecision, arithmetic: str
) -> None:
    used: list[str] = []
    encode = tiny.model.encode_image
    monkeypatch.setattr(
        tiny.model,
        "encode_image",
        lambda pixels: used.append(torch.backends.cudnn.conv.fp32_precision) or encode(pixels),
    )
    FrameEncoder(tiny, precision, CPU)(FRAMES)
    assert (used, torch.backends.cudnn.conv.fp32_precision) == ([arithmetic], "ieee")


def test_a_recording_serves_batches_that_fill_more_than_half_of_it(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    class Recording:  # as on a GPU
        pixels = torch.zeros(4, 3, 64, 64)

        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            used.append(len(pixels))
            return torch.zeros(len(pixels), 64)

    encoder = FrameEncoder(tiny, "float32", CPU, batch_size=4)
    monkeypatch.setattr(encoder, "_graph", Recording())
    for frames in (1, 2, 3, 4, 8):
        assert encoder(np.resize(FRAMES, (frames, *FRAMES.shape[1:]))).any() == (frames not in (3, 4))
    assert used == [3, 4]


def test_fingerprint_follows_all_that_decides_the_numbers(tiny: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_backbone(BackboneConfig(name="clip-tiny"))
    other.preprocess.__dict__["resize_mode"] = "shortest"
    prints = [
        feature_fingerprint(tiny, "float32", 1),
        feature_fingerprint(tiny, "bfloat16", 1),
        feature_fingerprint(tiny, "float32", 2),
        feature_fingerprint(other, "float32", 1),
    ]
    monkeypatch.setattr(module, "PREPROCESS_VERSION", 2)
    prints.append(feature_fingerprint(tiny, "float32", 1))
    assert len(set(prints)) == 5 and all(len(value) == 16 for value in prints)


def test_fingerprint_is_the_same_for_the_same_backbone(tiny: Backbone) -> None:
    again = load_backbone(BackboneConfig(name="clip-tiny"))
    assert feature_fingerprint(tiny, "float32", 1) == feature_fingerprint(again, "float32", 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_gpu_features_stay_near_those_of_the_cpu(tiny: Backbone, precision: str) -> None:
    exact = FrameEncoder(tiny, "float32", CPU)(FRAMES)
    encoder = FrameEncoder(tiny, precision, torch.device("cuda"))
    got = encoder(FRAMES)
    with ThreadPoolExecutor(8) as pool:
        others = list(pool.map(encoder, [FRAMES, FRAMES[::-1]] * 20))
    assert all(np.array_equal(other, got if number % 2 == 0 else got[::-1]) for number, other in enumerate(others))
    recorded = FrameEncoder(tiny, precision, torch.device("cuda"), batch_size=len(FRAMES))
    np.testing.assert_array_equal(recorded(FRAMES), got)
    for features, expected in (
        (got, exact),
        (recorded(FRAMES[:2]), exact[:2]),
        (recorded(FRAMES.repeat(2, 0))[::2], exact),
    ):
        np.testing.assert_allclose(features, expected, atol=0.05 * np.abs(exact).max())
    assert next(tiny.model.parameters()).device.type == "cpu"


@pytest.mark.parametrize("crops", [5, 10])
def test_features_of_a_crop_are_those_of_its_region_alone(tiny: Backbone, crops: int) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, 73, 97, 3), dtype=np.uint8)  # needs no resizing
    features = FrameEncoder(tiny, "float32", CPU, crops)(frames)
    alone = FrameEncoder(tiny, "float32", CPU)
    regions = [frames[:, top : top + 64, left : left + 64] for top in (0, 9) for left in (0, 33)]
    assert features.shape == (3, crops, 64)
    for crop, region in enumerate(regions):
        np.testing.assert_allclose(features[:, crop], alone(region)[:, 0], rtol=1e-2, atol=1e-3)
    if crops == 10:  # the top left of the mirrored picture is the mirrored top right
        mirrored = regions[1][:, :, ::-1]
        np.testing.assert_allclose(features[:, 5], alone(mirrored)[:, 0], rtol=1e-2, atol=1e-3)


def test_fingerprint_of_one_crop_is_that_from_before_there_were_more(tiny: Backbone) -> None:
    known = dataclasses.replace(tiny, identity="0" * 32)
    assert feature_fingerprint(known, "float32", 1) == feature_fingerprint(known, "float32", 1, 1) == "7ea2282f311b1e91"
    assert len({feature_fingerprint(known, "float32", 1, crops) for crops in (1, 5, 10)}) == 3
