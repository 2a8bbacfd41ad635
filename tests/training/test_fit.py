"""Training is the same whatever the number of workers and however often it was interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from anomalyclip.config import ModelConfig, RunConfig, TrainingConfig
from anomalyclip.errors import JobError
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.collectives import rank, share_buffers, world_size
from anomalyclip.storage import Storage
from anomalyclip.training import fit as fit_module
from anomalyclip.training.checkpoints import CheckpointStore, learnt_state
from anomalyclip.training.fit import AHEAD, FitData, fit, step_inputs, step_loss
from anomalyclip.training.sampling import Bag, draw_clip, epoch_batches
from anomalyclip.training.validation import AUC, LOSS, best_epoch

NewModel = Callable[[], AnomalyCLIP]
CPU = torch.device("cpu")


def store(folder: Path) -> CheckpointStore:
    return CheckpointStore(Storage(str(folder)), "runs/test")


@pytest.fixture
def data(bags: list[Bag], cache: object) -> FitData:
    return FitData(train=bags, validation=(), cache=cache)


@pytest.fixture
def unbroken(data: FitData, config: RunConfig, new_model: NewModel, tmp_path: Path) -> dict[str, torch.Tensor]:
    model = new_model()
    fit(model, data, config, store(tmp_path / "unbroken"))
    return learnt_state(model)


def test_resumed_training_equals_unbroken_training(
    data: FitData, config: RunConfig, new_model: NewModel, tmp_path: Path, unbroken: dict[str, torch.Tensor]
) -> None:
    epochs = []
    fit(new_model(), data, config, store(tmp_path), lambda row: epochs.append(row["epoch"]), stop_after=2)
    model = new_model()
    history = fit(model, data, config, store(tmp_path), lambda row: epochs.append(row["epoch"]))
    assert epochs == [0, 1, 2]
    assert [row["epoch"] for row in history] == [0, 1, 2]
    for name, value in learnt_state(model).items():
        assert torch.equal(value, unbroken[name]), name


def test_a_step_takes_of_each_video_the_crop_that_was_drawn(
    bags: list[Bag], cropped_cache: Any, config: RunConfig
) -> None:
    data, drawn = FitData(bags, (), cropped_cache), set()
    for epoch in range(3):
        steps = step_inputs(data, epoch, config, CPU)
        for step, batch in zip(steps, epoch_batches(bags, epoch, config.training), strict=True):
            for found, draw in zip(step.features, batch.part(0, 1), strict=True):
                video = cropped_cache.video(draw.bag.video_id)
                clip = draw_clip(draw, len(video), epoch, config.training.seed, config.model, crops=5)
                drawn.add(clip.crop)
                assert torch.equal(found, torch.from_numpy(video[clip.frames, clip.crop]).float())
    assert drawn == {0, 1, 2, 3, 4}


def test_steps_that_are_gathered_ahead_are_those_of_the_batches_one_by_one(
    bags: list[Bag], cache: Any, config: RunConfig
) -> None:
    few = config.training.model_copy(update={"batch_size": 2})
    config = config.model_copy(update={"training": few})
    batches = list(epoch_batches(bags, 1, few))
    assert len(batches) > 2 * AHEAD
    for step, batch in zip(step_inputs(FitData(bags, (), cache), 1, config, CPU), batches, strict=True):
        clips = [(draw, draw_clip(draw, cache.num_frames(draw.bag.video_id), 1, few.seed, config.model))
                 for draw in batch.part(0, 1)]  # fmt: skip
        expected = [cache.video(draw.bag.video_id)[clip.frames, 0] for draw, clip in clips]
        assert torch.equal(step.features, torch.from_numpy(np.stack(expected)).float())
        assert step.noise.tolist() == [clip.noise for _, clip in clips]


def test_training_on_crops_is_the_same_on_one_crop_five_times(
    bags: list[Bag], cache: Any, config: RunConfig, new_model: NewModel, tmp_path: Path
) -> None:
    class Repeated:
        """The same features in each of five crops."""

        num_frames = video_frames = staticmethod(cache.num_frames)
        dim = cache.dim

        def crops(self, video_id: str) -> int:
            return 5

        def video(self, video_id: str) -> np.ndarray:
            return cache.video(video_id).repeat(5, axis=1)

        def gather(self, video_id: str, frames: np.ndarray, crop: int, out: np.ndarray | None = None) -> np.ndarray:
            return cache.gather(video_id, frames, 0, out)

    ends = []
    for number, features in enumerate((cache, Repeated())):
        model = new_model()
        history = fit(model, FitData(bags, bags[::3], features), config, store(tmp_path / str(number)), stop_after=2)
        ends.append((history[-1][AUC], learnt_state(model)))
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(value, ends[1][1][name]) for name, value in ends[0][1].items())


def test_a_half_written_checkpoint_is_not_resumed_from(
    data: FitData, config: RunConfig, new_model: NewModel, tmp_path: Path, unbroken: dict[str, torch.Tensor]
) -> None:
    checkpoints = store(tmp_path)
    fit(new_model(), data, config, checkpoints, stop_after=2)
    (tmp_path / "runs/test/checkpoints/epoch-0001/_COMPLETE").unlink()
    fit(new_model(), data, config, checkpoints, stop_after=1)
    model = new_model()
    fit(model, data, config, checkpoints)
    assert all(torch.equal(value, unbroken[name]) for name, value in learnt_state(model).items())


def test_epoch_zero_trains_nothing(data: FitData, config: RunConfig, new_model: NewModel, tmp_path: Path) -> None:
    model = new_model()
    before = {name: value.clone() for name, value in learnt_state(model).items()}
    fit(model, data, config, store(tmp_path), stop_after=1)
    after = learnt_state(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"selector.batch_norm.running_mean", "selector.batch_norm.running_var"}


def test_the_frozen_text_tower_is_neither_trained_nor_saved(
    data: FitData, config: RunConfig, new_model: NewModel, tmp_path: Path
) -> None:
    model = new_model()
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    fit(model, data, config, store(tmp_path))
    after = dict(model.named_parameters())
    assert frozen
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert not frozen.keys() & store(tmp_path).load(2).weights.keys()


def test_old_checkpoints_go_but_the_best_and_the_last_stay(
    data: FitData, bags: list[Bag], config: RunConfig, new_model: NewModel, tmp_path: Path
) -> None:
    checkpoints = store(tmp_path)
    history = fit(new_model(), FitData(bags, bags, data.cache), config, checkpoints)
    assert set(checkpoints.epochs()) == {best_epoch(history, "best"), 2}
    assert all({AUC, LOSS} <= row.keys() for row in history)


def test_the_best_epoch_breaks_ties_by_loss_then_by_age() -> None:
    rows = [(0.0, 0.9, 1.0), (0.1, 0.8, 3.0), (0.1, 0.8, 2.0), (0.1, 0.8, 2.0), (0.1, 0.7, 1.0)]
    history = [{"learning_rate": rate, AUC: auc, LOSS: loss} for rate, auc, loss in rows]
    assert best_epoch(history, "best") == 2
    assert best_epoch([{"learning_rate": 0.1}] * 4, "best") == 3
    assert best_epoch(history, "last") == 4


def test_the_best_epoch_is_one_that_was_validated() -> None:
    rate = {"learning_rate": 1.0}
    history = [rate, {**rate, AUC: 0.6, LOSS: 1.0}, rate, {**rate, AUC: 0.7, LOSS: 1.0}, rate]
    assert best_epoch(history, "best") == 3
    assert best_epoch([*history, {**rate, AUC: 0.6, LOSS: 1.0}], "best") == 3
    assert best_epoch(history, "last") == 4
    assert best_epoch(history[:1], "best") == 0


def test_validating_every_second_epoch_trains_the_same_and_validates_the_last(
    bags: list[Bag], cache: Any, config: RunConfig, new_model: NewModel, tmp_path: Path
) -> None:
    data, histories = FitData(bags, bags, cache), []
    for every in (1, 2):
        training = config.training.model_copy(update={"validate_every": every})
        model = new_model()
        history = fit(model, data, config.model_copy(update={"training": training}), store(tmp_path / str(every)))
        histories.append((history, learnt_state(model)))
    (each, weights), (some, same) = histories
    assert [AUC in metrics for metrics in some] == [False, True, True]
    assert [metrics["loss"] for metrics in each] == [metrics["loss"] for metrics in some]
    assert each[-1] == some[-1] and all(torch.equal(value, same[name]) for name, value in weights.items())


@pytest.mark.parametrize("precision, arithmetic", [("auto", "ieee"), ("tf32", "tf32")])
def test_tf32_trains_only_where_it_is_asked_for(
    data: FitData, config: RunConfig, new_model: NewModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    precision: str, arithmetic: str,
) -> None:  # fmt: skip
    used: list[str] = []

    def note(*_: Any) -> None:
        used.append(torch.backends.cudnn.conv.fp32_precision)

    monkeypatch.setattr(fit_module, "resolve_precision", lambda *_: {"auto": "float32"}.get(precision, precision))
    config = config.model_copy(update={"training": config.training.model_copy(update={"precision": precision})})
    model = new_model()
    layer = model.temporal.get_submodule("axial.layers.0.feed_forward_a.expand")
    layer.register_forward_hook(note)
    layer.register_full_backward_hook(note)
    fit(model, data, config, store(tmp_path), stop_after=1)
    assert set(used) == {arithmetic} and len(used) > 2


class BrokenCache:
    """The same videos, of which one has features that are not numbers."""

    def __init__(self, cache: Any, video: str) -> None:
        self._cache, self._video = cache, video
        self.num_frames, self.crops, self.video = cache.num_frames, cache.crops, cache.video
        self.video_frames, self.dim = cache.num_frames, cache.dim

    def gather(self, video_id: str, frames: np.ndarray, crop: int, out: np.ndarray | None = None) -> np.ndarray:
        found = self._cache.gather(video_id, frames, crop, out)
        found *= np.float16(np.nan if video_id == self._video else 1)
        return found


BROKEN_LOSS = r"^epoch 1, step [01]: the loss is not finite \(direction_abnormal=nan, .*sparse=nan\); .*learning_rate"


def test_a_loss_that_is_not_finite_ends_the_training_before_its_checkpoint(
    data: FitData, config: RunConfig, new_model: NewModel, tmp_path: Path
) -> None:
    fit(new_model(), data, config, store(tmp_path), stop_after=1)
    broken = FitData(data.train, (), BrokenCache(data.cache, "a0"))
    epochs: list[Any] = []
    with pytest.raises(JobError, match=BROKEN_LOSS):
        fit(new_model(), broken, config, store(tmp_path), epochs.append)
    assert (store(tmp_path).epochs(), epochs) == ([0], [])


def test_weights_that_the_last_step_broke_do_not_become_a_checkpoint(
    data: FitData, config: RunConfig, new_model: NewModel, tmp_path: Path
) -> None:
    exploding = {
        "learning_rate": 2e37,
        "weight_decay": 15.0,
        "warmup_epochs": 0,
        "batch_size": 18,
    }  # one step per epoch
    config = config.model_copy(update={"training": config.training.model_copy(update=exploding)})
    with pytest.raises(JobError, match=r"^epoch 0: weights are not finite after the last step; .*learning_rate"):
        fit(new_model(), data, config, store(tmp_path))
    assert store(tmp_path).epochs() == []


def test_a_validation_loss_that_is_not_finite_ends_the_training(
    data: FitData, bags: list[Bag], config: RunConfig, new_model: NewModel, tmp_path: Path
) -> None:
    kept = [bag for bag in bags if bag.video_id != "a0"]
    broken = FitData(kept, bags, BrokenCache(data.cache, "a0"))
    with pytest.raises(JobError, match=r"^validation after epoch 0: the loss is not finite \(val/loss=nan\)"):
        fit(new_model(), broken, config, store(tmp_path))
    assert store(tmp_path).epochs() == []


def stop_on_broken_loss(new_model: NewModel, data: FitData, config: RunConfig, folder: Path) -> None:
    with pytest.raises(JobError, match=BROKEN_LOSS.replace("epoch 1", "epoch 0")):
        fit(new_model(), data, config, store(folder))
    (folder / f"stopped-{rank()}").touch()


def test_all_workers_stop_at_a_loss_that_is_not_finite(
    data: FitData, config: RunConfig, tmp_path: Path, run_workers: Callable[..., None]
) -> None:
    broken = FitData(data.train, (), BrokenCache(data.cache, "a0"))
    run_workers(2, stop_on_broken_loss, ModelFactory(), broken, config, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped-0", "stopped-1"]


def gradients(new_model: NewModel, data: FitData, config: RunConfig, dtype: torch.dtype, file: Path) -> None:
    """One worker's part of one step; the first worker writes the averaged gradients and the loss terms."""
    model = new_model().to(dtype)
    parallel = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
    step = next(iter(step_inputs(data, 1, config, CPU)))
    object.__setattr__(step, "features", step.features.to(dtype))
    terms = step_loss(parallel.train(), step, config)
    sum(terms.values()).backward()
    if rank() == 0:
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        torch.save((found, {k: v.detach() for k, v in terms.items()}, learnt_state(model)), file)


class ModelFactory:
    """Builds the test's model in a worker process."""

    def __call__(self) -> AnomalyCLIP:
        from anomalyclip.config import BackboneConfig
        from anomalyclip.features.backbone import load_backbone
        from anomalyclip.training.setup import build_model

        config = RunConfig(model=ModelConfig(embedding_dim=16, heads=2, concat_logits=True))
        return build_model(["Arson", "Fighting", "Normal"], load_backbone(BackboneConfig()), torch.zeros(64), config)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_compute_the_gradients_of_one(
    data: FitData, tmp_path: Path, run_workers: Callable[..., None], workers: int, dtype: torch.dtype
) -> None:
    config = RunConfig(
        model=ModelConfig(embedding_dim=16, heads=2, concat_logits=True),
        training=TrainingConfig(batch_size=8, epochs=3, warmup_epochs=1),
    )
    for count in (1, workers):
        run_workers(count, gradients, ModelFactory(), data, config, dtype, tmp_path / f"{count}.pt")
    alone, together = (torch.load(tmp_path / f"{count}.pt") for count in (1, workers))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    for one, several in zip(alone, together, strict=True):  # gradients, loss terms, learnt state
        assert one.keys() == several.keys()
        for name, expected in one.items():
            assert (several[name] - expected).norm() <= tolerance * expected.norm(), name


def _share_own_numbers() -> None:
    model = nn.Module()
    model.register_buffer("computed", torch.full((2,), float(rank())))
    share_buffers(model)
    assert model.get_buffer("computed").tolist() == [0.0, 0.0]


def test_every_worker_gets_what_the_first_one_has_computed(run_workers: Callable[..., None]) -> None:
    run_workers(2, _share_own_numbers)
