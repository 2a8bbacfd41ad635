from typing import Any

import pytest

from anomalyclip.config import RunConfig
from anomalyclip.settings import build_config
from anomalyclip.training.adaptation import Length, adapt
from anomalyclip.training.sampling import NORMAL_LABEL, Bag


def adapted(settings: list[str], stored: int = 600, seconds: float = 60.0, videos: int = 8) -> tuple[RunConfig, Any]:
    half = videos // 2
    bags = [Bag(f"a{n}", 0) for n in range(half)] + [Bag(f"n{n}", NORMAL_LABEL) for n in range(half)]
    lengths = [Length(stored, seconds)] * half + [Length(stored, 100.0)] * half
    return adapt(build_config(RunConfig(), None, ["training.batch_size=4", *settings]), bags, lengths)


def test_nothing_changes_without_being_asked_for() -> None:
    config, choices = adapted([])
    assert config == build_config(RunConfig(), None, ["training.batch_size=4"])
    assert choices == []


@pytest.mark.parametrize("seconds, weight", [(9.0, 0.0), (11.0, 1.0)])
def test_short_abnormal_videos_count_as_trimmed_and_lose_the_bottom_term(seconds: float, weight: float) -> None:
    config, (choice,) = adapted(["data.trimmed=auto"], seconds=seconds)
    assert config.data.trimmed is (weight == 0.0)
    assert config.loss.bottom_k_abnormal == weight
    assert f"lasts {seconds:.0f} s" in choice


def test_a_user_may_know_better() -> None:
    assert adapted(["data.trimmed=true"])[0].loss.bottom_k_abnormal == 0.0
    assert adapted(["data.trimmed=false"], seconds=1.0)[0].loss.bottom_k_abnormal == 1.0


@pytest.mark.parametrize("stored, frames", [(1, 1), (55, 2), (200, 6), (5000, 16)])
def test_a_clip_is_as_long_as_the_videos_but_not_longer_than_configured(stored: int, frames: int) -> None:
    config, (choice,) = adapted(["model.fit_grid=true"], stored=stored)
    assert config.model.frames_per_segment == frames
    assert f"frames_per_segment={frames}," in choice


def test_few_videos_get_more_epochs_with_a_longer_warm_up() -> None:
    config, (choice,) = adapted(["training.epochs=null"])  # 2 steps per epoch
    assert (config.training.epochs, config.training.warmup_epochs) == (100, 13)
    assert "2 steps each, at least 200" in choice
    many, _ = adapted(["training.epochs=null"], videos=80)  # 20 steps per epoch
    assert (many.training.epochs, many.training.warmup_epochs) == (15, 2)


@pytest.mark.parametrize("stored, smoothing", [(12, 1.0), (200, 4.0)])
def test_short_videos_are_smoothed_less(stored: int, smoothing: float) -> None:
    config, _ = adapted(["model.fit_grid=true", "model.smoothing=4"], stored=stored)
    assert config.model.smoothing == smoothing


def test_the_warm_up_ends_before_the_training_does() -> None:
    config, _ = adapted(["training.epochs=null", "training.warmup_epochs=40"])
    assert config.training.warmup_epochs < config.training.num_epochs


def test_a_weight_that_is_set_has_no_effect_on_trimmed_clips() -> None:
    config, _ = adapted(["data.trimmed=true", "loss.bottom_k_abnormal=5"])
    assert adapt(config, (), ())[0].loss.bottom_k_abnormal == 0.0


def test_an_adapted_configuration_stays_as_it_is() -> None:
    once, _ = adapted(["training.epochs=null", "model.fit_grid=true", "data.trimmed=auto"], stored=55, seconds=2.0)
    lengths = [Length(999, 99.0)] * 2
    assert adapt(once, [Bag("a", 0), Bag("n", NORMAL_LABEL)], lengths) == (once, [])
