"""Checkpoints of a run: safetensors for tensors, JSON for the rest, found by the name of the run alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anomalyclip.storage import Storage, scratch

State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """State of a fit after an epoch: what resuming needs."""

    epoch: int
    weights: State
    optimizer: State
    history: list[dict[str, float]]


class CheckpointStore:
    """The checkpoints of one run under `<run>/checkpoints/epoch-<number>`; each is visible only when complete."""

    def __init__(self, storage: Storage, run: str) -> None:
        self._storage, self._key = storage, f"{run}/checkpoints"

    def epochs(self) -> list[int]:
        """Return the epochs with a complete checkpoint, in order."""
        names = [name for name in self._storage.list(self._key) if self._storage.is_complete(f"{self._key}/{name}")]
        return [int(name.removeprefix("epoch-")) for name in names]

    def history(self) -> list[dict[str, float]]:
        """Return the metrics of every epoch up to the latest checkpoint."""
        epochs = self.epochs()
        return self._storage.read_json(f"{self._folder(epochs[-1])}/state.json")["history"] if epochs else []

    def save(self, checkpoint: Checkpoint, keep: Sequence[int]) -> None:
        """Write a checkpoint, then remove all others except those of the epochs to keep."""
        with TemporaryDirectory(dir=scratch()) as folder:
            local = Path(folder)
            save_file(checkpoint.weights, local / "weights.safetensors")
            save_file(checkpoint.optimizer, local / "optimizer.safetensors")
            (local / "state.json").write_text(json.dumps({"history": checkpoint.history}))
            self._storage.publish_folder(local, self._folder(checkpoint.epoch))
        for epoch in self.epochs():
            if epoch not in (*keep, checkpoint.epoch):
                self._storage.delete(self._folder(epoch))

    def load(self, epoch: int) -> Checkpoint:
        """Read the checkpoint of an epoch; raises FileNotFoundError."""
        with self._storage.local(self._folder(epoch)) as folder:
            weights = load_file(folder / "weights.safetensors")
            optimizer = load_file(folder / "optimizer.safetensors")
        history = self._storage.read_json(f"{self._folder(epoch)}/state.json")["history"]
        return Checkpoint(epoch, weights, optimizer, history)

    def latest(self) -> Checkpoint | None:
        """Read the last complete checkpoint; None if there is none."""
        epochs = self.epochs()
        return self.load(epochs[-1]) if epochs else None

    def _folder(self, epoch: int) -> str:
        return f"{self._key}/epoch-{epoch:04d}"


def learnt_state(model: nn.Module) -> State:
    """Return what training changes: learnt parameters and batch-norm statistics, without the frozen text tower."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items() if name not in frozen}


def load_learnt_state(model: nn.Module, state: State) -> None:
    """Restore the result of `learnt_state`; raises ValueError for unexpected or missing tensors."""
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    absent = learnt_state(model).keys() - state.keys()
    if unexpected or absent:
        raise ValueError(f"checkpoint does not fit the model: unexpected {unexpected}, missing {sorted(absent)}")


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """Return the optimiser's moments and steps as flat tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": value.cpu() for index, part in state.items() for key, value in part.items()}


def load_optimizer_state(optimizer: torch.optim.Optimizer, flat: State) -> None:
    """Restore the result of `optimizer_state`."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in flat.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
