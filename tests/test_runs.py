from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anomalyclip.config import ModelConfig, RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.runs import RunFolder, find_run, open_run, result_settings
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage

NEEDS = {"fingerprint": "f", "objects": ["h"]}


@dataclass(frozen=True)
class Figures:
    """A result."""

    auc: float | None = None


CONTENT = {"manifest": "abc", "training.seed": 1, "data.classes": ["a", "b"]}


def opened(storage: Storage, name: str | None = None, fresh: bool = False, **changes: Any) -> RunFolder:
    return open_run(storage, "runs", name, "videos", {**CONTENT, **changes}, fresh)


def test_a_run_without_a_name_is_named_by_its_content(storage: Storage, tmp_path: Path) -> None:
    run = opened(storage)
    assert run.name.startswith("videos-")
    assert run.key == f"runs/{run.name}"
    assert opened(Storage(str(tmp_path / "other"))).name == run.name
    assert opened(storage, manifest="other").name != run.name


def test_the_same_content_goes_on_in_the_same_folder(storage: Storage) -> None:
    opened(storage, "first try").finish(Figures(0.5))
    assert opened(storage, "first try").result(Figures) == Figures(0.5)


def test_an_unfinished_run_has_no_result(storage: Storage) -> None:
    assert opened(storage).result(Figures) is None


def test_other_content_under_a_name_is_refused_by_what_differs(storage: Storage) -> None:
    opened(storage, "mine").finish(Figures())
    with pytest.raises(UsageError, match=r"run mine exists with other content \(manifest was abc, now def\)"):
        opened(storage, "mine", manifest="def")
    assert opened(storage, "mine").result(Figures) == Figures()


def test_fresh_starts_anew_even_with_other_content(storage: Storage) -> None:
    opened(storage, "mine").finish(Figures())
    storage.write("runs/mine/checkpoints/x", b"")
    run = opened(storage, "mine", fresh=True, manifest="new")
    assert (run.result(Figures), storage.exists("runs/mine/checkpoints")) == (None, False)
    opened(storage, "mine", manifest="new")


def test_a_result_of_another_command_is_refused(storage: Storage) -> None:
    storage.write_json("runs/mine/result.json", {"other": 1})
    with pytest.raises(UsageError, match="not a result of this command"):
        opened(storage, "mine").result(Figures)


def test_finding_a_run_writes_nothing(storage: Storage) -> None:
    run = find_run(storage, "runs", "mine", "videos", CONTENT)
    assert not storage.exists("runs")
    run.start()
    assert storage.read_json("runs/mine/run.json") == CONTENT


@pytest.mark.parametrize("name", ["..", "../other", "/etc", "a/b", "a\\b", ".hidden", " ", "a\n"])
def test_a_name_that_leaves_the_folder_is_refused(storage: Storage, name: str) -> None:
    storage.write("precious", b"")
    with pytest.raises(UsageError, match="--name"):
        opened(storage, name, fresh=True)
    assert storage.exists("precious")


def test_a_run_goes_on_in_its_mlflow_run_and_only_there(storage: Storage) -> None:
    run = opened(storage, "mine")
    assert run.mlflow_run("sqlite:///a") is None
    run.keep_mlflow_run("sqlite:///a", "id")
    assert opened(storage, "mine").mlflow_run("sqlite:///a") == "id"
    with pytest.raises(UsageError, match=r"run mine was started at sqlite:///a, not http://b; .*--tracking-uri"):
        run.mlflow_run("http://b")


def test_a_run_goes_on_with_its_own_features_only(storage: Storage) -> None:
    storage.write_json("runs/mine/features.json", {"digest": "abc"})  # left by an attempt that died just then
    opened(storage, "mine").keep_features("abc", NEEDS)
    opened(storage, "mine").keep_features("abc", NEEDS)
    with pytest.raises(UsageError, match=r"run mine was started on other features.*--fresh"):
        opened(storage, "mine").keep_features("def", NEEDS)
    assert storage.read_json("runs/mine/features.json") == {"digest": "abc", **NEEDS}
    opened(storage, "mine", fresh=True).keep_features("def", NEEDS)


@pytest.mark.parametrize(
    "override",
    [
        "training.workers=2",
        "training.cpus_per_worker=0.5",
        "training.max_failures=0",
        "extraction.workers=3",
        "extraction.batch_size=8",
        "extraction.decode_timeout=5",
        "cache.max_gigabytes=1",
        "tracking.experiment=other",
        "backbone.offline=true",
    ],
)
def test_resources_and_places_do_not_change_a_result(override: str) -> None:
    assert result_settings(build_config(RunConfig(), None, [override])) == result_settings(RunConfig())


@pytest.mark.parametrize(
    "override",
    [
        "training.seed=2",
        "training.precision=bfloat16",
        "training.protocol=paper",
        "extraction.sampling_rate=2",
        "extraction.precision=float32",
        "extraction.crops=5",
        "model.k=2",
        "loss.smooth=0",
        "data.classes=[a]",
        "data.frame_tolerance=1",
    ],
)
def test_what_changes_a_result_changes_the_name(override: str) -> None:
    assert result_settings(build_config(RunConfig(), None, [override])) != result_settings(RunConfig())


def test_settings_survive_their_file(storage: Storage) -> None:
    content = result_settings(build_config(RunConfig(), None, ["data.classes=[a, b]", "training.learning_rate=1e-5"]))
    assert open_run(storage, "runs", "mine", "x", content, False) == open_run(
        storage, "runs", "mine", "x", content, False
    )


def test_runs_are_named_as_before_there_was_a_choice_of_validations() -> None:
    assert "training.validate_every" not in result_settings(RunConfig())
    assert (
        result_settings(build_config(RunConfig(), None, ["training.validate_every=5"]))["training.validate_every"] == 5
    )


def test_runs_of_the_method_are_named_as_before_it_had_competitors() -> None:
    assert "model.method" not in result_settings(RunConfig())
    competitor = RunConfig(model=ModelConfig(method="sultani"))
    assert result_settings(competitor)["model.method"] == "sultani"


def test_runs_are_named_as_before_a_training_could_leave_classes_out() -> None:
    settings = ["data.base_classes=[a]", "data.novel_classes=[b]"]
    assert result_settings(build_config(RunConfig(), None, settings)) == result_settings(RunConfig())
    assert "training.classes_seen" not in result_settings(RunConfig())
    seen = result_settings(build_config(RunConfig(), None, [*settings, "training.classes_seen=base"]))
    assert seen["training.classes_seen"] == "base"
    assert (seen["data.base_classes"], seen["data.novel_classes"]) == (["a"], ["b"])
