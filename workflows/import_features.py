"""Features that others made, as `.npy` files, to stored features."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Import the features of a manifest's videos, or refuse them all with everything that is wrong."""
    command = cli.parser(
        "Put features that others made, one .npy file a video or NAME__0.npy ... NAME__9.npy, in the feature store.\n"
        "Then --set data.features=NAME trains and evaluates on them; add --set model.directions=free where they are\n"
        "not CLIP's.",
        "python workflows/import_features.py ucf/manifest.csv features/ --as openai-vit-b-16 --every 16",
    )
    cli.add_manifest(command)
    command.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="where the .npy files are")
    command.add_argument("--as", required=True, dest="name", metavar="NAME", help="what made them: asserted, and kept")
    command.add_argument("--every", type=_positive, default=1, metavar="N",
                         help="frames that a feature stands for (default 1)")  # fmt: skip
    command.add_argument("--crops", type=_positive, metavar="N",
                         help="crops of a frame that follow each other in the rows of a file (default 1)")  # fmt: skip
    command.add_argument("--made-by", default="", metavar="TEXT", help="your words about their origin, kept with them")
    cli.add_config_options(command, preset=False)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.importing.numpy_features import ImportSettings  # after the checks above: takes seconds to import
    from anomalyclip.jobs import feature_import

    tolerance = job.config.data.frame_tolerance
    settings = ImportSettings(arguments.name, arguments.every, arguments.crops, arguments.made_by, tolerance)
    prepared = feature_import.prepare(job, arguments.manifest, arguments.folders, settings)
    return feature_import.run(job, prepared)


def _positive(text: str) -> int:
    if not text.isdecimal() or (value := int(text)) < 1:
        raise ArgumentTypeError(f"{text} is no whole number from 1 on")
    return value


if __name__ == "__main__":
    cli.run(main)
