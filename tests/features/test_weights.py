from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from anomalyclip.errors import JobError, UsageError
from anomalyclip.features import weights
from anomalyclip.features.weights import fit_weights, hub_file, read_weights

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


class Tower(nn.Linear):
    logit_scale: Tensor | None = None

    def __init__(self) -> None:
        super().__init__(3, 2)


class ScaledTower(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 2)
        self.logit_scale = nn.Parameter(torch.tensor(2.66))


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"state_dict": {f"module.{name}": value for name, value in STATE.items()}},
    ],
    ids=["state dict", "checkpoint", "distributed checkpoint"],
)
def test_torch_files_are_read(tmp_path: Path, content: dict[str, object]) -> None:
    torch.save(content, tmp_path / "weights.pt")
    tensors, from_openai = read_weights(tmp_path / "weights.pt")
    assert tensors.keys() == STATE.keys() and torch.equal(tensors["weight"], STATE["weight"])
    assert not from_openai


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "weights.safetensors")
    tensors, from_openai = read_weights(tmp_path / "weights.safetensors")
    assert torch.equal(tensors["weight"], STATE["weight"]) and not from_openai


@pytest.mark.parametrize("scripted", [True, False], ids=["TorchScript archive", "extra keys"])
def test_openai_files_are_recognised(tmp_path: Path, scripted: bool) -> None:
    file = tmp_path / "ViT-B-16.pt"
    if scripted:
        torch.jit.save(torch.jit.script(nn.Linear(3, 2)), str(file))
    else:
        torch.save({**STATE, "input_resolution": torch.tensor(224)}, file)
    tensors, from_openai = read_weights(file)
    assert from_openai and tensors.keys() == STATE.keys()


@pytest.mark.parametrize("name", ["garbage.pt", "garbage.safetensors", "zipped.pt"])
def test_garbage_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((b"PK\x03\x04" if name.startswith("zip") else b"") + bytes(range(256)) * 9)
    with pytest.raises(UsageError, match=f"{name} cannot be read") as refusal:
        read_weights(tmp_path / name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {1: torch.ones(1)}])
def test_files_without_a_state_dict_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UsageError, match="holds no state dict"):
        read_weights(tmp_path / "other.pt")


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save({"weight": STATE["weight"], "trap": print}, tmp_path / "trap.pt")
    with pytest.raises(UsageError, match="cannot be read"):
        read_weights(tmp_path / "trap.pt")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_weights(tmp_path / "absent.pt")


def test_half_precision_weights_are_widened() -> None:
    tower = Tower()
    fit_weights(tower, {name: value.half() for name, value in STATE.items()}, "file", "tower")
    assert tower.weight.dtype == torch.float32 and torch.equal(tower.weight, STATE["weight"])


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_logit_scale_of_a_file_is_kept_whatever_its_shape(shape: tuple[int, ...]) -> None:
    tower = ScaledTower()
    fit_weights(tower, {**STATE, "logit_scale": torch.full(shape, 4.6)}, "file", "tower")
    torch.testing.assert_close(tower.logit_scale.detach(), torch.tensor(4.6))


def test_a_file_without_logit_scale_leaves_that_of_the_architecture() -> None:
    tower = ScaledTower()
    fit_weights(tower, STATE, "file", "tower")
    torch.testing.assert_close(tower.logit_scale.detach(), torch.tensor(2.66))


def test_all_that_does_not_fit_is_named_and_counted() -> None:
    wrong = {"weight": torch.ones(2, 4), **{f"extra.{i}": torch.ones(1) for i in range(5)}}
    expected = (
        "file f does not fit architecture tower: missing: bias; "
        r"unexpected: extra.0, extra.1, extra.2 and 2 more; of another shape: weight \(2, 4\) for \(2, 3\)"
    )
    with pytest.raises(UsageError, match=expected):
        fit_weights(Tower(), wrong, "file f", "tower")


def test_offline_takes_only_what_was_downloaded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(published: dict[str, str]) -> str:
        raise AssertionError("the hub was asked")

    cache: dict[tuple[str, str], str] = {}
    monkeypatch.setattr(weights, "download_pretrained", download)
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *key: cache.get(key))
    published = {"hf_hub": "timm/some_clip/"}
    with pytest.raises(UsageError, match="tag x were never downloaded"):
        hub_file(published, "tag x", offline=True)
    cache["timm/some_clip", "open_clip_model.safetensors"] = "/cache/it"
    assert hub_file(published, "tag x", offline=True) == Path("/cache/it")


def test_failed_download_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(published: dict[str, str]) -> str:
        raise OSError("no route\nto host")

    monkeypatch.setattr(weights, "download_pretrained", download)
    with pytest.raises(JobError, match="weights tag x could not be downloaded: no route to host"):
        hub_file({"hf_hub": "timm/some_clip/"}, "tag x", offline=False)


def test_an_error_never_says_how_to_run_what_a_file_holds(tmp_path: Path) -> None:
    torch.save({"weight": Path("object")}, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match="it holds more than tensors and plain values") as raised:
        read_weights(tmp_path / "weights.pt")
    assert "weights_only" not in str(raised.value)
