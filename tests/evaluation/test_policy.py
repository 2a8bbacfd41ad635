"""The policy of a promotion: explicit for every model but that of the drawn benchmark, and checked at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.policy import TEMPLATE, Policy, load_policy, policy_for, write_policy


def manifest(folder: Path) -> Path:
    (folder / "m.csv").write_text("video_id,path,split,labels,anomalies,num_frames\n")
    return folder / "m.csv"


def written(folder: Path, text: str) -> Path:
    (folder / "policy.yaml").write_text(text)
    return folder / "policy.yaml"


def test_the_template_holds_every_threshold_at_its_default() -> None:
    assert load_policy(TEMPLATE) == Policy()


def test_a_model_without_a_policy_is_told_how_to_write_one() -> None:
    with pytest.raises(UsageError, match=r"promote\.py yard --write-policy policy\.yaml.*evaluation\.manifest"):
        policy_for("yard", None)


def test_only_the_benchmarks_models_are_judged_on_drawn_footage(tmp_path: Path) -> None:
    assert policy_for("anomalyclip-benchmark", None).evaluation.manifest == Path("benchmark")
    assert set(policy_for("anomalyclip-benchmark", None).baselines.margins()) == {"zero_shot"}
    policy = written(tmp_path, "evaluation: {manifest: benchmark}")
    assert policy_for("anomalyclip-benchmark", policy).evaluation.manifest == Path("benchmark")
    with pytest.raises(UsageError, match="judges on the drawn benchmark, which is for anomalyclip-benchmark only"):
        policy_for("yard", policy)


def test_a_policy_names_its_manifest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"evaluation\.manifest is not set"):
        policy_for("yard", written(tmp_path, "floors: {auc: 0.7}"))
    with pytest.raises(UsageError, match=r"none\.csv is missing"):
        policy_for("yard", written(tmp_path, "evaluation: {manifest: none.csv}"))
    policy = written(tmp_path, "evaluation: {manifest: m.csv}")
    (tmp_path / "m.csv").write_text("video_id,path\n")
    with pytest.raises(UsageError, match="column 'split' is missing"):
        policy_for("yard", policy)
    manifest(tmp_path)
    assert policy_for("yard", policy).evaluation.manifest == tmp_path / "m.csv"


def test_a_written_policy_waits_for_its_manifest_and_replaces_nothing(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    write_policy(policy)
    with pytest.raises(UsageError, match=r"evaluation\.manifest is not set"):
        policy_for("yard", policy)
    with pytest.raises(UsageError, match="exists already"):
        write_policy(policy)
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        write_policy(tmp_path / "nowhere" / "policy.yaml")


def test_a_policy_is_checked_without_the_libraries_that_take_seconds() -> None:
    heavy = "('torch', 'ray', 'mlflow', 'sklearn', 'matplotlib')"
    code = f"import sys, anomalyclip.evaluation.policy; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
