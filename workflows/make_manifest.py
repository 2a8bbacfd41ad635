"""A dataset on disk to its manifest, the table that every other command takes."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli
from anomalyclip.jobs.manifests import ADAPTERS, make_manifest


def main(argv: Sequence[str]) -> cli.Result:
    """Write the manifest of a dataset, or refuse its tree with everything that is wrong with it."""
    command = cli.parser(
        "Write the manifest of a dataset that lies below a folder, as videos or as folders of frames: who trains, who\n"
        "tests, which classes, and where the anomalies are. Everything that is wrong with it is told at once, and\n"
        "nothing is written then. docs/datasets.md says how each dataset must lie.",
        "python workflows/make_manifest.py ucf-crime /data/ucf --frame-tolerance 1",
        storage=False,
    )
    command.add_argument("dataset", choices=ADAPTERS, metavar="DATASET",
                         help=f"one of: {', '.join(ADAPTERS)} (your own clips, a sub-folder a class)")  # fmt: skip
    command.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds it, however deep")
    command.add_argument("--output", type=Path, metavar="FILE", help="a .csv or .parquet file, with absolute paths "
                         "(else ROOT/manifest.csv, with paths relative to it)")  # fmt: skip
    command.add_argument("--frame-tolerance", type=int, metavar="N", help="frames by which a video may differ from its "
                         "list (default 0)")  # fmt: skip
    command.add_argument("--seed", type=int, metavar="N", help="divides folder and ped2 into training and test videos")
    command.add_argument("--no-check", dest="check", action="store_false", default=None, help="do not look into the "
                         "videos: quicker on slow disks, but cut ones go unnoticed")  # fmt: skip
    options = vars(command.parse_args(argv))
    dataset, root, output = (options.pop(name) for name in ("dataset", "root", "output"))
    return make_manifest(dataset, root, output, {name: value for name, value in options.items() if value is not None})


if __name__ == "__main__":
    cli.run(main)
