"""The authors' checkpoint in this model's terms, against the numbers of their own implementation."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from anomalyclip.config import ModelConfig
from anomalyclip.errors import UsageError
from anomalyclip.importing.released_checkpoint import Released, convert, sizes_of, state_of
from anomalyclip.importing.released_faults import faults_of
from anomalyclip.importing.released_towers import clip_tokenizer, new_text_tower
from anomalyclip.importing.untrusted import Inert
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.directions import FixedDirections
from anomalyclip.presets import preset
from anomalyclip.training.checkpoints import State
from tests.released import NORMAL, golden, golden_classes, golden_state

CONFIG = ModelConfig()
tokenizer_of = functools.cache(clip_tokenizer)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


def released(state: State, classes: list[str] | None = None, config: ModelConfig = CONFIG) -> Released:
    classes = classes or golden_classes()
    inner = state_of({"state_dict": state})
    sizes, tokenizer = sizes_of(inner, len(classes), config), tokenizer_of(77)
    centroid = golden("08_eval_d1concat")["ncentroid"]
    assert faults_of(inner, centroid, classes, sizes, config, tokenizer) == []
    text = {name.removeprefix("text_encoder."): value for name, value in inner.items() if "text_encoder." in name}
    return convert(inner, centroid, classes, NORMAL, sizes, config, new_text_tower(text), tokenizer)


def faults(
    state: State, classes: list[str] | None = None, centroid: Any = None, config: ModelConfig = CONFIG
) -> list[str]:
    inner, classes = state_of({"state_dict": state}), classes or golden_classes()
    centroid = golden("08_eval_d1concat")["ncentroid"] if centroid is None else centroid
    sizes = sizes_of(inner, len(classes), config)
    return faults_of(inner, centroid, classes, sizes, config, tokenizer_of(sizes.positions))


@pytest.fixture(scope="module")
def converted() -> Released:
    return released(golden_state())


def test_class_features_are_the_originals(converted: Released) -> None:
    expected = golden("03_text_features")["text_features"]
    close(converted.class_features, torch.cat([expected[:NORMAL], expected[NORMAL + 1 :]]), 2e-5)


@pytest.mark.parametrize("length", [100, 512, 1300])
def test_whole_videos_score_as_the_originals(converted: Released, length: int) -> None:
    case = golden("08_eval_d1concat")
    directions = FixedDirections(converted.class_features)
    model = AnomalyCLIP(directions, golden_classes(), NORMAL, torch.zeros(64), converted.config).eval()
    own = {name: value for name, value in converted.state.items() if not name.startswith("directions.")}
    model.load_state_dict({**own, "directions.class_features": converted.class_features})
    found = model.score_video(case[f"T{length}_features"])
    close(found.logits, case[f"T{length}_similarity"])
    close(found.scores, case[f"T{length}_scores"])
    close(found.probabilities, case[f"T{length}_class_probs"])


def test_the_shapes_tell_the_sizes_and_the_configuration_the_rest() -> None:
    told = ModelConfig(embedding_dim=256, depth=2, context_length=3, segments=16, heads=4, stride=2, k=2)
    config = released(golden_state(), config=told).config
    assert (config.embedding_dim, config.depth, config.context_length, config.segments) == (64, 1, 8, 32)
    assert (config.frames_per_segment, config.concat_logits, config.shared_context) == (16, True, False)
    assert (config.heads, config.stride, config.k) == (4, 2, 2)


def test_what_the_preset_default_adds_was_not_released() -> None:
    added = faults(golden_state(), config=preset("default").model)
    assert {line.split("=")[0] for line in added} == {
        "model.directions", "model.standardise", "model.linear", "model.zero_shot",
    }  # fmt: skip
    assert faults(golden_state(), config=preset("benchmark").model) == []


def test_prompts_are_kept_for_classes_added_later(converted: Released) -> None:
    assert torch.equal(converted.state["directions.prompt_learner.context"], golden("03_text_features")["ctx"])
    projection = golden("02_tiny_clip_text_state")["text_projection"]
    assert torch.equal(converted.state["directions.text_encoder.text_projection"], projection)


def test_one_context_for_all_classes_is_told_by_its_shape() -> None:
    state = golden_state()
    context = state["net.prompt_learner.ctx"][0]
    shared = released(state | {"net.prompt_learner.ctx": context})
    alike = released(state | {"net.prompt_learner.ctx": context.expand(14, -1, -1)})
    assert (shared.config.shared_context, alike.config.shared_context) == (True, False)
    assert shared.state["directions.prompt_learner.context"].shape == (1, 8, 64)
    close(shared.class_features, alike.class_features)


def test_a_checkpoint_without_logits_in_the_temporal_model_is_told_by_its_shape() -> None:
    name = "net.temporal_model.projection.weight"
    state = golden_state()
    assert not released(state | {name: state[name][:, 13:]}).config.concat_logits


def test_half_precision_and_cut_prompts_give_the_same_model(converted: Released) -> None:
    state = golden_state(image_tower=False)
    suffix = "net.prompt_learner.token_suffix"
    cut = released(state | {suffix: state[suffix][:, :7]})
    assert torch.equal(cut.class_features, converted.class_features)
    half = released({name: value.half() if value.is_floating_point() else value for name, value in state.items()})
    assert half.class_features.dtype == torch.float32
    close(half.class_features, converted.class_features, 1e-2)


def test_clips_token_table_and_scale_change_nothing(converted: Released) -> None:
    found = released(golden_state(token_table=True))
    assert torch.equal(found.class_features, converted.class_features)


@pytest.mark.parametrize("token_table", [True, False])
def test_labels_in_another_order_are_found_out(token_table: bool) -> None:
    classes = golden_classes()
    classes[0], classes[8] = classes[8], classes[0]  # Abuse and RoadAccidents, of other lengths
    (fault,) = faults(golden_state(token_table=token_table), classes)
    assert "not those of the labels in this order" in fault
    assert "Abuse" in fault


def test_names_of_as_many_tokens_are_told_apart_by_the_token_table() -> None:
    classes = golden_classes()
    classes[0], classes[1] = classes[1], classes[0]
    (fault,) = faults(golden_state(token_table=True), classes)
    assert fault.endswith("in this order: Arrest, Abuse")


def without(*names: str) -> State:
    return {name: value for name, value in golden_state().items() if name not in names}


def test_every_fault_is_listed_with_its_name_and_shapes() -> None:
    state = without("net.text_encoder.ln_final.bias", "net.selector_model.bn_layer.running_var")
    state["net.surplus"] = torch.zeros(3)
    state["net.temporal_model.projection.bias"] = torch.zeros(5)
    state["net.temporal_model.classifier.linear.weight"] = torch.full((1, 64), torch.nan)
    found = faults(state, centroid=torch.zeros(5), config=ModelConfig(temporal="mlp"))
    assert set(found) == {
        "text_encoder.ln_final.bias (64,) is missing",
        "selector_model.bn_layer.running_var (13,) is missing",
        "surplus (3,) is unexpected",
        "temporal_model.projection.bias is (5,), not (64,)",
        "temporal_model.classifier.linear.weight holds NaN or infinity",
        "the centroid is (5,), not (64,)",
        "model.temporal=mlp is not what was released (axial)",
    }


def test_labels_of_another_number_are_listed_by_every_tensor_they_contradict() -> None:
    found = faults(golden_state(), golden_classes()[:-1])
    assert {fault.partition(" ")[0] for fault in found} == {
        "prompt_learner.ctx", "prompt_learner.token_prefix", "prompt_learner.token_suffix",
        "selector_model.bn_layer.running_mean", "selector_model.bn_layer.running_var",
        "temporal_model.projection.weight",
    }  # fmt: skip
    assert "prompt_learner.ctx is (14, 8, 64), not (13, 8, 64)" in found


@pytest.mark.parametrize("name", sorted(name for name in golden_state(image_tower=False) if "num_batches" not in name))
def test_any_missing_tensor_is_named(name: str) -> None:
    found = faults(without(name))
    assert any(name.removeprefix("net.") in fault and fault.endswith("is missing") for fault in found)


@pytest.mark.parametrize("name", sorted(name for name in golden_state(image_tower=False) if "num_batches" not in name))
def test_any_tensor_of_another_shape_is_named(name: str) -> None:
    for value in (torch.zeros(()), torch.zeros(1, 2, 3, 4, 5), torch.zeros(0)):
        assert any(name.removeprefix("net.") in fault for fault in faults(golden_state() | {name: value}))


@pytest.mark.parametrize(
    "content, message",
    [
        ([1, 2], "not a checkpoint of AnomalyCLIP"),
        (torch.zeros(3), "not a checkpoint of AnomalyCLIP"),
        ({"state_dict": {"model.a": torch.zeros(3)}}, "no state_dict with names below net"),
        ({"state_dict": {"net.a": 3, "net.b": Inert(), "criterion.c": torch.zeros(2)}},
         "net.a is no plain tensor; net.b is no plain tensor; criterion.c is unexpected"),
        ({"state_dict": {"net.a": torch.zeros(3, device="meta")}}, "net.a is no plain tensor"),
        ({"state_dict": {"net.a": torch.zeros(3).to_sparse()}}, "net.a is no plain tensor"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(content: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        state_of(content)


def test_heads_that_do_not_divide_the_embedding_are_refused() -> None:
    with pytest.raises(UsageError, match="heads=7 must divide embedding_dim=64"):
        released(golden_state(), config=ModelConfig(heads=7, embedding_dim=7))


def test_a_context_text_of_another_length_is_refused() -> None:
    found = faults(golden_state(), config=ModelConfig(context_text="a_video_of"))
    assert found == ["model.context_text has 3 words, the checkpoint's context 8 tokens"]
