"""The command line: options, log, exit codes and last line, the same for every command."""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from traceback import format_exception
from types import FrameType, TracebackType
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from anomalyclip import progress, runs
from anomalyclip.data.manifest import check_manifest_head
from anomalyclip.errors import JobError, Stopped, UsageError
from anomalyclip.features.imported import with_import_settings
from anomalyclip.full_disk import disk_errors
from anomalyclip.job import Job
from anomalyclip.presets import BENCHMARK, DEMONSTRATION, PRESETS, names_benchmark, preset
from anomalyclip.redaction import redact, redacted, without_login
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage, default_root, scratch, store_errors

log = logging.getLogger("anomalyclip")

Result = Any
"""Result of a command: a dataclass or a mapping of JSON-like values."""
DRAWN = (
    "DEMONSTRATION on drawn footage: its figures say nothing about real video. Give your own as MANIFEST "
    "(README, Your own videos)"
)
_closing_lines: list[str] = []
"""Logged once more after a successful command."""
_roots: list[Storage] = []
"""The command's storage root, once it is known."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def parser(description: str, example: str, storage: bool = True) -> argparse.ArgumentParser:
    """Return a parser with a command's description, one worked example, and the storage option if it uses one."""
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


def add_manifest(command: argparse.ArgumentParser, optional: bool = False) -> None:
    """Add the manifest; if it is `optional`, the command runs on the drawn benchmark without one."""
    otherwise = f"; without one, as with `{BENCHMARK}`, a demonstration on drawn footage" if optional else ""
    command.add_argument("manifest", nargs="?" if optional else None, type=Path, metavar="MANIFEST",
                         help=f"CSV or Parquet table of videos, or `{BENCHMARK}`{otherwise}")  # fmt: skip


def add_config_options(command: argparse.ArgumentParser, preset: bool = True) -> None:
    """Add the options that build the configuration."""
    if preset:
        command.add_argument("--preset", help=f"one of: {', '.join(PRESETS)}")
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML settings on top of the preset")
    add_setting_option(command)


def add_setting_option(command: argparse.ArgumentParser) -> None:
    """Add the option for single settings."""
    command.add_argument("--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE",
                         help="one setting on top of both; repeatable")  # fmt: skip


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add the options of commands that keep a run and track it in MLflow."""
    command.add_argument("--name", help="name of the run (else derived from data, features, config and seed)")
    add_fresh_option(command)
    add_tracking_option(command)


def add_fresh_option(command: argparse.ArgumentParser) -> None:
    """Add the option that starts a run again."""
    command.add_argument(
        "--fresh", action="store_true", help="remove what exists of the run and start from the beginning"
    )


def add_retry_option(command: argparse.ArgumentParser) -> None:
    """Add the option of commands that extract features."""
    command.add_argument("--retry", action="store_true", help="try quarantined videos again")


def add_classes_option(command: argparse.ArgumentParser) -> None:
    """Add the option for classes that nobody trained."""
    command.add_argument("--classes", metavar="NAMES", help="classes that nobody trained, by their names, with commas "
                         "between them; apart from the trained ones")  # fmt: skip


def add_threshold_options(command: argparse.ArgumentParser) -> None:
    """Add the options of commands that find events: at most one of them may be given."""
    thresholds = command.add_mutually_exclusive_group()
    thresholds.add_argument("--false-alarms-per-hour", type=float, metavar="X",
                            help="the threshold that has so few on normal video (else the model's own)")  # fmt: skip
    thresholds.add_argument("--threshold", type=float, metavar="P", help="score at which an event starts")


def add_tracking_option(command: argparse.ArgumentParser) -> None:
    """Add the option for the place of MLflow."""
    command.add_argument("--tracking-uri", metavar="URI", help="MLflow server or database (else "
                         "MLFLOW_TRACKING_URI, else SQLite in the storage root)")  # fmt: skip


def resolve(arguments: argparse.Namespace, features_needed: bool = True) -> Job:
    """Return the shared options of parsed arguments, validated; raises UsageError.

    A manifest that is missing or lacks columns is refused here, before any library that takes seconds to import.
    Imported features that the configuration names must exist, unless they are not `features_needed` yet.
    """
    options = vars(arguments)
    on_benchmark = "manifest" in options and names_benchmark(options["manifest"])
    if options.get("manifest") and not on_benchmark:
        check_manifest_head(options["manifest"])
    storage = Storage(options.get("storage") or default_root())
    storage.check_usable()
    _roots[:] = [storage]
    scratch()
    base = preset(options.get("preset") or "default")
    base = base.model_copy(update={"tracking": DEMONSTRATION}) if on_benchmark else base
    config = build_config(base, options.get("config"), options.get("overrides", ()))
    config = with_import_settings(config, storage) if features_needed else config
    tracking = options.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or _sqlite(storage)
    tracking = _with_login_apart(tracking)
    if on_benchmark:
        log.warning(DRAWN)
        _closing_lines.append(DRAWN)
    log.info("storage root: %s", storage.root)
    return Job(storage, config, options.get("name"), options.get("fresh", False), tracking, options.get("retry", False))


def _with_login_apart(tracking_uri: str) -> str:
    """Return the address of a server without its login, which goes where MLflow looks for one besides.

    MLflow prints the addresses of runs, and hands its own to the programs that it starts.
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https") or parts.username is None or parts.password is None:
        return tracking_uri
    bare = without_login(tracking_uri)
    login = {"USERNAME": unquote(parts.username), "PASSWORD": unquote(parts.password)}
    os.environ.update({f"MLFLOW_TRACKING_{name}": value for name, value in login.items()})
    os.environ["MLFLOW_TRACKING_URI"] = bare
    return bare


def _sqlite(storage: Storage) -> str:
    if not storage.is_local:
        return ""
    return f"sqlite:///{storage.path('mlflow/mlflow.db')}"


def run(main: Callable[[Sequence[str]], Result]) -> NoReturn:
    """Run a command's `main(arguments)` and exit.

    Standard output gets one line, the JSON of the result; everything else goes to standard error.
    Exit code 2 for wrong use, 1 for failed work, each with one clear message; 130 after Ctrl-C, 143 after SIGTERM.
    """
    # before torch is imported: its idle threads would keep the cores busy that others work on
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    logging.basicConfig(level=logging.WARNING, handlers=[progress.handler()])
    log.setLevel(logging.INFO)
    sys.excepthook = _print_traceback
    signal.signal(signal.SIGTERM, _stop)
    try:
        with progress.watch(), disk_errors(_roots), store_errors():
            result = main(sys.argv[1:])
    except UsageError as error:
        print(redact(f"error: {error}"), file=sys.stderr)
        sys.exit(2)
    except JobError as error:
        print(redact(f"failed: {error}"), file=sys.stderr)
        _print(error.result)
        sys.exit(1)
    except KeyboardInterrupt as error:
        print("stopped; the same command resumes from here", file=sys.stderr)
        sys.exit(128 + (signal.SIGTERM if isinstance(error, Stopped) else signal.SIGINT))
    while _closing_lines:
        log.warning(_closing_lines.pop())
    _print(result)
    sys.exit(0)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut off what the first has begun to close
    raise Stopped


def _print_traceback(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an error that nobody expected, as Python does, without logins in addresses."""
    sys.stderr.write(redact("".join(format_exception(kind, error, traceback))))


def _print(result: Result) -> None:
    if result is not None:
        print(json.dumps(redacted(as_json(result))), flush=True)


def as_json(result: Result) -> Mapping[str, Any]:
    """Return a command's result as JSON-like values."""
    return runs.as_json(result) if is_dataclass(result) and not isinstance(result, type) else result
