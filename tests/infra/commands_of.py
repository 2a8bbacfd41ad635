"""Commands written in `infra/`, parsed by their own parsers."""

import argparse
import shlex
from importlib import import_module
from typing import Any

import pytest

from anomalyclip.__main__ import commands
from anomalyclip.presets import preset
from anomalyclip.settings import build_config


class _ParsedError(Exception):
    """Arguments are understood; the command is not to run."""


def check_command(line: str, patch: pytest.MonkeyPatch) -> None:
    """Check that `anomalyclip NAME ...` names a command with options it has; raises UsageError or KeyError."""
    program, name, *arguments = shlex.split(line)
    assert program.rpartition("/")[2] == "anomalyclip", line
    main = import_module(f"anomalyclip.{commands()[name].parent.name}.{name}").main
    for method in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, method)

        def only_parse(self: argparse.ArgumentParser, words: list[str], parse: Any = parse) -> None:
            options = vars(parse(self, words))
            build_config(preset(options.get("preset") or "default"), None, options.get("overrides", ()))
            raise _ParsedError

        patch.setattr(argparse.ArgumentParser, method, only_parse)
    with pytest.raises(_ParsedError):
        main(arguments)
    patch.undo()
