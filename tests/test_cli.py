import errno
import importlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from anomalyclip import cli
from anomalyclip.errors import JobError, UsageError
from anomalyclip.job import Job

WORKFLOWS = sorted(path.stem for path in (Path(__file__).parent.parent / "workflows").glob("[!_]*.py"))
Main = Callable[[Sequence[str]], Mapping[str, Any] | None]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("ANOMALYCLIP_STORAGE", str(tmp_path / "default"))
    level = cli.log.level
    yield
    cli.log.setLevel(level)


def run(main: Main, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str, str]:
    """Return exit code, standard output and standard error of a command."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--option"])
    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    return (ended.value.code, *capsys.readouterr())


def raising(error: BaseException) -> Main:
    def main(arguments: Sequence[str]) -> None:
        raise error

    return main


@pytest.mark.parametrize(
    "error, code, line",
    [
        (UsageError("no such file"), 2, "error: no such file\n"),
        (JobError("lost its workers"), 1, "failed: lost its workers\n"),
        (KeyboardInterrupt(), 130, "stopped; the same command resumes from here\n"),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(raising(error), capsys, monkeypatch) == (code, "", line)


def test_a_wrong_option_is_one_line_that_points_to_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(arguments: Sequence[str]) -> None:
        cli.parser("Does a job.", "job").parse_args(arguments)

    code, output, errors = run(main, capsys, monkeypatch)
    assert (code, output) == (2, "")
    assert re.fullmatch(r"error: unrecognized arguments: --option \(see .* --help\)\n", errors)


def test_standard_output_is_the_result_as_json_and_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(arguments: Sequence[str]) -> dict[str, Any]:
        cli.log.info("working")
        return {"arguments": list(arguments), "auc": None}

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # as in a process of its own
    code, output, errors = run(main, capsys, monkeypatch)
    assert (code, json.loads(output), output.count("\n")) == (0, {"arguments": ["--option"], "auc": None}, 1)
    assert errors.endswith(" working\n")


def test_a_command_without_a_result_prints_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(lambda arguments: None, capsys, monkeypatch) == (0, "", "")


def job(*arguments: str) -> Job:
    command = cli.parser("Does a job.", "job")
    cli.add_config_options(command)
    cli.add_run_options(command)
    return cli.resolve(command.parse_args(arguments))


def test_options_become_a_storage_and_a_config(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("training: {seed: 3}")
    given = job(
        "--storage", str(tmp_path / "s"), "--preset", "xd-violence", "--config", str(tmp_path / "c.yaml"),
        "--set", "training.epochs=9", "--set", "model.k=2", "--name", "n", "--fresh",
    )  # fmt: skip
    training = given.config.training
    assert (training.learning_rate, training.seed, training.epochs, given.config.model.k) == (5e-6, 3, 9, 2)
    assert (given.storage.root, given.name, given.fresh) == (str(tmp_path / "s"), "n", True)


def test_tracking_goes_where_it_is_told_else_below_the_storage_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert job().tracking_uri == f"sqlite:///{tmp_path}/default/mlflow/mlflow.db"
    assert job("--storage", f"file://{tmp_path}/x").tracking_uri == f"sqlite:///{tmp_path}/x/mlflow/mlflow.db"
    assert job("--storage", "mock:///bucket").tracking_uri == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert job().tracking_uri == "http://server"
    assert job("--tracking-uri", "http://other").tracking_uri == "http://other"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--preset", "ucf"], "unknown preset ucf"),
        (["--set", "training.epoch=1"], "did you mean training.epochs"),
        (["--storage", "foo://x"], "storage root foo://x cannot be used"),
        (["--sto", "x"], "unrecognized arguments: --sto x"),
    ],
)
def test_wrong_use_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        job(*arguments)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_command_shows_few_options_and_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"workflows.{name}").main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    options = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", shown, re.MULTILINE)) - {"--help"}
    assert 1 <= len(options) <= (12 if name == "score" else 10)  # what comes out of a scoring is chosen by options
    assert re.search(rf"^example:\n  python workflows/{name}\.py \S", shown, re.MULTILINE)


def test_the_login_of_a_tracking_server_goes_where_mlflow_looks_for_it_and_not_into_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("USERNAME", "PASSWORD", "URI"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")  # so that what `resolve` sets is undone
    assert job("--tracking-uri", "http://me:p%40ss@server:5000/x").tracking_uri == "http://server:5000/x"
    login = [os.environ[f"MLFLOW_TRACKING_{name}"] for name in ("USERNAME", "PASSWORD", "URI")]
    assert login == ["me", "p@ss", "http://server:5000/x"]
    database = "postgresql://me:pass@server/db"
    assert job("--tracking-uri", database).tracking_uri == database


@pytest.mark.parametrize("error", [UsageError, JobError])
def test_a_failure_and_a_result_show_no_password(
    error: type[Exception], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "postgresql://me:hunter2@server/db"
    assert run(raising(error(f"no {address}")), capsys, monkeypatch)[2].endswith(": no postgresql://***@server/db\n")
    assert run(lambda _: {"tracking_uri": address}, capsys, monkeypatch)[1] == (
        '{"tracking_uri": "postgresql://***@server/db"}\n'
    )


def test_an_error_that_nobody_expected_shows_no_password() -> None:
    program = (
        "from anomalyclip import cli\ndef main(_): raise RuntimeError('at http://me:hunter2@server')\ncli.run(main)"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "RuntimeError: at http://***@server")
    assert "hunter2@" not in done.stderr


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")
    code, output, errors = run(raising(full), capsys, monkeypatch)
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("failed: no space left in /data/x, on ")
