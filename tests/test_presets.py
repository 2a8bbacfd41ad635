import pytest

from anomalyclip.config import LossConfig, ModelConfig, RunConfig, TrainingConfig
from anomalyclip.data.labels import sorted_classes
from anomalyclip.errors import UsageError
from anomalyclip.presets import PRESETS, preset


@pytest.mark.parametrize(
    "name, classes, learning_rate, epochs, warmup, embedding_dim, depth, concat",
    [
        ("ucf-crime", 14, 1e-5, 50, 5, 256, 1, False),
        ("shanghaitech", 18, 5e-4, 100, 10, 256, 2, True),
        ("xd-violence", 7, 5e-6, 50, 5, 128, 1, False),
    ],
)
def test_presets_hold_the_papers_settings(
    name: str, classes: int, learning_rate: float, epochs: int, warmup: int, embedding_dim: int, depth: int,
    concat: bool,
) -> None:  # fmt: skip
    config = preset(name)
    assert len(sorted_classes(config.data.classes or ())) == classes
    training = config.training
    assert (training.learning_rate, training.epochs, training.warmup_epochs) == (learning_rate, epochs, warmup)
    assert (training.protocol, training.batch_size, training.seed) == ("paper", 64, 1024)
    assert training.weight_decay == 0.2
    # all else of the method is the default
    assert config.model == ModelConfig(embedding_dim=embedding_dim, depth=depth, concat_logits=concat)
    assert config.loss == LossConfig()
    assert (config.backbone.name, config.backbone.weights) == ("ViT-B-16-quickgelu", "openai")


def test_the_methods_own_figures_are_the_defaults() -> None:
    model, loss = ModelConfig(), LossConfig()
    assert (model.context_length, model.k, model.segments, model.frames_per_segment) == (8, 3, 32, 16)
    assert (model.stride, model.heads, model.shared_context) == (1, 8, False)
    assert model.top_dropout == model.bottom_dropout == 0.7
    assert list(loss.model_dump().values()) == [1, 1, 1, 1, 1, 8e-4, 8e-3]


def test_the_preset_of_ablations_is_the_papers_method() -> None:
    sizes = {"batch_size": 16, "epochs": 15, "warmup_epochs": 2, "learning_rate": 3e-4}
    assert preset("benchmark") == RunConfig(training=TrainingConfig.model_validate(sizes))


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "default"])
def test_what_is_not_the_papers_is_in_the_default_alone(name: str) -> None:
    ours = {
        "model": (
            "standardise",
            "position_std",
            "linear",
            "zero_shot",
            "smoothing",
            "fit_grid",
            "clips",
            "initial_directions",
        ),
        "data": ("trimmed",),
        "training": ("chosen_epoch", "final_fit"),
    }
    for section, settings in ours.items():
        found, plain, default = (getattr(one, section) for one in (preset(name), RunConfig(), preset("default")))
        for setting in settings:
            assert getattr(found, setting) == getattr(plain, setting) != getattr(default, setting)


def test_an_unknown_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown preset ucf; choose from: default, ucf-crime, shanghaitech, xd-viol"):
        preset("ucf")
