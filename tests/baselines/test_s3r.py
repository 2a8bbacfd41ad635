"""The arithmetic of S3R, by numbers worked out here."""

import math
from typing import Any

import pytest
import torch
from sklearn.decomposition import MiniBatchDictionaryLearning

from anomalyclip.baselines.multi_scale import MultiScale
from anomalyclip.baselines.s3r import S3R, EnNormal, S3ROutput, learn_dictionary
from anomalyclip.config import LossConfig, ModelConfig
from anomalyclip.model.method import TrainingFeatures
from anomalyclip.training.checkpoints import learnt_state, load_learnt_state

CLASSES = ("Arson", "Fighting", "Normal")


def model_of(dim: int = 16) -> S3R:
    torch.manual_seed(0)
    return S3R(CLASSES, 2, torch.zeros(dim), ModelConfig(k=1))


def normal_videos(count: int) -> TrainingFeatures:
    means = torch.randn(count, 16)
    return TrainingFeatures(torch.full((count,), -1), means, lambda: means[:, None])


def test_a_video_is_rebuilt_from_atoms_by_unscaled_attention() -> None:
    layer = EnNormal(4).double()  # queries and keys have one number
    with torch.no_grad():
        for part in (layer.query, layer.key, layer.value):
            part.weight.zero_()
            part.bias.zero_()
        layer.query.weight[0, 0] = 2.0
        layer.key.weight[0, 1] = 3.0
        layer.value.weight[0, 2] = 1.0
        layer.value.bias[1] = 7.0
    segments = torch.tensor([[[0.5, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    atoms = torch.tensor([[0.0, 1.0, 10.0, 0.0], [0.0, 0.5, 20.0, 0.0]], dtype=torch.float64)
    weights = [math.exp(1.0 * 3.0), math.exp(1.0 * 1.5)]
    expected = (weights[0] * 10 + weights[1] * 20) / sum(weights)
    assert layer(segments, atoms)[0, 0].tolist() == pytest.approx([expected, 7.0, 0.0, 0.0])


def test_what_the_atoms_explain_is_weighed_against_the_video() -> None:
    model = model_of().double().eval()
    model.prepare(normal_videos(6))
    features = torch.randn(2, 5, 3, 16, dtype=torch.float64)
    found = model(features)
    segments = features.mean(dim=2)
    plain, macro = model.block(segments), model.macro_block(model.en_normal(segments, model.dictionary))
    first, _, second, _ = model.de_normal
    hidden = torch.relu(first(plain.mean(dim=1) - macro.mean(dim=1)))
    share = 1 / (1 + torch.exp(-second(hidden)))
    torch.testing.assert_close(found.features, plain * share[:, None])
    rest = (macro * (1 - share[:, None])).mean(dim=1)
    torch.testing.assert_close(found.macro_logits, model.head(rest, None))
    assert (first.out_features, isinstance(model.macro_block, MultiScale)) == (1, True)


def test_the_loss_is_rtfms_and_that_what_is_rebuilt_looks_normal_for_all_videos() -> None:
    model = model_of().eval()
    model.margin.fill_(20.0)
    macro = torch.tensor([0.5, -1.0, 2.0])
    output = S3ROutput(torch.ones(3, 4, 16), torch.zeros(3, 4), torch.zeros(3, 4, 2), torch.ones(3, 4), macro)
    terms = model.loss_terms(output, torch.tensor([0, 1]), LossConfig())
    assert set(terms) == {"score", "magnitude", "smooth", "sparse", "classes", "macro"}
    expected = sum(math.log(1 + math.exp(value)) for value in (0.5, -1.0, 2.0)) / 3
    assert terms["macro"].item() == pytest.approx(expected)
    assert terms["score"].item() == pytest.approx(math.log(2))


def test_a_channel_lives_in_two_atoms_at_most_and_there_is_an_atom_for_two_videos() -> None:
    videos = torch.randn(11, 40)
    atoms = learn_dictionary(videos)
    assert atoms.shape == (round(0.5 * 11), 40)
    assert (atoms != 0).sum(dim=0).max() <= 2
    assert torch.equal(atoms, learn_dictionary(videos))
    assert learn_dictionary(videos[:2]).shape == (1, 40)


def test_the_dictionary_sees_a_hundred_batches_of_32_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def partial_fit(self: MiniBatchDictionaryLearning, rows: Any, y: Any = None) -> Any:
        seen.append(rows)
        return original(self, rows)

    original = MiniBatchDictionaryLearning.partial_fit
    monkeypatch.setattr(MiniBatchDictionaryLearning, "partial_fit", partial_fit)
    learn_dictionary(torch.randn(6, 40))
    assert [rows.shape for rows in seen] == [(32, 6)] * 100


def test_a_checkpoint_brings_its_dictionary() -> None:
    model = model_of()
    model.prepare(normal_videos(12))
    resumed = model_of()
    load_learnt_state(resumed, learnt_state(model))
    assert resumed.dictionary.shape == (6, 16)
    assert torch.equal(resumed.dictionary, model.dictionary)
