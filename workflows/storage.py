"""Housekeeping: contents of the storage root and of this machine's scratch folder, and removal of what is unused."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli
from anomalyclip.errors import UsageError


def main(argv: Sequence[str]) -> cli.Result:
    """List the contents with size and use, or remove what is unused."""
    command = cli.parser(
        "List what the storage root and the scratch folder contain, how big it is and what uses it (list), or remove\n"
        "what no run, no version of a model and no manifest uses (gc).",
        "python workflows/storage.py gc --dry-run",
    )
    command.add_argument("action", choices=("list", "gc"), metavar="{list,gc}", help="what to do")
    command.add_argument("--dry-run", action="store_true", help="with gc: list what would be removed, remove nothing")
    command.add_argument("--manifest", type=Path, action="append", default=[], dest="manifests", metavar="FILE",
                         help="keep the features of its videos, beside those that runs use; repeatable")  # fmt: skip
    command.add_argument("--older-than", type=float, default=7.0, metavar="DAYS",
                         help="keep what was changed since: a job may be using it "
                         "(default 7)")  # fmt: skip
    cli.add_tracking_option(command)
    arguments = command.parse_args(argv)
    if arguments.dry_run and arguments.action == "list":
        raise UsageError("--dry-run is for gc: list removes nothing")
    job = cli.resolve(arguments)

    from anomalyclip.jobs import housekeeping  # after parsing: its libraries take seconds to import

    if arguments.action == "list":
        return housekeeping.show(job, arguments.manifests)
    return housekeeping.collect(job, arguments.manifests, arguments.older_than, arguments.dry_run)


if __name__ == "__main__":
    cli.run(main)
