"""The authors' checkpoint to a registered model, end to end, and everything that is refused."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import ray
import torch

from anomalyclip import cli
from anomalyclip.errors import UsageError
from anomalyclip.features.imported import ImportedFeatures, save_import
from anomalyclip.importing.released_towers import image_tower_identity
from anomalyclip.methods import load_bundle
from anomalyclip.storage import Storage
from anomalyclip.tracking.resolve import MlflowName
from anomalyclip.workflows import import_checkpoint as command
from tests.commands import command as command_of
from tests.released import (
    TINY,
    Files,
    add_tiny_architecture,
    golden,
    golden_classes,
    golden_state,
    write_files,
)

Result = dict[str, Any]
import_checkpoint = command_of("import_checkpoint")
Import = Callable[..., Result]
SETTINGS = ("--preset", "shanghaitech", "--set", f"backbone.name={TINY}")  # sizes of another dataset: shapes tell them


class RunsCode:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch trace",)


def arguments(files: Files, root: Path, *more: str) -> list[str]:
    checkpoint, centroid, labels = map(str, files)
    return [checkpoint, "--centroid", centroid, "--labels", labels, "--storage", str(root), *SETTINGS, *more]


@pytest.fixture(scope="module", autouse=True)
def _no_ray(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Ray must not be started, and open_clip knows the golden towers."""
    add_tiny_architecture(tmp_path_factory.mktemp("architecture"))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("Ray was started")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", refuse)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def again(files: Files, root: Path) -> Import:
    return lambda *more: import_checkpoint(arguments(files, root, *more))


@pytest.fixture(scope="module")
def result(again: Import) -> Result:
    return again()


@pytest.mark.parametrize("length", [100, 512, 1300])
def test_the_registered_model_scores_as_the_originals(result: Result, length: int) -> None:
    case = golden("08_eval_d1concat")
    mlflow.set_tracking_uri(result["tracking_uri"])
    model = mlflow.pyfunc.load_model(f"models:/anomalyclip/{result['model_version']}")
    (row,) = model.predict(pd.DataFrame({"features": [case[f"T{length}_features"].numpy()]})).to_dict("records")
    np.testing.assert_allclose(row["score"], case[f"T{length}_scores"], atol=1e-5)
    probabilities = np.stack([row[f"p_{name}"] for name in golden_classes()], axis=1)
    np.testing.assert_allclose(probabilities, case[f"T{length}_class_probs"], atol=1e-5)
    name = MlflowName(f"models:/anomalyclip/{result['model_version']}", result["tracking_uri"])
    found = load_bundle(name.bundle()[0])[0]
    logits = found.score_video(case[f"T{length}_features"]).logits
    torch.testing.assert_close(logits, case[f"T{length}_similarity"], rtol=0, atol=1e-5)


def test_the_model_knows_whose_features_it_understands(result: Result) -> None:
    tower = {n.removeprefix("visual."): v for n, v in golden("02b_tiny_clip_visual").items() if "visual." in n}
    identity = image_tower_identity(TINY, 64, tower)[1]
    _, card = load_bundle(Path(result["paths"]["model"]))
    assert result["backbone_identity"] == card.backbone_identity == identity
    assert (card.features, card.backbone.name, card.sampling_rate) == (None, TINY, 1)
    assert (card.classes, card.classes[card.normal_index]) == (tuple(golden_classes()), "Normal")


def test_its_run_in_mlflow_says_where_it_came_from(result: Result, files: Files) -> None:
    client = mlflow.MlflowClient(result["tracking_uri"])
    run = client.get_run(result["run_id"])
    tags = run.data.tags
    assert run.info.status == "FINISHED"
    assert (tags["source"], tags["protocol"], tags["dataset"]) == ("last.ckpt", "imported", "ucf-crime")
    assert (tags["backbone"], tags["backbone_identity"]) == (TINY, result["backbone_identity"])
    assert tags["source_sha256"] == result["source_sha256"]
    assert len(result["source_sha256"]) == 64
    assert (run.data.params["model.depth"], run.data.params["model.embedding_dim"]) == ("1", "64")
    assert client.get_model_version("anomalyclip", result["model_version"]).run_id == result["run_id"]


def test_a_finished_import_answers_with_its_result(
    result: Result, again: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyclip.jobs.checkpoint_import.tracked", None)  # nothing may be begun
    assert again() == result


def test_fresh_imports_anew(result: Result, again: Import) -> None:
    later = again("--fresh")
    assert later["run"] == result["run"]
    assert later["run_id"] != result["run_id"]
    assert int(later["model_version"]) > int(result["model_version"])


def test_an_asserted_name_stands_for_a_missing_image_tower(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_files(tmp_path, golden_state(image_tower=False))
    found = import_checkpoint(arguments(files, root, "--set", "data.features=openai-vit-b-16"))
    assert (found["features"], found["backbone_identity"]) == ("openai-vit-b-16", None)
    assert "imported features openai-vit-b-16: nothing proves" in caplog.text
    _, card = load_bundle(Path(found["paths"]["model"]))
    assert (card.features, card.backbone_identity) == ("openai-vit-b-16", None)


def test_an_asserted_name_is_recorded_beside_the_identity(again: Import, result: Result) -> None:
    found = again("--set", "data.features=openai-vit-b-16")
    assert (found["features"], found["backbone_identity"]) == ("openai-vit-b-16", result["backbone_identity"])


def test_features_that_were_imported_before_tell_their_rate_and_crops(again: Import, root: Path) -> None:
    save_import(Storage(str(root)), ImportedFeatures("vit-every-16", 64, crops=10, sampling_rate=16, made_by=""))
    _, card = load_bundle(Path(again("--set", "data.features=vit-every-16")["paths"]["model"]))
    assert (card.features, card.sampling_rate, card.crops) == ("vit-every-16", 16, 10)


Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Run an import that must be refused and leave nothing; returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(files: Files, *more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["import_checkpoint", *arguments(files, tmp_path / "root", *more)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.run(command.main)
        output = capsys.readouterr()
        assert stopped.value.code == 2
        assert not output.out
        (line,) = [line for line in output.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in output.err
        assert not (tmp_path / "root").exists()
        assert not (tmp_path / "trace").exists()
        return line

    return run


def test_a_missing_file(refused: Refused, tmp_path: Path) -> None:
    for number in range(3):
        files = write_files(tmp_path)
        files[number].unlink()
        assert str(files[number]) in refused(files)


def test_a_damaged_checkpoint_or_centroid(refused: Refused, tmp_path: Path) -> None:
    for number in range(2):
        files = write_files(tmp_path)
        files[number].write_bytes(files[number].read_bytes()[:-100])
        assert f"{files[number]} is damaged" in refused(files)


def test_what_is_no_checkpoint_of_the_authors(refused: Refused, tmp_path: Path) -> None:
    line = refused(write_files(tmp_path, {"model.weight": torch.zeros(3)}))
    assert "last.ckpt: it is not a checkpoint of AnomalyCLIP" in line


def test_code_in_a_pickle(refused: Refused, tmp_path: Path) -> None:
    assert "would run posix.system: refused" in refused(write_files(tmp_path, loss=RunsCode()))
    assert "would run posix.system: refused" in refused(write_files(tmp_path, centroid=RunsCode()))


def test_a_centroid_that_is_no_tensor(refused: Refused, tmp_path: Path) -> None:
    assert "ncentroid.pt holds a list, not one tensor" in refused(write_files(tmp_path, centroid=[1.0]))


def test_faults_of_all_files_in_one_message(refused: Refused, tmp_path: Path) -> None:
    state = golden_state()
    del state["net.temporal_model.projection.bias"], state["net.image_encoder.proj"]
    state["net.more"] = torch.zeros(2)
    labels = "\n".join(golden_classes()[:-1])
    line = refused(write_files(tmp_path, state, torch.zeros(9), labels))
    for fault in (
        "last.ckpt with ncentroid.pt and the 13 labels of ucf_labels.csv: ",
        "temporal_model.projection.bias (64,) is missing",
        "more (2,) is unexpected",
        "prompt_learner.ctx is (14, 8, 64), not (13, 8, 64)",
        "the centroid is (9,), not (64,)",
        "proj (64, 64) is missing",
    ):
        assert fault in line


def test_labels_without_normal_or_with_a_doubled_name(refused: Refused, tmp_path: Path) -> None:
    line = refused(write_files(tmp_path, labels="Abuse\nArson\nAbuse\n"))
    assert "ucf_labels.csv: doubled: Abuse; no class is Normal" in line


def test_a_checkpoint_without_an_image_tower_and_without_a_name_for_its_features(
    refused: Refused, tmp_path: Path
) -> None:
    line = refused(write_files(tmp_path, golden_state(image_tower=False)))
    assert "name the imported features that it needs with --set data.features=NAME" in line


def test_an_architecture_that_the_image_tower_does_not_fit(refused: Refused, tmp_path: Path) -> None:
    line = refused(write_files(tmp_path), "--set", "backbone.name=clip-tiny")
    assert "QuickGELU, which architecture clip-tiny does not compute" in line


def test_imported_features_of_another_size(again: Import, root: Path) -> None:
    save_import(Storage(str(root)), ImportedFeatures("i3d", 1024, crops=1, sampling_rate=16, made_by=""))
    with pytest.raises(UsageError, match="features i3d have 1024 numbers, the checkpoint's 64"):
        again("--set", "data.features=i3d")


def test_heads_that_do_not_divide_the_embedding(refused: Refused, tmp_path: Path) -> None:
    line = refused(write_files(tmp_path), "--set", "model.heads=7", "--set", "model.embedding_dim=7")
    assert "last.ckpt: model: heads=7 must divide embedding_dim=64" in line


def test_a_tracking_server_that_does_not_answer(refused: Refused, tmp_path: Path) -> None:
    line = refused(write_files(tmp_path), "--tracking-uri", "http://127.0.0.1:9")
    assert "MLflow at http://127.0.0.1:9: nothing answers there" in line
