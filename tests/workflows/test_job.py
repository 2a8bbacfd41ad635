"""Jobs as Ray's users submit them: the README's line, retries, a submitter or a head that dies, an end by request."""

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.stages import FITTED
from tests.clusters import Cluster, cluster
from tests.teams import ROOT, SUBMIT, result_of

pytestmark = [pytest.mark.cluster, pytest.mark.accept]
SMALL = [part for setting in FITTED for part in ("--set", setting)]
LONG = [*SMALL, "--set", "training.epochs=200"]


@pytest.fixture(scope="module")
def one_node() -> Iterator[Cluster]:
    with cluster(nodes=1, cpus=4) as started:
        yield started


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


@pytest.fixture
def train(drawn_manifest: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Return `train(id, *options)`: the words that submit a training, tracked in an SQLite file below its root."""

    def line(submission_id: str, *more: str) -> list[str]:
        command = ["workflows/train.py", str(drawn_manifest), "--storage", str(tmp_path / "root"), "--name", "job"]
        return [*SUBMIT, "--submission-id", submission_id, "--", "python", *command, *more]

    return line


def read_result(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "runs/job/result.json").read_text()))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def from_readme() -> str:
    """The line that README prints below `ray start --head`, with its continuation."""
    (line,) = re.findall(r"^ray start --head\n(RAY_AUTH_MODE=.*?)\n```", (ROOT / "README.md").read_text(), re.S | re.M)
    return line


def test_readmes_line_trains_a_version_from_a_fresh_clone_and_returns_it_the_second_time(
    one_node: Cluster, clone: Path, drawn_manifest: Path, tmp_path: Path
) -> None:
    line = from_readme().replace("/data/videos/manifest.csv", shlex.quote(str(drawn_manifest)))
    line = line.replace("/data/anomalyclip", shlex.quote(str(tmp_path / "root")))
    ends = [one_node.shell(line, cwd=clone) for _ in range(2)]
    assert [code for code, _ in ends] == [0, 0], ends[0][1] + ends[1][1]
    first, second = (result_of(said) for _, said in ends)
    (kept,) = (tmp_path / "root/runs").glob("*/result.json")
    assert first == second == json.loads(kept.read_text())
    assert first["model_version"] == "1"
    assert "is finished: its result is used" in ends[1][1]


def test_a_job_goes_on_without_its_submitter_and_is_found_by_its_id(
    one_node: Cluster, clone: Path, train: Callable[..., list[str]], tmp_path: Path
) -> None:
    submitter = one_node.start_ray(*train("alone", *SMALL), cwd=clone)
    assert submitter.stdout is not None
    while "Running entrypoint" not in (said := submitter.stdout.readline()):
        assert said, "the job was not submitted"
    submitter.kill()
    submitter.communicate()

    code, said = one_node.ray("job", "logs", "--follow", "alone")
    assert (code, result_of(said)) == (0, read_result(tmp_path / "root"))
    assert "succeeded" in one_node.ray("job", "status", "alone")[1]
    code, said = one_node.ray(*train("alone", *SMALL), cwd=clone)
    assert code == 1 and "alone already exists" in said
    code, said = one_node.ray(*train("alone-2", *SMALL), cwd=clone)
    assert (code, result_of(said)) == (0, read_result(tmp_path / "root"))


def test_a_job_that_nobody_waits_for_has_its_reason_in_the_last_line(
    one_node: Cluster, clone: Path, train: Callable[..., list[str]]
) -> None:
    line = train("refused", "--set", "training.epoch=2")
    assert one_node.ray(*line[:2], "--no-wait", *line[2:], cwd=clone)[0] == 0
    one_node.ray("job", "logs", "--follow", "refused")
    until(lambda: "failed" in one_node.ray("job", "status", "refused")[1])
    log = one_node.ray("job", "logs", "refused")[1]
    assert "did you mean training.epochs?" in log.strip().splitlines()[-1]
    assert "exit code 2" in one_node.ray("job", "status", "refused")[1]


def test_a_stopped_job_says_so_and_the_next_one_resumes_also_on_another_head(
    one_node: Cluster, clone: Path, train: Callable[..., list[str]], tmp_path: Path
) -> None:
    run, line = tmp_path / "root/runs/job", train("first", *LONG)
    assert one_node.ray(*line[:2], "--no-wait", *line[2:], cwd=clone)[0] == 0
    until(lambda: any(run.glob("checkpoints/*/_COMPLETE")))
    one_node.ray("job", "stop", "first")
    assert one_node.ray("job", "logs", "first")[1].strip().endswith("stopped; the same command resumes from here")
    assert not list(run.glob("lock-*"))
    mlflow_run = (run / "mlflow.json").read_text()

    second = one_node.start_ray(*train("second", *LONG), cwd=clone)
    seen = max(run.glob("checkpoints/*/_COMPLETE"))
    until(lambda: max(run.glob("checkpoints/*/_COMPLETE"), default=seen) > seen)
    one_node.nodes[-1].kill()
    second.kill()
    second.communicate()
    one_node.start_head()
    one_node.wait_for_jobs()
    third = one_node.start_ray(*train("second", *LONG), cwd=clone)
    assert third.stdout is not None
    while "resuming after epoch" not in (said := third.stdout.readline()):
        assert said, "the log ended"
    assert int(said.split()[-1]) >= int(seen.parent.name.removeprefix("epoch-"))
    assert (run / "mlflow.json").read_text() == mlflow_run
    one_node.ray("job", "stop", "second")
    third.communicate(timeout=120)
