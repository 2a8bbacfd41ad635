"""TorchScript archives are read as data: the same state as torch's own, and nothing of them runs."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anomalyclip.errors import UsageError
from anomalyclip.features.torchscript import read_state
from anomalyclip.features.weights import read_weights


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.mask = torch.zeros(3)  # neither a parameter nor a buffer
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LayerNorm(4))
        self.register_buffer("places", torch.arange(3))
        self.coarse = nn.Parameter(torch.randn(2, 2).half())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.norm(self.linear(x + self.mask)))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Block(), Block()
        self.tied = self.first.linear
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)[:, :3]) * self.scale


class Trap(nn.Module):
    """Its archive has code that torch runs when it loads it: here an endless loop."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> int:
        return 1

    @torch.jit.export
    def __setstate__(self, state: int) -> None:
        while state > 0:
            state = state + 1


def save(folder: Path, module: nn.Module) -> Path:
    torch.jit.save(torch.jit.script(module), str(folder / "model.pt"))
    return folder / "model.pt"


@pytest.mark.parametrize("trace", [False, True], ids=["scripted", "traced"])
def test_the_state_is_that_of_torchs_own_reader(tmp_path: Path, trace: bool) -> None:
    network = Network().eval()
    archive: Any = torch.jit.trace(network, torch.randn(5, 3)) if trace else torch.jit.script(network)
    torch.jit.save(archive, str(tmp_path / "model.pt"))
    expected, found = network.state_dict(), read_state(tmp_path / "model.pt")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_code_of_an_archive_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no state dict"):
        read_weights(save(tmp_path, Trap()))


def rewritten(file: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The archive with other bytes in its entries."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, change(name, content))
    return file


def test_a_pickle_that_names_other_things_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    file = rewritten(
        save(tmp_path, nn.Linear(2, 2)),
        lambda name, content: pickle.dumps(Evil()) if name.endswith("/data.pkl") else content,
    )
    with pytest.raises(UsageError, match=r"cannot be read: it names posix\.mkdir"):
        read_weights(file)
    assert not (tmp_path / "made").exists()


def test_a_compressed_archive_is_refused_before_it_grows(tmp_path: Path) -> None:
    file = rewritten(save(tmp_path, nn.Linear(2, 2)), lambda name, content: content, zipfile.ZIP_DEFLATED)
    with pytest.raises(UsageError, match="is compressed"):
        read_weights(file)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    file = rewritten(
        save(tmp_path, nn.Linear(2, 2)), lambda name, content: content[:4] if "/data/" in name else content
    )
    with pytest.raises(UsageError, match="cannot be read"):
        read_weights(file)
