import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.storage import COMPLETE, Storage
from anomalyclip.training.checkpoints import (
    Checkpoint,
    CheckpointStore,
    learnt_state,
    load_learnt_state,
    load_optimizer_state,
    optimizer_state,
)


def checkpoint(epoch: int) -> Checkpoint:
    history = [{"epoch": float(number), "loss": 0.1 * number} for number in range(epoch + 1)]
    return Checkpoint(epoch, {"w": torch.tensor([1.5, epoch])}, {"0.step": torch.tensor(3.0)}, history)


@pytest.fixture
def checkpoints(storage: Storage) -> CheckpointStore:
    return CheckpointStore(storage, "runs/a")


def test_a_checkpoint_comes_back_as_it_was(checkpoints: CheckpointStore) -> None:
    assert (checkpoints.latest(), checkpoints.history(), checkpoints.epochs()) == (None, [], [])
    checkpoints.save(checkpoint(0), keep=[])
    checkpoints.save(checkpoint(10), keep=[0])
    found, expected = checkpoints.latest(), checkpoint(10)
    assert found is not None
    assert (found.epoch, found.history) == (10, expected.history)
    assert torch.equal(found.weights["w"], expected.weights["w"])
    assert torch.equal(found.optimizer["0.step"], expected.optimizer["0.step"])
    assert (checkpoints.epochs(), checkpoints.history()) == ([0, 10], expected.history)
    assert torch.equal(checkpoints.load(0).weights["w"], checkpoint(0).weights["w"])


def test_only_the_last_and_those_to_keep_stay(checkpoints: CheckpointStore) -> None:
    for epoch in range(5):
        checkpoints.save(checkpoint(epoch), keep=[1])
    assert checkpoints.epochs() == [1, 4]
    with pytest.raises(FileNotFoundError):
        checkpoints.load(3)


def test_a_checkpoint_counts_once_it_is_whole(checkpoints: CheckpointStore, storage: Storage) -> None:
    checkpoints.save(checkpoint(0), keep=[])
    checkpoints.save(checkpoint(1), keep=[0])
    storage.delete(f"runs/a/checkpoints/epoch-0001/{COMPLETE}")
    assert (checkpoints.epochs(), len(checkpoints.history())) == ([0], 1)


def test_runs_do_not_see_each_others_checkpoints(checkpoints: CheckpointStore, storage: Storage) -> None:
    checkpoints.save(checkpoint(0), keep=[])
    assert CheckpointStore(storage, "runs/b").epochs() == []


def test_a_checkpoint_is_tensors_and_json_and_no_pickle(checkpoints: CheckpointStore, storage: Storage) -> None:
    checkpoints.save(checkpoint(0), keep=[])
    folder = Path(storage.path("runs/a/checkpoints/epoch-0000"))
    assert {file.name for file in folder.iterdir()} == {
        "weights.safetensors", "optimizer.safetensors", "state.json", COMPLETE,
    }  # fmt: skip
    for file in folder.glob("*.safetensors"):
        content = file.read_bytes()
        json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def test_tensors_of_another_model_are_refused(new_model: Callable[[], AnomalyCLIP]) -> None:
    model = new_model()
    state = learnt_state(model)
    with pytest.raises(ValueError, match=r"unexpected \['other'\]"):
        load_learnt_state(model, {**state, "other": torch.ones(1)})
    del state["temporal.classifier.weight"]
    with pytest.raises(ValueError, match=r"missing \['temporal.classifier.weight'\]"):
        load_learnt_state(model, state)


def test_an_optimiser_goes_on_as_if_unbroken(checkpoints: CheckpointStore) -> None:
    def steps(count: int, weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            (weight**3).sum().backward()
            optimizer.step()

    unbroken = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.AdamW([unbroken], lr=0.1)
    steps(3, unbroken, optimizer)
    resumed = torch.nn.Parameter(unbroken.detach().clone())
    second = torch.optim.AdamW([resumed], lr=0.1)
    checkpoints.save(Checkpoint(0, {}, optimizer_state(optimizer), [{}]), keep=[])
    load_optimizer_state(second, checkpoints.load(0).optimizer)
    steps(3, unbroken, optimizer)
    steps(3, resumed, second)
    assert torch.equal(resumed, unbroken)
