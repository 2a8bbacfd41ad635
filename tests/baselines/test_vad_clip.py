"""The arithmetic of VadCLIP, by numbers worked out here."""

import math

import pytest
import torch
from torch import nn

from anomalyclip.baselines.context_text import ContextText
from anomalyclip.baselines.local_global import Graph, LocalGlobal, similar_segments
from anomalyclip.baselines.transformer import QuickGELU
from anomalyclip.baselines.vad_clip import VadCLIP, VadCLIPOutput
from anomalyclip.config import BackboneConfig, LossConfig, ModelConfig, TrainingConfig
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.directions import FixedDirections

CLASSES = ("Arson", "Fighting", "Normal")
TEXTS = torch.tensor([[3.0, 4.0], [4.0, -3.0], [0.0, 2.0]])


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BackboneConfig())


def model_of(segments: int = 32) -> VadCLIP:
    torch.manual_seed(0)
    config = ModelConfig(k=1, segments=segments)
    return VadCLIP(CLASSES, 2, torch.zeros(2), config, FixedDirections(TEXTS)).double().eval()


def quick_gelu(x: float) -> float:
    return x / (1 + math.exp(-1.702 * x))


def test_the_loss_is_of_the_top_three_of_32_segments_of_each_class_by_itself() -> None:
    anomaly = torch.full((2, 32), -5.0, dtype=torch.float64)
    anomaly[0, [4, 9, 30]] = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    anomaly[1, 0] = 1.0
    logits = torch.full((2, 32, 3), -9.0, dtype=torch.float64)
    logits[0, [1, 2, 3], 1] = torch.tensor([6.0, 3.0, 0.0], dtype=torch.float64)
    logits[0, [7, 8, 9], 2] = 1.0
    logits[1, [7, 8, 9], 0] = 2.0
    output = VadCLIPOutput(anomaly, logits, torch.full((2,), 0.3, dtype=torch.float64))
    terms = model_of().loss_terms(output, torch.tensor([1]), LossConfig())
    sigmoid = [1 / (1 + math.exp(-x)) for x in (1.0, 2.0, 3.0, -5.0)]
    scores = [sum(sigmoid[:3]) / 3, (sigmoid[0] + 2 * sigmoid[3]) / 3]
    assert terms["score"].item() == pytest.approx((-math.log(scores[0]) - math.log(1 - scores[1])) / 2)
    # means of the top three: (-9, 3, 1) of class 1; (2, -9, -9) of Normal, the last class
    first = math.log(math.exp(-9) + math.exp(3) + math.exp(1)) - 3
    second = math.log(math.exp(2) + 2 * math.exp(-9)) + 9
    assert terms["classes"].item() == pytest.approx((first + second) / 2)
    assert terms["texts"].item() == pytest.approx(0.1 * 0.3)
    assert set(terms) == {"score", "classes", "texts"}


def test_a_video_adjusts_the_texts_by_the_sum_of_its_segments_weighted_by_raw_logits() -> None:
    model = model_of(2)
    model.temporal = nn.Identity()
    with torch.no_grad():
        for part in (model.score_mlp.contract, model.text_mlp.contract):
            part.weight.zero_()
            part.bias.zero_()
        model.score_mlp.contract.bias[:] = torch.tensor([0.0, 1.0])
        model.text_mlp.contract.bias[:] = torch.tensor([0.5, 0.0])
        model.score.weight[:] = torch.tensor([[1.0, -2.0]])
        model.score.bias.fill_(0.5)
    features = torch.tensor([[[[1.0, 0.0], [3.0, 2.0]], [[0.0, 1.0], [0.0, 1.0]]]], dtype=torch.float64)
    found = model(features)
    a = [2 - 2 * (1 + 1) + 0.5, 0 - 2 * (1 + 1) + 0.5]  # of the segments (2, 1) and (0, 1)
    assert found.anomaly_logits[0].tolist() == pytest.approx(a)
    total = (a[0] * 2, a[0] * 1 + a[1] * 1)
    prompt = [value / math.hypot(*total) for value in total]
    for number, (x, y) in enumerate(TEXTS.tolist()):
        text = (x + prompt[0] + 0.5, y + prompt[1])
        for segment, vector in enumerate([(2.0, 1.0), (0.0, 1.0)]):
            cosine = (vector[0] * text[0] + vector[1] * text[1]) / math.hypot(*vector) / math.hypot(*text)
            assert found.logits[0, segment, number].item() == pytest.approx(cosine / 0.07)
    # texts before the prompt: cosines of (3, 4) and (4, -3) with (0, 2)
    assert found.similarity.tolist() == pytest.approx([(0.8 + 0.6) / 2])


def test_class_probabilities_are_shares_of_the_score_among_the_abnormal_classes() -> None:
    model, windows = model_of(), torch.randn(1, 32, 16, 2, dtype=torch.float64)
    output = model(windows)
    logits, anomaly_logits = model.window_logits(windows)
    assert logits.shape == (1, 32, 16, 2)
    assert torch.equal(logits[0, 5, 11], output.logits[0, 5, :2])
    assert torch.equal(anomaly_logits[0, 5, 11], output.anomaly_logits[0, 5])


def test_segments_that_are_not_alike_keep_the_weight_of_zero() -> None:
    angle = math.acos(0.8)
    x = torch.tensor([[[2.0, 0.0], [3 * math.cos(angle), 3 * math.sin(angle)], [0.0, 1.0]]], dtype=torch.float64)
    # cosines: 0.8 of the first two, 0 of first and last, 0.6 of second and last, which counts as 0
    first = [math.e, math.exp(0.8), 1.0]
    last = [1.0, 1.0, math.e]
    found = similar_segments(x)[0]
    assert found[0].tolist() == pytest.approx([value / sum(first) for value in first])
    assert found[2].tolist() == pytest.approx([value / sum(last) for value in last])


def test_near_segments_weigh_by_distance_and_attention_stays_in_windows_of_eight() -> None:
    model = LocalGlobal(4, 32)
    assert model.nearness[3, 5].item() == pytest.approx(math.exp(-2 / math.e))
    assert (~model.hidden_from[9]).nonzero().flatten().tolist() == list(range(8, 16))
    x = torch.randn(1, 32, 4)
    moved = x.clone()
    moved[0, 20, 0] += 1
    for block in model.blocks:
        changed = (block(moved, model.hidden_from) - block(x, model.hidden_from)).abs().sum(dim=-1)[0] > 1e-6
        assert changed.nonzero().flatten().tolist() == list(range(16, 24))
    assert len(model.blocks) == 2


def test_a_graph_layer_adds_what_neighbours_give_to_its_residual() -> None:
    graph = Graph(2).double()
    with torch.no_grad():
        graph.first.weight[:] = torch.tensor([[1.0, 0.0]])
        graph.second.weight.fill_(2.0)
        graph.residual.weight.zero_()
        graph.residual.weight[0, 1, 4] = 1.0  # two segments later
        graph.residual.bias.fill_(0.25)
    x = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]], dtype=torch.float64)
    adjacency = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
    hidden = [quick_gelu(2.0 + 30 + 0.25), quick_gelu(0.5 * 3 + 0.25), quick_gelu(1.0 + 0.25)]
    mixed = [hidden[1], 0.5 * hidden[2], hidden[0]]
    expected = [quick_gelu(2 * mixed[i] + hidden[i]) for i in range(3)]
    assert graph(x, adjacency).flatten().tolist() == pytest.approx(expected)
    assert QuickGELU()(torch.tensor(0.3)).item() == pytest.approx(quick_gelu(0.3))


def test_a_class_name_stands_between_ten_learnt_tokens_on_each_side(backbone: Backbone) -> None:
    torch.manual_seed(0)
    tower = text_tower(backbone.model)
    text = ContextText(["Arson", "Car_accident"], tower, backbone.tokenizer)
    prompts = torch.where(text.fixed, text.embeddings, text.table)
    for row, name in enumerate(["Arson", "Car accident"]):
        tokens = backbone.tokenizer([name])[0]
        length = int(tokens.argmax()) - 1
        embedded = tower.token_embedding(tokens)
        assert torch.equal(prompts[row, 0], embedded[0])
        assert torch.equal(prompts[row, 11 : 11 + length], embedded[1 : 1 + length])
        assert torch.equal(prompts[row, 21 + length], embedded[1 + length])
        assert text.pooled_at[row] == 21 + length
        assert torch.equal(prompts[row, 1:11], text.table[1:11])
        assert torch.equal(prompts[row, 11 + length : 21 + length], text.table[11 + length : 21 + length])
    assert 0.009 < text.table.std().item() < 0.011
    learnt = {name for name, value in text.named_parameters() if value.requires_grad}
    assert learnt == {"table"}


def test_the_rate_falls_to_a_tenth_at_two_fifths_and_four_fifths() -> None:
    model, training = model_of(), TrainingConfig(epochs=10)
    rates = [model.learning_rate(epoch, training) for epoch in (0, 3, 4, 7, 8, 9)]
    assert rates == pytest.approx([2e-5, 2e-5, 2e-6, 2e-6, 2e-7, 2e-7])
    (group,) = model.optimizer(training).param_groups
    assert group["weight_decay"] == 0.01
