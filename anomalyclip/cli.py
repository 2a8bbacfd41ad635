"""What every command shares: its options, its log, its exit codes and its last line."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from anomalyclip.config import RunConfig, build_config
from anomalyclip.errors import JobError, UsageError
from anomalyclip.features.imported import with_imported
from anomalyclip.presets import PRESETS, preset
from anomalyclip.storage import Storage, default_root, scratch

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Job:
    """The shared options of a command, resolved."""

    storage: Storage
    config: RunConfig
    name: str | None
    fresh: bool
    tracking_uri: str


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def parser(description: str, example: str, storage: bool = True) -> argparse.ArgumentParser:
    """Return a parser with a command's description, one worked example, and the storage option where it uses one."""
    command = _Parser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if storage:
        command.add_argument("--storage", metavar="URI", help="root of all outputs (else ANOMALYCLIP_STORAGE, "
                             "else ~/anomalyclip)")  # fmt: skip
    return command


def add_optional_manifest(command: argparse.ArgumentParser) -> None:
    """Add the manifest of a command that takes the drawn benchmark, with its preset, where none is given."""
    command.add_argument("manifest", nargs="?", type=Path, metavar="MANIFEST",
                         help="CSV or Parquet table of videos (else the drawn benchmark, with its preset)")  # fmt: skip


def add_config_options(command: argparse.ArgumentParser, preset: bool = True) -> None:
    """Add the options that build the configuration."""
    if preset:
        command.add_argument("--preset", help=f"one of: {', '.join(PRESETS)}")
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML settings on top of the preset")
    command.add_argument("--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE",
                         help="one setting on top of both; repeatable")  # fmt: skip


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add the options of commands that keep a run and track it in MLflow."""
    command.add_argument("--name", help="name of the run (else derived from data, features, config and seed)")
    command.add_argument("--fresh", action="store_true", help="start anew what is there under that name")
    add_tracking_option(command)


def add_tracking_option(command: argparse.ArgumentParser) -> None:
    """Add the option that says where MLflow is."""
    command.add_argument("--tracking-uri", metavar="URI", help="MLflow server or database (else "
                         "MLFLOW_TRACKING_URI, else SQLite in the storage root)")  # fmt: skip


def resolve(arguments: argparse.Namespace, features_needed: bool = True) -> Job:
    """Return the shared options of parsed arguments, validated; raises UsageError.

    Imported features that the configuration names must be there, unless they are not `features_needed` yet.
    """
    options = vars(arguments)
    storage = Storage(options["storage"] or default_root())
    storage.check_usable()
    scratch()
    usual = "default" if options.get("manifest", True) else "benchmark"
    base = preset(options.get("preset") or usual)
    config = build_config(base, options.get("config"), options.get("overrides", ()))
    config = with_imported(config, storage) if features_needed else config
    tracking = options.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or _sqlite(storage)
    log.info("storage root: %s", storage.root)
    return Job(storage, config, options.get("name"), options.get("fresh", False), tracking)


def _sqlite(storage: Storage) -> str:
    if not storage.is_local:
        return ""
    return f"sqlite:///{storage.path('mlflow/mlflow.db')}"


def run(main: Callable[[Sequence[str]], Mapping[str, Any] | None]) -> NoReturn:
    """Run a command's `main(arguments)` and exit.

    Standard output gets one line, the JSON of what `main` returns; everything else goes to standard error.
    Exit code 2 for wrong use, 1 for failed work, each with one clear message.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    try:
        result = main(sys.argv[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except JobError as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    if result is not None:
        print(json.dumps(result), flush=True)
    sys.exit(0)
