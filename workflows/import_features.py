"""Features that others made, as `.npy` files, to stored features."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalyclip import cli
from anomalyclip.errors import UsageError, first_names


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Import the features of a manifest's videos, or refuse them all with everything that is wrong."""
    command = cli.parser(
        "Put features that others made, one .npy file a video or NAME__0.npy ... NAME__9.npy, in the feature store.\n"
        "Then --set data.features=NAME trains and evaluates on them; add --set model.directions=free where they are\n"
        "not CLIP's.",
        "python workflows/import_features.py ucf/manifest.csv features/ --as openai-vit-b-16 --every 16",
    )
    command.add_argument("manifest", type=Path, metavar="MANIFEST", help="CSV or Parquet table of the videos")
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

    from anomalyclip.data.manifest import load_manifest  # after parsing: its libraries take seconds to import
    from anomalyclip.importing.numpy_features import ImportSettings, import_features

    if missing := [str(folder) for folder in arguments.folders if not folder.is_dir()]:
        raise UsageError(f"no such folder: {', '.join(missing)}")
    tolerance = job.config.data.frame_tolerance
    manifest = load_manifest(arguments.manifest, tolerance)
    settings = ImportSettings(arguments.name, arguments.every, arguments.crops, arguments.made_by, tolerance)
    report = import_features(manifest, arguments.folders, settings, job.storage)
    cli.log.warning("features %s are as you assert: nothing in them proves what made them", report.name)
    if left := report.without_features:
        cli.log.warning("%d videos have no features yet: %s", len(left), first_names(left))
    cli.log.info("%d videos have features %s: %s", report.videos, report.name, report.features)
    return asdict(report)


def _positive(text: str) -> int:
    if not text.isdecimal() or (value := int(text)) < 1:
        raise ArgumentTypeError(f"{text} is no whole number from 1 on")
    return value


if __name__ == "__main__":
    cli.run(main)
