"""The commands as functions of their arguments that return what they print."""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from anomalyclip import cli
from anomalyclip.__main__ import commands

Command = Callable[[Sequence[str]], dict[str, Any]]


def command(name: str) -> Command:
    """Return the command of a name."""

    def run(arguments: Sequence[str]) -> dict[str, Any]:
        main = import_module(f"anomalyclip.{commands()[name].parent.name}.{name}").main
        return dict(json.loads(json.dumps(cli.as_json(main(arguments)))))

    return run


(
    ablate, compare, demo, estimate, evaluate, extract, import_features, make_manifest, review, score, search, storage,
    train,
) = map(
    command,
    (
        "ablate", "compare", "demo", "estimate", "evaluate", "extract",
        "import_features", "make_manifest", "review", "score", "search", "storage", "train",
    ),
)  # fmt: skip
