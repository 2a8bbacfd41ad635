"""Live scores: those of the offline scorer on the past that a window holds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyclip.baselines.registry import COMPETITORS
from anomalyclip.config import BackboneConfig, ModelConfig, RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.scoring import bundle_scorer, model_scorer, score_stored
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.live.layouts import Layout
from anomalyclip.live.scorer import LiveScorer, Scored, live_scorer
from anomalyclip.live.window import Pushed
from anomalyclip.methods import NewNames
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, write_bundle
from anomalyclip.model.directions import FixedDirections
from anomalyclip.model.method import Method
from anomalyclip.training.setup import build_model
from tests.model.test_new_classes import new_bundle

CLASSES, DIM = ("Arson", "Fighting", "Normal"), 8
SMALL = ModelConfig(segments=4, frames_per_segment=5, embedding_dim=16, heads=2, smoothing=1.5, linear=True)


def model_of(config: ModelConfig = SMALL, seed: int = 0) -> AnomalyCLIP:
    torch.manual_seed(seed)
    model = AnomalyCLIP(FixedDirections(torch.randn(2, DIM)), CLASSES, 2, torch.randn(DIM), config)
    if model.linear is not None:
        model.linear.weight.copy_(torch.randn(DIM))
    return model.eval()


def card_of(config: ModelConfig = SMALL, **fields: object) -> ModelCard:
    common = {"classes": CLASSES, "normal_index": 2, "model": config, "backbone": BackboneConfig()}
    return ModelCard.model_validate({**common, "backbone_identity": "x", "sampling_rate": 1, **fields})


def features(count: int, crops: int = 1, dim: int = DIM, seed: int = 0) -> Pushed:
    values = np.random.default_rng(seed).normal(size=(count, crops, dim)).astype(np.float16)
    return Pushed(values, np.arange(count) / 25, np.arange(count))


def live(scorer: LiveScorer, pushed: Pushed, size: int = 7, name: str = "door") -> Scored:
    """All frames of a camera, some at a time, and what is left at its end."""
    parts = [
        scorer.push({name: Pushed(*(part[start : start + size] for part in pushed))})[name]
        for start in range(0, len(pushed.features), size)
    ]
    return Scored(*(np.concatenate(columns) for columns in zip(*parts, scorer.forget(name), strict=True)))


def offline(model: Method, pushed: Pushed) -> tuple[np.ndarray, np.ndarray]:
    return score_stored(model_scorer(model, 1), [pushed.features], len(pushed.features))


@pytest.mark.parametrize("count", [1, 13, 21, 100])
@pytest.mark.parametrize("stride, crops", [(1, 3), (2, 1)])
def test_a_window_over_the_whole_file_at_its_end_gives_the_offline_scores_bit_for_bit(
    count: int, stride: int, crops: int
) -> None:
    config = SMALL.model_copy(update={"stride": stride})
    model, pushed = model_of(config), features(count, crops)
    scorer = LiveScorer(model, card_of(config, crops=crops), Layout(span=2 * count, hop=1, delay=count))
    found, (scores, probabilities) = live(scorer, pushed), offline(model, pushed)
    assert np.array_equal(found.scores, scores) and np.array_equal(found.probabilities, probabilities)
    assert np.array_equal(found.numbers, pushed.numbers) and np.array_equal(found.times, pushed.times)


@pytest.mark.parametrize("layout", [Layout(60, 5), Layout(60, 8, delay=11, least=16), Layout(40, 40)])
def test_scores_are_those_of_the_past_as_a_video(layout: Layout) -> None:
    model, pushed = model_of(), features(163)
    found = live(LiveScorer(model, card_of(), layout), pushed, size=163)
    end = scored = 0
    while scored < 163:
        end = min(163, end + layout.hop)
        counted = 163 if end == 163 else end - layout.delay
        if end < layout.least or counted <= scored:
            continue
        start = max(0, end - layout.span)
        past = Pushed(*(part[start:end] for part in pushed))
        rows = slice(scored - start, counted - start)
        np.testing.assert_allclose(found.scores[scored:counted], offline(model, past)[0][rows], atol=1e-6)
        scored = counted


def test_a_spread_window_is_scored_as_a_video_of_its_segments() -> None:
    model, pushed = model_of(), features(100)
    layout = Layout(span=100, hop=5, recent=2)
    found, places = live(LiveScorer(model, card_of(), layout), pushed), layout.places(100, SMALL)
    expected = offline(model, Pushed(pushed.features[places], pushed.times, pushed.numbers))[0]
    np.testing.assert_allclose(found.scores[95:], expected[-5:], atol=1e-6)


def test_every_third_frame_is_scored_as_the_stored_features_of_a_sampling_rate() -> None:
    model, all_frames = model_of(), features(100)
    every = Pushed(*(part[::3] for part in all_frames))
    scorer = LiveScorer(model, card_of(sampling_rate=3), Layout(span=68, hop=1, delay=34))
    found = live(scorer, every)
    assert np.array_equal(found.scores, offline(model, every)[0]) and found.numbers.tolist() == [*range(0, 100, 3)]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BackboneConfig())


@pytest.mark.parametrize("method", COMPETITORS)
def test_competitors_are_scored_too(method: str, backbone: Backbone) -> None:
    config = RunConfig(model=ModelConfig.model_validate({"method": method, "segments": 4, "frames_per_segment": 5}))
    torch.manual_seed(0)
    model = build_model(CLASSES, backbone, torch.zeros(backbone.dim), config).for_scoring()
    pushed = features(47, dim=backbone.dim)
    scorer = LiveScorer(model, card_of(config.model), Layout(span=94, hop=1, delay=47))
    assert np.array_equal(live(scorer, pushed).scores, offline(model, pushed)[0])


def test_cameras_together_have_the_scores_of_each_alone() -> None:
    model, layout = model_of(), Layout(60, 5, delay=5)
    cameras = {f"c{number}": features(50 + 10 * number, seed=number) for number in range(4)}
    scorer, found = LiveScorer(model, card_of(), layout), dict[str, list[Scored]]()
    for start in range(0, 80, 9):
        parts = {name: Pushed(*(part[start : start + 9] for part in pushed)) for name, pushed in cameras.items()}
        for name, scored in scorer.push(parts).items():
            found.setdefault(name, []).append(scored)
    for name, pushed in cameras.items():
        together = np.concatenate([each.scores for each in (*found[name], scorer.forget(name))])
        alone = live(LiveScorer(model, card_of(), layout), pushed).scores
        np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_camera_that_was_forgotten_begins_anew() -> None:
    scorer = LiveScorer(model_of(), card_of(), Layout(60, 5, delay=5))
    first, again = live(scorer, features(40)), live(scorer, features(40))
    assert np.array_equal(first.scores, again.scores)
    assert len(scorer.forget("never seen").scores) == 0


def test_another_model_goes_on_with_the_kept_past() -> None:
    layout, pushed = Layout(60, 5, delay=5), features(90)
    cards = card_of(precision="auto"), card_of(precision="float32")  # older models, and newer ones
    one, two = (LiveScorer(model_of(seed=seed), cards[seed - 1], layout) for seed in (1, 2))
    expected = live(LiveScorer(model_of(seed=2), card_of(), layout), pushed)
    before = one.push({"door": Pushed(*(part[:52] for part in pushed))})["door"]
    one.swap(two)
    after = live(one, Pushed(*(part[52:] for part in pushed)))
    assert len(before.scores) + len(after.scores) == 90
    np.testing.assert_allclose(after.scores, expected.scores[len(before.scores) :], atol=1e-6)


def test_models_of_other_features_are_refused() -> None:
    scorer = LiveScorer(model_of(), card_of(), Layout(60, 5))
    with pytest.raises(UsageError, match="other features: its sampling_rate differs"):
        scorer.swap(LiveScorer(model_of(), card_of(sampling_rate=2), Layout(60, 5)))
    with pytest.raises(UsageError, match="snippets"):
        LiveScorer(model_of(), card_of(sampling_rate=None), Layout(60, 5))
    with pytest.raises(UsageError, match="must fit"):
        LiveScorer(model_of(), card_of(), Layout(60, 50, delay=11))


def test_a_bundle_is_ready_to_score(tmp_path: Path) -> None:
    model = model_of()
    write_bundle(tmp_path, model.bundle_tensors(model.state_dict()), card_of(lengths=(45, 90)))
    scorer = live_scorer(tmp_path, torch.device("cpu"))
    assert scorer.classes == CLASSES and scorer.layout.span == 40
    write_bundle(tmp_path, model.bundle_tensors(model.state_dict()), card_of(backbone_identity=None))
    with pytest.raises(UsageError, match="imported features"):
        live_scorer(tmp_path, torch.device("cpu"))


def test_new_classes_have_the_probabilities_that_they_have_offline(tmp_path: Path) -> None:
    backbone = load_backbone(BackboneConfig())
    _, bundle = new_bundle(tmp_path, backbone)
    new, cpu = NewNames(("dog", "person falling"), backbone), torch.device("cpu")
    scorer = live_scorer(bundle, cpu, Layout(60, 60, least=60), new=new)
    features = np.random.default_rng(0).normal(size=(60, 1, 64)).astype(np.float16)
    scored = scorer.push({"door": Pushed(features, np.arange(60.0), np.arange(60))})["door"]
    scores, probabilities = bundle_scorer(bundle, cpu, new).score(torch.from_numpy(features[:, 0]))
    assert scorer.new_classes == ("dog", "person falling")
    np.testing.assert_array_equal(scored.scores, scores.numpy())
    np.testing.assert_array_equal(scored.probabilities, probabilities.numpy())
    assert scored.probabilities.shape == (60, len(scorer.classes) + 2)
