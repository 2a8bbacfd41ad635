"""The Dockerfile as hadolint reads it, what it copies, and what it leaves writable. No image is built here."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.infra.programs import INFRA, ROOT, faults

DOCKERFILE = INFRA / "Dockerfile"
TEXT = DOCKERFILE.read_text()
SENT = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}


def test_hadolint_has_nothing_to_object() -> None:
    assert faults("hadolint", DOCKERFILE) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"python:[\w.-]+", "python"),
        (r"USER 10001:10001", "USER root"),
        (r"WORKDIR /app", "WORKDIR app"),
        (r"COPY tuning tuning", "COPY tuning"),
        (r"ENV ANOMALY", "EVN ANOMALY"),
        (r"ARG EXTRAS=", "ARG EXTRAS_PASSWORD="),
    ],
)
def test_hadolint_objects_to_a_broken_copy(right: str, wrong: str, tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text(re.sub(right, wrong, TEXT, count=1))
    assert broken.read_text() != TEXT
    assert faults("hadolint", broken)


def test_all_that_it_copies_exists_and_is_sent_to_the_builder() -> None:
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", TEXT, re.MULTILINE) for name in line.split()}
    assert copied == SENT
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_lock_is_split_into_torch_and_the_rest() -> None:
    patterns = re.findall(r"grep (-v )?-E '(.+?)' constraints.txt", TEXT)
    assert len(patterns) == 2
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    torch = [line for line in lines if re.search(patterns[0][1], line)]
    assert [line.split("==")[0] for line in torch] == ["torch", "torchvision"]
    assert patterns[0][1] == patterns[1][1]


def test_every_extra_is_one_of_the_project() -> None:
    extras = re.search(r'ARG EXTRAS="(.+)"', TEXT)
    assert extras
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) <= set(known)


def test_folders_that_are_written_are_the_ones_that_may_be() -> None:
    folders = dict(re.findall(r"(ANOMALYCLIP_SCRATCH|HOME|MPLCONFIGDIR|RAY_TMPDIR)=(\S+)", TEXT))
    assert len(folders) == 4
    assert {f"/{folder.split('/')[1]}" for folder in folders.values()} == {"/scratch", "/tmp"}
