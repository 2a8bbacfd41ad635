"""Wrong use of every command gives one clear line and exit code 2, before Ray starts or anything is written."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

import anomalyclip.tuning.search
import anomalyclip.workflows.ablate
import anomalyclip.workflows.evaluate
import anomalyclip.workflows.extract
import anomalyclip.workflows.serve
import anomalyclip.workflows.train
from anomalyclip import cli

MAINS = {
    "train": anomalyclip.workflows.train.main,
    "extract": anomalyclip.workflows.extract.main,
    "evaluate": anomalyclip.workflows.evaluate.main,
    "ablate": anomalyclip.workflows.ablate.main,
    "search": anomalyclip.tuning.search.main,
    "serve": anomalyclip.workflows.serve.main,
}
Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Run a command that must be refused; returns its one line."""

    def no_ray(*_: Any, **__: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", no_ray)

    def run(command: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [command, *arguments, "--storage", str(tmp_path / "root")])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.run(MAINS[command])
        output = capsys.readouterr()
        assert stopped.value.code == 2
        assert not output.out
        lines = [line for line in output.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert "Traceback" not in output.err
        assert not (tmp_path / "root" / "runs").exists()
        assert not (tmp_path / "root" / "evaluations").exists()
        assert not (tmp_path / "root" / "ablations").exists()
        assert not (tmp_path / "root" / "searches").exists()
        return lines[0]

    return run


def part_of(manifest: Path, name: str, keep: Callable[[str], bool]) -> Path:
    """A manifest beside another one with the header and the rows kept."""
    header, *rows = manifest.read_text().splitlines()
    path = manifest.with_name(f"{name}.csv")
    path.write_text("\n".join([header, *filter(keep, rows)]) + "\n")
    return path


@pytest.mark.parametrize("command", ["train", "extract", "search"])
def test_a_missing_manifest(refused: Refused, command: str) -> None:
    assert "nowhere.csv" in refused(command, "nowhere.csv")


def test_a_missing_model(refused: Refused, drawn_manifest: Path) -> None:
    assert "no model or run nowhere" in refused("evaluate", "nowhere", str(drawn_manifest))


@pytest.mark.parametrize("command", ["train", "extract"])
def test_a_misspelt_setting(refused: Refused, drawn_manifest: Path, command: str) -> None:
    line = refused(command, str(drawn_manifest), "--set", "traning.epochs=3")
    assert "did you mean training.epochs?" in line


def test_an_unknown_option(refused: Refused, drawn_manifest: Path) -> None:
    assert "--epochs" in refused("train", str(drawn_manifest), "--epochs", "3")


def test_workers_that_do_not_divide_the_batch(refused: Refused, drawn_manifest: Path) -> None:
    line = refused("train", str(drawn_manifest), "--set", "training.workers=3", "--set", "training.batch_size=8")
    assert "workers=3" in line
    line = refused("train", str(drawn_manifest), "--set", "training.workers=4", "--set", "training.batch_size=64")
    assert "4 workers do not divide a batch of 6" in line


def test_an_empty_training_part(refused: Refused, drawn_manifest: Path) -> None:
    only_test = part_of(drawn_manifest, "only-test", lambda row: ",train," not in row)
    assert "0 abnormal and 0 normal" in refused("train", str(only_test))


def test_weights_that_do_not_fit(refused: Refused, drawn_manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "garbage.pt").write_bytes(b"garbage")
    line = refused("train", str(drawn_manifest), "--set", f"backbone.weights={tmp_path / 'garbage.pt'}")
    assert "garbage.pt" in line


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--space", "gird"], "unknown space gird; give one of grid, wide, or a YAML file"),
        (["--space", "nowhere.yaml"], "space file nowhere.yaml does not exist"),
        (["--preset", "ucf-crime"], "training.protocol=paper has none: --set training.protocol=clean"),
        (["--workers", "3"], "3 workers do not divide a batch of"),
        (["--workers", "3", "--set", "training.batch_size=64"], "workers=3 must divide half the batch"),
        (["--workers", "4", "--set", "training.batch_size=64"], "4 workers do not divide a batch of"),
        (["--resume"], "there is nothing to resume"),
        (["--resume", "--name", "mine"], "searches/mine was never started"),
        (["--resume", "--fresh"], "--resume continues what is there, --fresh removes it"),
        (["--set", "model.context_text=a video of"], "fixes the length of the context"),
    ],
)
def test_a_search_that_cannot_be(refused: Refused, drawn_manifest: Path, arguments: list[str], message: str) -> None:
    assert message in refused("search", str(drawn_manifest), *arguments)


@pytest.fixture
def trained_folder(tmp_path: Path) -> Path:
    """A model of clip-tiny, written without training."""
    import torch

    from anomalyclip.config import BackboneConfig, RunConfig
    from anomalyclip.features.backbone import load_backbone
    from anomalyclip.model.bundle import ModelCard, save_bundle
    from anomalyclip.training.checkpoints import learnt_state
    from anomalyclip.training.setup import build_model

    config, backbone = RunConfig(), load_backbone(BackboneConfig())
    model = build_model(["Explosion", "Fighting", "Normal"], backbone, torch.zeros(64), config)
    card = ModelCard(
        classes=model.classes, normal_index=2, model=config.model, backbone=config.backbone,
        backbone_identity=backbone.identity, sampling_rate=1,
    )  # fmt: skip
    save_bundle(tmp_path / "bundle", learnt_state(model), model.directions().detach(), card)
    return tmp_path / "bundle"


def test_features_of_another_backbone(refused: Refused, drawn_manifest: Path, trained_folder: Path) -> None:
    settings: Sequence[str] = ("--set", "backbone.name=RN50", "--set", "backbone.weights=random")
    line = refused("evaluate", str(trained_folder), str(drawn_manifest), *settings)
    assert "other features than the model was trained on" in line


def test_a_manifest_without_test_videos(refused: Refused, drawn_manifest: Path, trained_folder: Path) -> None:
    only_train = part_of(drawn_manifest, "only-train", lambda row: ",test," not in row)
    assert "no rows of split test" in refused("evaluate", str(trained_folder), str(only_train))
    assert "no rows of split test" in refused("ablate", str(only_train))


def test_an_ablation_of_nothing_or_of_a_variant(refused: Refused, drawn_manifest: Path) -> None:
    assert "--seeds 0" in refused("ablate", str(drawn_manifest), "--seeds", "0")
    line = refused("ablate", str(drawn_manifest), "--set", "model.temporal=mlp")
    assert "model.temporal is what rows of the tables change" in line


def test_a_preset_for_a_trained_model(refused: Refused, drawn_manifest: Path, trained_folder: Path) -> None:
    line = refused("evaluate", str(trained_folder), str(drawn_manifest), "--preset", "ucf-crime")
    assert "a trained model brings its own settings" in line


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "86401"])
def test_a_time_between_looks_at_an_alias_that_is_none_is_refused(refused: Refused, seconds: str) -> None:
    said = refused("serve", "models:/anomalyclip@champion", "--reload", seconds)
    assert said == f"error: --reload {float(seconds):g}: give 0 to 86400 seconds"
