"""A checkpoint that the authors of AnomalyCLIP released, to a registered model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalyclip import cli


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Convert the authors' files and register the model; run again, the finished result is returned."""
    command = cli.parser(
        "Turn a released checkpoint, its normality prototype and its labels into a registered model.\n"
        "Nothing in the files is run. Where the checkpoint lacks CLIP's image tower, say whose features it takes with\n"
        "--set data.features=NAME.",
        "python workflows/import_checkpoint.py last.ckpt --centroid ncentroid.pt --labels ucf_labels.csv "
        "--preset ucf-crime",
    )
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the Lightning checkpoint")
    command.add_argument("--centroid", type=Path, required=True, metavar="FILE", help="its ncentroid.pt")
    command.add_argument("--labels", type=Path, required=True, metavar="FILE",
                         help="its class names by index: a CSV of id,name or a name a line")  # fmt: skip
    cli.add_config_options(command)
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments, features_needed=False)

    from anomalyclip.jobs.importing import Source, import_checkpoint  # after parsing: its libraries take seconds

    return import_checkpoint(job, Source(arguments.checkpoint, arguments.centroid, arguments.labels))


if __name__ == "__main__":
    cli.run(main)
