"""Import of a checkpoint that the authors of AnomalyCLIP released, as a registered model."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli
from anomalyclip.presets import BENCHMARK


def main(argv: Sequence[str]) -> cli.Result:
    """Convert the authors' files and register the model; a second run returns the finished result."""
    command = cli.parser(
        "Turn a released checkpoint, its normality prototype and its labels into a registered model.\n"
        "No code in the files is run. If the checkpoint lacks CLIP's image tower, name the imported features that it\n"
        "needs with --set data.features=NAME.",
        "python workflows/import_checkpoint.py last.ckpt --centroid ncentroid.pt --labels ucf_labels.csv "
        "--preset ucf-crime",
    )
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the Lightning checkpoint")
    command.add_argument("--centroid", type=Path, required=True, metavar="FILE", help="its ncentroid.pt")
    command.add_argument("--labels", type=Path, required=True, metavar="FILE",
                         help="its class names by index: a CSV of id,name or one name per line")  # fmt: skip
    cli.add_config_options(command)
    command.set_defaults(preset=BENCHMARK)  # the authors' method: the preset `default` adds to it
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments, features_needed=False)

    from anomalyclip.jobs import checkpoint_import  # after the checks above: its libraries take seconds to import

    files = checkpoint_import.Files(arguments.checkpoint, arguments.centroid, arguments.labels)
    prepared = checkpoint_import.prepare(job, files)
    return checkpoint_import.run(job, prepared)


if __name__ == "__main__":
    cli.run(main)
