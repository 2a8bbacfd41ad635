"""The arithmetic of the method against the numbers of its authors' implementation (tests/golden/README.md)."""

from collections.abc import Callable

import numpy as np
import open_clip
import pytest
import torch
from einops import rearrange
from torch import Tensor

from anomalyclip.config import LossConfig, ModelConfig
from anomalyclip.features.text_tower import text_tower
from anomalyclip.importing.released_names import from_original, temporal_names, temporal_state
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.directions import FixedDirections, PromptDirections, TextEncoder
from anomalyclip.model.losses import Selection, loss_terms, semantic_selection
from anomalyclip.model.method import video_windows
from anomalyclip.model.prompts import prompt_texts
from anomalyclip.model.selector import Selector, segment_scores, segment_sums, select_segments
from anomalyclip.model.temporal import TemporalModel

Golden = Callable[[str], dict[str, Tensor]]
NORMAL = 7
TERMS = (
    "direction_abnormal",
    "direction_normal",
    "top_k_abnormal",
    "bottom_k_abnormal",
    "top_k_normal",
    "smooth",
    "sparse",
)


def close(actual: Tensor, expected: Tensor, rtol: float = 1e-4, atol: float = 2e-5) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=rtol, atol=atol)


def abnormal_index(labels: Tensor) -> Tensor:
    """Class numbers among 14 to positions among the 13 abnormal ones, for the abnormal half."""
    half = labels[: len(labels) // 2]
    return torch.where(half < NORMAL, half, half - 1)


def as_clips(rows: Tensor) -> Tensor:
    return rearrange(rows, "(videos segments frames) ... -> videos segments frames ...", segments=32, frames=16)


@pytest.fixture(scope="session")
def tiny_tower(golden: Golden) -> torch.nn.Module:
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    model = open_clip.model.CLIP(64, vision, text, quick_gelu=True)
    missing, unexpected = model.load_state_dict(golden("02_tiny_clip_text_state"), strict=False)
    assert not unexpected
    assert all(name.startswith("visual.") for name in missing)
    return text_tower(model.eval())


@pytest.fixture
def directions(golden: Golden, tiny_tower: torch.nn.Module) -> PromptDirections:
    classes = [str(name) for name in golden("01_tokens")["ucf_classnames"]]
    abnormal = [index for index in range(14) if index != NORMAL]
    source = PromptDirections(classes, abnormal, tiny_tower, open_clip.tokenize, ModelConfig())
    source.prompt_learner.context.data = golden("03_text_features")["ctx"].clone()
    return source


@pytest.mark.parametrize("dataset", ["ucf", "sht", "xd"])
def test_prompts_are_tokenised_as_the_original_does(golden: Golden, dataset: str) -> None:
    expected = golden("01_tokens")
    classes = [str(name) for name in expected[f"{dataset}_classnames"]]
    tokens = open_clip.tokenize(prompt_texts(classes, " ".join("X" * 8)))
    assert torch.equal(tokens, expected[f"{dataset}_tokens"].long())
    assert torch.equal(tokens.argmax(dim=-1), expected[f"{dataset}_eot"])


def test_context_words_replace_the_random_context(golden: Golden, tiny_tower: torch.nn.Module) -> None:
    expected = golden("01b_tokens_ctx_init")
    classes = [str(name) for name in golden("01_tokens")["ucf_classnames"]]
    words = "a_video_from_a_CCTV_camera_of_a"
    source = PromptDirections(classes, [0], tiny_tower, open_clip.tokenize, ModelConfig(context_text=words))
    tokens = open_clip.tokenize(prompt_texts(classes, words.replace("_", " ")))
    assert torch.equal(tokens, expected["ucf_tokens"].long())
    assert source.prompt_learner.context_length == int(expected["n_ctx"])
    close(source.prompt_learner.context[3], tiny_tower.token_embedding(expected["ctx_token_ids"].long()))


def test_text_features_of_learnt_prompts(golden: Golden, directions: PromptDirections) -> None:
    expected = golden("03_text_features")
    prompts, end_of_text = directions.prompt_learner(torch.arange(14))
    close(prompts[:, :12], expected["prompts"][:, :12])
    close(directions.text_encoder(prompts, end_of_text), expected["text_features"])


def golden_selector_output(golden: Golden) -> tuple[Selector, Tensor, dict[str, Tensor]]:
    case = golden("05_selector")
    selector = Selector(13)
    features = rearrange(case["features"], "v 1 (s f) d -> v s f d", s=32)
    text = golden("03_text_features")["text_features"]
    text = torch.cat([text[:NORMAL], text[NORMAL + 1 :]])
    return selector, selector(features - case["ncentroid"], text, case["ncentroid"]), case


def test_selector_projects_and_normalises(golden: Golden) -> None:
    selector, logits, case = golden_selector_output(golden)
    close(logits, as_clips(case["train_logits"]))
    close(selector.batch_norm.running_mean, case["bn_running_mean_after_1"])
    close(selector.batch_norm.running_var, case["bn_running_var_after_1"])
    close(selector.eval().batch_norm(case["raw_projection"]), case["eval_logits"])


def test_segments_are_selected_by_the_selector(golden: Golden) -> None:
    _, logits, case = golden_selector_output(golden)
    labels = abnormal_index(case["labels"])
    selection = semantic_selection(segment_sums(logits), labels, k=3)
    assert torch.equal(selection.top_abnormal, case["idx_topk_all"][:4])
    assert torch.equal(selection.top_normal, case["idx_topk_all"][4:])
    assert torch.equal(selection.bottom_abnormal, case["idx_bottomk_all"][:4])


@pytest.mark.parametrize("rates", ["eq", "neq"])
def test_segment_dropout_hides_segments(golden: Golden, rates: str) -> None:
    _, logits, case = golden_selector_output(golden)
    masked = golden("05b_selector_masked")
    scores = segment_scores(segment_sums(logits), abnormal_index(case["labels"]))
    top = select_segments(scores, 3, masked[f"{rates}_topk_mask"].bool(), largest=True)
    bottom = select_segments(scores, 3, masked[f"{rates}_bottomk_mask"].bool(), largest=False)
    assert torch.equal(top, masked[f"{rates}_idx_topk"])
    assert torch.equal(bottom, masked[f"{rates}_idx_bottomk"])


def test_loss_terms_of_given_scores(golden: Golden) -> None:
    case = golden("07_loss_standalone")
    selection = Selection(case["idx_topk_abn"], case["idx_bottomk_abn"], case["idx_topk_nor"])
    anomaly_logits = as_clips(case["scores"]).double().logit()
    labels = abnormal_index(case["labels"])
    terms = loss_terms(as_clips(case["similarity"]), anomaly_logits, labels, selection, LossConfig())
    close(sum(terms.values()), case["terms"][0])
    close(torch.stack([terms[name] for name in TERMS]), case["terms"][1:])


@pytest.fixture
def model(golden: Golden, directions: PromptDirections) -> AnomalyCLIP:
    config = ModelConfig(concat_logits=True, embedding_dim=64)
    prototype = golden("05_selector")["ncentroid"]
    classes = [str(name) for name in golden("01_tokens")["ucf_classnames"]]
    model = AnomalyCLIP(directions, classes, NORMAL, prototype, config)
    model.temporal.load_state_dict(temporal_state(golden("06_state_d1concat"), depth=1))
    return model


def train_step(model: AnomalyCLIP, golden: Golden) -> dict[str, Tensor]:
    case = golden("05_selector")
    labels = abnormal_index(case["labels"])
    output = model(rearrange(case["features"], "v 1 (s f) d -> v s f d", s=32))
    selection = semantic_selection(output.ranking, labels, k=3)
    return loss_terms(output.logits, output.anomaly_logits, labels, selection, LossConfig())


def test_one_training_step_has_the_originals_gradients(golden: Golden, model: AnomalyCLIP) -> None:
    expected = golden("06_train_d1concat")
    terms = train_step(model, golden)
    total = sum(terms.values())
    total.backward()
    close(total, expected["loss_cost"])
    names = ("ldir_abn", "ldir_nor", "ltopk_abn", "lbottomk_abn", "ltopk_nor", "lsmooth", "lsparse")
    for ours, theirs in zip(TERMS, names, strict=True):
        close(terms[ours], expected[f"loss_{theirs}"])
    close(model.directions.prompt_learner.context.grad, expected["grad_prompt_learner.ctx"])
    close(model.directions.text_encoder.text_projection.grad, expected["grad_text_encoder.text_projection"])
    parameters = dict(model.temporal.named_parameters())
    ours_by_theirs = {theirs: ours for ours, theirs in temporal_names(depth=1).items()}
    checked = set()
    for key, value in expected.items():
        if not key.startswith("grad_temporal_model."):
            continue
        name, _, part = key.removeprefix("grad_temporal_model.").partition("__")
        ours = ours_by_theirs[name]
        gradient = parameters[ours].grad
        checked.add(ours)
        if part == "norm":
            close(gradient.norm(), value)
        elif part == "c0":
            close(gradient[:, :2], value)
        else:
            close(gradient, from_original(ours, value))
    assert checked == set(parameters)


def test_six_optimiser_steps_follow_the_originals(golden: Golden, model: AnomalyCLIP) -> None:
    expected = golden("06_train_d1concat")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.2)
    for step, row in enumerate(expected["trajectory"]):
        terms = train_step(model, golden)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        values = torch.stack([sum(terms.values()), *(terms[name] for name in TERMS)])
        close(values, row, rtol=1e-4 if step < 3 else 1e-3, atol=2e-5 if step < 3 else 1e-3)
        if step == 0:
            close(model.directions.prompt_learner.context, expected["after1_ctx"])
            close(model.directions.text_encoder.text_projection, expected["after1_text_projection"])
            close(model.temporal.classifier.weight, expected["after1_classifier_weight"])
            close(model.temporal.axial.segment_positions, from_original("positions", expected["after1_pos0"]))
    close(model.selector.batch_norm.running_mean, expected["bn_mean_after_6"], atol=1e-3)
    close(model.selector.batch_norm.running_var, expected["bn_var_after_6"], rtol=1e-3)


@pytest.mark.parametrize("length", [100, 512, 1300])
def test_whole_videos_score_as_the_originals(golden: Golden, model: AnomalyCLIP, length: int) -> None:
    case = golden("08_eval_d1concat")
    model.selector.batch_norm.running_mean.copy_(case["bn_running_mean"])
    model.selector.batch_norm.running_var.copy_(case["bn_running_var"])
    model.normality_prototype.copy_(case["ncentroid"])
    result = model.eval().for_scoring().score_video(case[f"T{length}_features"])
    close(result.logits, case[f"T{length}_similarity"])
    close(result.scores, case[f"T{length}_scores"], atol=1e-5)
    close(result.probabilities, case[f"T{length}_class_probs"], atol=1e-5)


def test_temporal_model_alone(golden: Golden) -> None:
    case = golden("09_temporal_d1")
    temporal = TemporalModel(48, 32, heads=4, depth=1, segments=32, frames=16)
    temporal.load_state_dict(temporal_state(case, depth=1, prefix="state."))
    clips = as_clips(case["x_train"])
    close(temporal(clips).sigmoid(), as_clips(case["y_train"]).squeeze(-1), atol=1e-5)
    ramp = (torch.arange(32 * 32 * 16) / (32 * 32 * 16) - 0.5).reshape(1, 32, 32, 16)
    axial = temporal.axial(rearrange(ramp, "v d s f -> v s f d"))
    close(rearrange(axial, "v s f d -> v d s f"), case["axial_out"])
    windows = rearrange(case["x_test_s3"], "(s w f) d -> w s f d", s=32, f=16)
    scores = rearrange(temporal(windows).sigmoid(), "w s f -> (s w f) 1")
    close(scores, case["y_test_s3"], atol=1e-5)


def test_test_windows_hold_the_originals_frames(golden: Golden) -> None:
    case = golden("10_sampling")
    keys = [key for key in case if key.endswith("test_frames")]
    assert len(keys) > 30
    for key in keys:
        stride, length = (int(part[1:]) for part in key.split("_")[:2])
        windows = video_windows(length, ModelConfig(stride=stride))
        assert len(windows) == int(case[key.replace("test_frames", "segment_size")])
        frames = rearrange(windows, "windows segments frames -> (segments windows frames)")
        assert torch.equal(frames, case[key].long()), key


def test_fixed_directions_are_those_learnt(golden: Golden, model: AnomalyCLIP) -> None:
    fixed = model.for_scoring()
    assert isinstance(fixed.directions, FixedDirections)
    assert torch.equal(fixed.directions(), model.directions())


def test_end_of_text_survives_the_cut_to_the_longest_prompt(
    golden: Golden, tiny_tower: torch.nn.Module, directions: PromptDirections
) -> None:
    prompts, end_of_text = directions.prompt_learner(torch.arange(14))
    padded = torch.nn.functional.pad(prompts, (0, 0, 0, 77 - prompts.shape[1]), value=0.3)
    encoder = TextEncoder(tiny_tower)
    close(encoder(prompts, end_of_text), encoder(padded, end_of_text))
    assert prompts.shape[1] == int(np.asarray(end_of_text).max()) + 1
