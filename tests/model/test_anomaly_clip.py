import pytest
import torch
import torch.nn.functional as F

from anomalyclip.config import ModelConfig
from anomalyclip.model.anomaly_clip import DIRECTIONS_COSINE, AnomalyCLIP
from anomalyclip.model.directions import FixedDirections, FreeDirections
from anomalyclip.model.method import TrainingFeatures, video_windows
from anomalyclip.model.smoothing import smooth
from anomalyclip.model.zero_shot_logit import ZeroShotLogit

CONFIG = ModelConfig(embedding_dim=16, heads=2, concat_logits=True)


def model_of(normal_index: int = 1, config: ModelConfig = CONFIG) -> AnomalyCLIP:
    torch.manual_seed(0)
    classes = ["Arson", "Fighting", "Robbery"]
    classes.insert(normal_index, "Normal")
    return AnomalyCLIP(FixedDirections(torch.randn(3, 8)), classes, normal_index, torch.randn(8), config).eval()


@pytest.mark.parametrize("normal_index", [0, 1, 3])
def test_class_probabilities_sum_to_one_with_normal_at_its_place(normal_index: int) -> None:
    logits, scores = torch.randn(20, 3), torch.rand(20)
    found = model_of(normal_index).class_probabilities(logits, scores)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(20))
    torch.testing.assert_close(found[:, normal_index], 1 - scores)
    abnormal = found[:, [index for index in range(4) if index != normal_index]]
    torch.testing.assert_close(abnormal, scores[:, None] * logits.softmax(dim=1))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [1, 15, 512, 1100])
def test_a_video_has_a_score_a_stored_feature(frames: int, stride: int) -> None:
    scores = model_of(config=CONFIG.model_copy(update={"stride": stride})).score_video(torch.randn(frames, 8))
    assert scores.scores.shape == (frames,)
    assert (scores.logits.shape, scores.probabilities.shape) == ((frames, 3), (frames, 4))
    assert ((scores.scores >= 0) & (scores.scores <= 1)).all()


def test_logits_of_a_frame_do_not_depend_on_where_it_stands() -> None:
    model, features = model_of(), torch.randn(700, 8)
    centred = (features - model.normality_prototype)[None, None]
    expected = model.selector(centred, model.directions(), model.normality_prototype)[0, 0]
    torch.testing.assert_close(model.score_video(features).logits, expected)


def test_half_precision_features_score_as_their_float32_copy() -> None:
    model, features = model_of(), torch.randn(40, 8).half()
    assert torch.equal(model.score_video(features).scores, model.score_video(features.float()).scores)


def test_scoring_many_windows_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, features = model_of(), torch.randn(2600, 8)
    together = model.score_video(features).scores
    monkeypatch.setattr("anomalyclip.model.method.WINDOWS_AT_ONCE", 1)
    torch.testing.assert_close(model.score_video(features).scores, together)


def test_videos_together_have_the_scores_of_each_alone_in_batches_of_a_bounded_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, sizes = model_of(), list[int]()
    videos = [torch.randn(count, 8) for count in (700, 30, 2600, 512)]
    alone = [model.score_video(video) for video in videos]
    monkeypatch.setattr("anomalyclip.model.method.WINDOWS_AT_ONCE", 3)
    inner = model.window_logits
    monkeypatch.setattr(model, "window_logits", lambda windows: sizes.append(len(windows)) or inner(windows))
    for ours, theirs in zip(model.score_videos(videos), alone, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert sizes == [3, 3, 3, 1]


def test_windows_hold_every_frame_of_a_video() -> None:
    for frames in (1, 511, 512, 513, 5000):
        windows = video_windows(frames, CONFIG)
        assert windows.shape[1:] == (32, 16)
        assert set(windows.flatten().tolist()) == set(range(frames))


def test_logits_are_fed_to_the_temporal_model_only_where_asked() -> None:
    alone = model_of(config=CONFIG.model_copy(update={"concat_logits": False}))
    assert (alone.temporal.projection.in_features, model_of().temporal.projection.in_features) == (8, 3 + 8)
    clips = torch.randn(2, 32, 16, 8)
    expected = alone.temporal(clips - alone.normality_prototype)
    torch.testing.assert_close(alone(clips).anomaly_logits, expected)


def test_segments_are_ranked_by_their_likelihood() -> None:
    output = model_of()(torch.randn(2, 32, 16, 8, requires_grad=True))
    torch.testing.assert_close(output.ranking, output.logits.sum(dim=2))
    assert (output.logits.requires_grad, output.ranking.requires_grad) == (True, False)


def test_segments_are_ranked_by_the_magnitude_of_their_features_where_asked() -> None:
    model = model_of(config=CONFIG.model_copy(update={"selection": "magnitude"}))
    clips = torch.randn(2, 32, 16, 8)
    output = model(clips)
    magnitudes = (clips - model.normality_prototype).norm(dim=-1).sum(dim=2)
    torch.testing.assert_close(output.ranking, magnitudes[..., None].expand(2, 32, 3))
    torch.testing.assert_close(output.logits, model_of()(clips).logits)


def test_with_cosine_similarity_nothing_is_recentred() -> None:
    model = model_of(config=CONFIG.model_copy(update={"likelihood": "cosine"}))
    clips = torch.randn(2, 32, 16, 8)
    before = model(clips)
    torch.testing.assert_close(before.anomaly_logits, model.temporal(torch.cat([before.logits, clips], dim=-1)))
    model.normality_prototype += 5
    for expected, found in zip(before, model(clips), strict=True):
        assert torch.equal(found, expected)
    assert not list(model.selector.state_dict())


FULL = CONFIG.model_copy(update={"standardise": True, "linear": True, "smoothing": 1.0, "position_std": 0.02})


def training_features(model: AnomalyCLIP) -> TrainingFeatures:
    generator = torch.Generator().manual_seed(1)
    frames = 3 * torch.randn(8, 5, 8, generator=generator) + model.normality_prototype
    return TrainingFeatures(torch.tensor([0, 0, 1, 1, -1, -1, -1, -1]), frames.mean(dim=1), lambda: frames)


def test_standardised_features_score_as_those_of_another_scale() -> None:
    config = FULL.model_copy(update={"linear": False})
    model, scaled = model_of(config=config), model_of(config=config)
    features = training_features(model)
    model.prepare(features)
    scaled.normality_prototype *= 10
    scaled.directions.class_features *= 10
    scaled.prepare(TrainingFeatures(features.labels, features.means * 10, lambda: features.frames() * 10))
    video = torch.randn(50, 8)
    torch.testing.assert_close(scaled.score_video(video * 10).probabilities, model.score_video(video).probabilities)


def test_a_score_is_that_of_the_mean_of_both_logits() -> None:
    config = FULL.model_copy(update={"smoothing": 0.0})
    model, video = model_of(config=config), torch.randn(40, 8)
    model.prepare(training_features(model))
    assert model.linear is not None
    temporal = model(video[video_windows(40, config)]).anomaly_logits.reshape(-1)[:40]
    x = (video - model.normality_prototype) / model.deviation
    linear = x @ model.linear.weight + model.linear.bias
    torch.testing.assert_close(model.score_video(video).scores, ((temporal + linear) / 2).sigmoid())


def test_zero_shot_clip_is_averaged_in_on_the_scale_of_the_training_videos() -> None:
    config, plain, texts = CONFIG.model_copy(update={"zero_shot": True}), model_of(), torch.randn(4, 8)
    texts = 10 * F.normalize(texts, dim=-1)
    zero_shot = ZeroShotLogit(texts, normal_index=1)
    model = AnomalyCLIP(plain.directions, plain.classes, 1, plain.normality_prototype, config, zero_shot).eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    features = training_features(plain)
    model.prepare(features)

    def logit(frames: torch.Tensor) -> torch.Tensor:
        cosines = F.normalize(frames, dim=-1) @ texts.T
        return torch.logsumexp(cosines[..., [0, 2, 3]], dim=-1) - cosines[..., 1]

    known, video = logit(features.frames()), torch.randn(40, 8)
    standardised = (logit(video) - known.mean()) / known.std(correction=0)
    temporal = plain.score_video(video).scores.logit()
    torch.testing.assert_close(model.score_video(video).scores, ((temporal + standardised) / 2).sigmoid())


def test_smoothing_follows_the_order_of_time_over_all_windows() -> None:
    plain = model_of(config=CONFIG)
    model = model_of(config=CONFIG.model_copy(update={"smoothing": 2.0}))
    model.load_state_dict(plain.state_dict())
    video = torch.randn(1100, 8)  # three windows, whose segments alternate
    torch.testing.assert_close(model.score_video(video).logits, smooth(plain.score_video(video).logits, 2.0))


def test_the_mean_cosine_tells_equal_directions_from_different_ones() -> None:
    model = model_of()
    model.normality_prototype.zero_()
    model.directions.class_features.copy_(torch.eye(3, 8))
    assert model.diagnostics()[DIRECTIONS_COSINE] == pytest.approx(0.0, abs=1e-6)
    model.directions.class_features.copy_(torch.ones(3, 8))
    assert model.diagnostics()[DIRECTIONS_COSINE] == pytest.approx(1.0)


def test_free_directions_start_at_the_mean_features_of_their_classes() -> None:
    config = CONFIG.model_copy(update={"initial_directions": "class_means"})
    model = AnomalyCLIP(FreeDirections(3, 8, 1.0), ["a", "b", "c", "Normal"], 3, torch.zeros(8), config)
    drawn, features = model.directions().clone(), training_features(model)
    model.prepare(features)
    torch.testing.assert_close(model.directions()[0], features.means[:2].mean(dim=0))
    torch.testing.assert_close(model.directions()[1], features.means[2:4].mean(dim=0))
    assert torch.equal(model.directions()[2], drawn[2])  # no training video is of this class


def test_the_papers_settings_keep_the_names_of_all_tensors() -> None:
    assert not {"deviation", "linear.weight", "linear.bias"} & model_of().state_dict().keys()
    assert {"deviation", "linear.weight", "linear.bias"} <= model_of(config=FULL).state_dict().keys()
