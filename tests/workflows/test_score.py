"""`workflows/score.py` as a user types it: what it prints, how it ends, and what it does not import."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.registered import write_bundle

RunJob = Callable[..., tuple[int, dict[str, Any] | None, str]]


def test_a_clip_is_scored_without_ray_and_mlflow(
    run_job: RunJob, draw_video: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clip = write_bundle(tmp_path / "model", 0), draw_video(tmp_path / "gate.mp4", num_frames=40)
    (tmp_path / "text.mp4").write_text("no video")
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    arguments = [str(model), "--threshold", "0.01", str(clip), str(tmp_path / "text.mp4"), "--no-report"]
    code, result, errors = run_job("score", *arguments, "--output", str(tmp_path / "out"))
    assert code == 1 and result is not None
    assert (result["videos"], result["failed"]) == (2, 1)
    assert (tmp_path / "out" / "events.csv").is_file() and not (tmp_path / "out" / "report").exists()
    imported = {line.rpartition("|")[2].strip() for line in errors.splitlines() if line.startswith("import time:")}
    assert "torch" in imported and not {"ray", "mlflow", "sklearn", "matplotlib", "optuna"} & imported
    lines = [line for line in errors.splitlines() if not line.startswith("import time:")]
    assert any(line.split()[:2] == ["gate", "0:00:01.6"] for line in lines)
    assert lines[-1] == "failed: 1 of 2 videos could not be read"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--threshold", "0.5", "--false-alarms-per-hour", "1"], "not allowed with argument"),
        (["--export", "word"], "argument --export: invalid choice: 'word'"),
        (["--features", "i3d"], "no features were imported as i3d"),
        (["--classes", "dog,fire,Dog"], "error: --classes Dog: it is given twice; leave it out"),
    ],
)
def test_wrong_options_are_refused_at_once(run_job: RunJob, options: list[str], message: str) -> None:
    code, result, errors = run_job("score", "models:/anything/1", "clip.mp4", *options)
    assert (code, result) == (2, None)
    assert message in errors.splitlines()[-1]
