"""Make the manifest of a dataset on disk, the table that the other commands read."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli
from anomalyclip.jobs.manifests import ADAPTERS, make_manifest


def main(argv: Sequence[str]) -> cli.Result:
    """Write the manifest of a dataset, or list all faults of its folder."""
    command = cli.parser(
        "Write the manifest of a dataset in a folder, of video files or folders of frames: its training and\n"
        "test videos, their classes, and when the anomalies happen. If there are faults, all are listed and nothing\n"
        "is written. docs/datasets.md describes the layout of each dataset.",
        "python workflows/make_manifest.py ucf-crime /data/ucf --frame-tolerance 1",
        storage=False,
    )
    command.add_argument("dataset", choices=ADAPTERS, metavar="DATASET",
                         help=f"one of: {', '.join(ADAPTERS)} (your own clips, one sub-folder per class)")  # fmt: skip
    command.add_argument("root", type=Path, metavar="ROOT", help="a folder above its videos")
    command.add_argument("--output", type=Path, metavar="FILE", help="a .csv or .parquet file, with absolute paths "
                         "(else ROOT/manifest.csv, with paths relative to it)")  # fmt: skip
    command.add_argument("--frame-tolerance", type=int, metavar="N", help="how many frames a video may differ from its "
                         "list (default 0)")  # fmt: skip
    command.add_argument("--seed", type=int, metavar="N", help="seed of the split of folder and ped2 into training and "
                         "test videos")  # fmt: skip
    command.add_argument(
        "--skip-bad",
        action="store_true",
        default=None,
        help="folder: leave out videos that cannot be opened, instead of refusing the folder",
    )
    command.add_argument(
        "--allow-missing",
        action="store_true",
        default=None,
        help="a part of an official dataset: leave out the listed videos that are not there",
    )
    command.add_argument("--no-check", dest="check", action="store_false", default=None, help="do not open the videos: "
                         "quicker on slow disks, but damaged ones are not noticed")  # fmt: skip
    options = vars(command.parse_args(argv))
    dataset, root, output = (options.pop(name) for name in ("dataset", "root", "output"))
    return make_manifest(dataset, root, output, {name: value for name, value in options.items() if value is not None})


if __name__ == "__main__":
    cli.run(main)
