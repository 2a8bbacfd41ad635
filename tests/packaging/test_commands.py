"""The console command: every file that a user may run is one of its commands."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import anomalyclip.__main__
from anomalyclip.__main__ import commands

ROOT = Path(__file__).parent.parent.parent


def test_every_file_that_a_user_runs_is_a_command_of_its_name() -> None:
    found = {name: file.resolve() for name, file in commands().items()}
    workflows = {file.stem: file for file in (ROOT / "workflows").glob("[!_]*.py")}
    assert found == workflows | {"search": ROOT / "tuning" / "search.py"}


def test_help_gives_every_command_with_the_first_line_of_its_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["anomalyclip"])
    anomalyclip.__main__.main()
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in commands())
    assert "  Raw video to a registered model" in shown


@pytest.mark.parametrize("name", ["ablate", "demo", "evaluate", "extract", "score", "search", "train"])
def test_every_command_that_extracts_may_retry_videos_in_quarantine(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = commands()[name]
    with pytest.raises(SystemExit):
        import_module(f"anomalyclip.{file.parent.name}.{name}").main(["--help"])
    assert "--retry" in capsys.readouterr().out


def test_an_unknown_command_is_wrong_use_and_told_the_known_ones() -> None:
    done = subprocess.run([sys.executable, "-m", "anomalyclip", "trian"], text=True, capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: anomalyclip trian: no such command; the commands are ablate, ")
