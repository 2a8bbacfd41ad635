"""The page on deployment: each command is one that exists, and says whether it was run."""

import re

import pytest

from tests.infra.commands_of import check_command
from tests.infra.programs import ROOT

PAGE = (ROOT / "docs" / "deployment.md").read_text()
BLOCKS = re.findall(r"([^\n]+)\n\n```sh\n(.*?)```", PAGE, re.DOTALL)
COMMAND = r"(?:^|\s)(anomalyclip (?:extract|train|search|promote|serve|storage)\b[^#&\n]*)"
OURS = [line for _, block in BLOCKS for line in re.findall(COMMAND, block.replace("\\\n", ""))]


def test_every_block_says_whether_it_was_run() -> None:
    assert len(BLOCKS) == PAGE.count("```sh") > 8
    assert [said for said, _ in BLOCKS if not re.match(r"(Run here|Not run here)\b", said)] == []


def test_our_commands_have_the_options_that_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(OURS) >= 5
    for line in OURS:
        check_command(line, monkeypatch)


def test_every_file_of_infra_that_is_named_exists() -> None:
    named = set(re.findall(r"(?<![\w/])infra/[\w./-]*\w", PAGE))
    assert [path for path in named if not (ROOT / path).exists() and not path.startswith("infra/secrets")] == []
