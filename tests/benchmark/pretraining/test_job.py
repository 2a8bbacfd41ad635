"""The whole command, on a small architecture and a drawing function of coloured squares."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

import anomalyclip.workflows.pretrain_backbone
from anomalyclip import cli
from anomalyclip.benchmark.pictures import illustrations
from anomalyclip.benchmark.pictures.pool import DrawPicture
from anomalyclip.benchmark.pretraining.contrastive import Pretraining
from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import load_backbone
from tests.commands import command

SETTINGS = {
    "pictures.count": 128, "pictures.held_out": 40, "training.architecture": "test-little", "training.steps": 10,
    "training.warmup_steps": 2, "training.batch_size": 16, "training.log_steps": 3, "training.checkpoint_steps": 4,
    "training.learning_rate": 0.005,
}  # fmt: skip
Pretrain = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _squares(monkeypatch: pytest.MonkeyPatch, draw_square: DrawPicture) -> Iterator[None]:
    monkeypatch.setattr(illustrations, "draw_picture", draw_square)
    yield
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture
def pretrain(tmp_path: Path) -> Pretrain:
    """Run the command in a storage root; settings by name on top of small ones."""

    def pretrain(*options: str, root: str = "root", **settings: Any) -> dict[str, Any]:
        changed = SETTINGS | {name.replace("__", "."): value for name, value in settings.items()}
        overrides = [part for name, value in changed.items() for part in ("--set", f"{name}={value}")]
        return command("pretrain_backbone")([*overrides, *options, "--storage", str(tmp_path / root)])

    return pretrain


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Break every training at a step, or none."""
    take_step = Pretraining._take_step

    def stop_at(step: int | None) -> None:
        def stopping(training: Pretraining) -> Any:
            if training.step == step:
                raise KeyboardInterrupt
            return take_step(training)

        monkeypatch.setattr(Pretraining, "_take_step", stopping)

    return stop_at


def points(result: dict[str, Any], metric: str) -> list[tuple[int, float]]:
    client = mlflow.MlflowClient(result["tracking_uri"])
    return sorted((point.step, point.value) for point in client.get_metric_history(result["run_id"], metric))


def test_a_finished_run_has_weights_figures_and_an_mlflow_run(pretrain: Pretrain, tmp_path: Path) -> None:
    result = pretrain("--output", str(tmp_path / "here.safetensors"))
    assert [step for step, _ in points(result, "loss")] == [3, 4, 6, 8, 9, 10]
    assert [step for step, _ in points(result, "zero_shot_top1")] == [4, 8, 10]
    run = mlflow.MlflowClient(result["tracking_uri"]).get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.batch_size"] == "16"
    assert run.data.metrics["final_zero_shot_top1"] == result["zero_shot_top1"]
    folder = Path(result["weights"]).parent
    assert json.loads((folder / "accuracy.json").read_text())["top1"] == result["zero_shot_top1"]
    assert "| concept |" in (folder / "accuracy.md").read_text()
    assert (tmp_path / "here.safetensors").read_bytes() == Path(result["weights"]).read_bytes()
    with safe_open(tmp_path / "here.safetensors", "pt") as file:
        assert json.loads(file.metadata()["pretraining"])["training.steps"] == 10


def test_the_weights_are_half_precision_and_load_like_any_other(pretrain: Pretrain, tmp_path: Path) -> None:
    result = pretrain()
    stored = load_file(result["weights"])
    assert {str(value.dtype) for value in stored.values()} == {"torch.float16", "torch.int64"}
    backbone = load_backbone(BackboneConfig(name="test-little", weights=result["weights"]))
    for name, value in backbone.model.state_dict().items():
        assert value.dtype == stored[name].to(value.dtype).dtype
        assert (value == stored[name]).all()


def test_a_broken_run_goes_on_and_ends_as_an_unbroken_one(
    pretrain: Pretrain, stop_at: Callable[[int | None], None], caplog: pytest.LogCaptureFixture
) -> None:
    unbroken = pretrain(root="unbroken")
    stop_at(7)
    with pytest.raises(KeyboardInterrupt):
        pretrain(root="broken")
    stop_at(None)
    with caplog.at_level(logging.INFO, "anomalyclip"):
        resumed = pretrain(root="broken")
    assert "resuming after step 4" in caplog.text
    assert Path(resumed["weights"]).read_bytes() == Path(unbroken["weights"]).read_bytes()
    assert points(resumed, "loss") == points(unbroken, "loss")
    assert resumed["zero_shot_top1"] == unbroken["zero_shot_top1"]


def test_a_finished_run_gives_its_result_without_work(
    pretrain: Pretrain, stop_at: Callable[[int | None], None], tmp_path: Path
) -> None:
    first = pretrain()
    stop_at(0)
    assert pretrain("--output", str(tmp_path / "later.safetensors")) == first
    assert (tmp_path / "later.safetensors").read_bytes() == Path(first["weights"]).read_bytes()


def test_logging_more_often_is_the_same_run(pretrain: Pretrain) -> None:
    assert pretrain() == pretrain(training__log_steps=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "training.steps=0"], "training.steps: Input should be greater than 0"),
        (["--set", "training.warmup_steps=90000"], "warmup_steps=90000 must be below steps="),
        (["--set", "augmentation.zom=2"], "unknown setting augmentation.zom; did you mean augmentation.zoom?"),
        (["--set", "augmentation.zoom=[0,1]"], "augmentation.zoom.0: Input should be greater than 0"),
        (["--set", "training.architecture=RN50"], "takes pictures of 224 pixels, the drawn ones have 32"),
        (["--set", "training.architecture=RN-50"], "unknown architecture RN-50; nearest"),
        (["--output", "weights.pt"], "--output weights.pt must end in .safetensors"),
        (["--output", "no/such/w.safetensors"], "--output no/such/w.safetensors: folder no/such does not exist"),
        (["--name", "../other"], "--name '../other' must be letters"),
        (["--config", "nothing.yaml"], "config file nothing.yaml does not exist"),
    ],
)
def test_wrong_use_is_one_clear_line_before_anything_is_written(
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    little, root = ["--set", "training.architecture=test-little"], ["--storage", str(tmp_path / "root")]
    monkeypatch.setattr(sys, "argv", ["pretrain_backbone", *little, *options, *root])
    with pytest.raises(SystemExit) as stopped:
        cli.run(anomalyclip.workflows.pretrain_backbone.main)
    output = capsys.readouterr()
    assert stopped.value.code == 2
    assert not output.out
    errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "root" / "pretraining").exists()


def test_a_name_belongs_to_one_content(pretrain: Pretrain) -> None:
    pretrain("--name", "mine")
    with pytest.raises(UsageError, match=r"run mine exists with other content \(training.steps was 10, now 11\)"):
        pretrain("--name", "mine", training__steps=11)
