"""Import features from `.npy` files into the feature store."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Import the features of a manifest's videos, or none, listing all faults."""
    command = cli.parser(
        "Import features that were made elsewhere: one .npy file per video, or NAME__0.npy ... NAME__9.npy for crops.\n"
        "Then train and evaluate on them with --set data.features=NAME, the import name. Features that no\n"
        "text tower fits are trained without texts; the paper's presets need --set model.directions=free.",
        "python workflows/import_features.py ucf/manifest.csv features/ --as openai-vit-b-16 --every 16",
    )
    cli.add_manifest(command)
    command.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="folders with the .npy files")
    command.add_argument(
        "--as", required=True, dest="name", metavar="NAME", help="import name: the model that made them"
    )
    spacing = command.add_mutually_exclusive_group()
    spacing.add_argument("--every", type=_positive, metavar="N", help="frames per feature (default 1)")
    spacing.add_argument("--snippets", type=_positive, metavar="N",
                         help="features per video, spread evenly over its frames")  # fmt: skip
    command.add_argument("--crops", type=_positive, metavar="N",
                         help="crops per frame, one after the other in the rows of a file (default 1)")  # fmt: skip
    command.add_argument("--made-by", default="", metavar="TEXT", help="a note about their origin, stored with them")
    cli.add_config_options(command, preset=False)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.importing.numpy_features import ImportSettings  # after the checks above: takes seconds to import
    from anomalyclip.jobs import feature_import

    tolerance = job.config.data.frame_tolerance
    every = None if arguments.snippets else arguments.every or 1
    settings = ImportSettings(arguments.name, every, arguments.snippets, arguments.crops, arguments.made_by, tolerance)
    prepared = feature_import.prepare(job, arguments.manifest, arguments.folders, settings)
    return feature_import.run(job, prepared)


def _positive(text: str) -> int:
    if not text.isdecimal() or (value := int(text)) < 1:
        raise ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return value


if __name__ == "__main__":
    cli.run(main)
