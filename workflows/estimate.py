"""What an extraction needs on a cluster: GPU hours, cores, space, requests and cost, and where it stops scaling."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli
from anomalyclip.data.manifest import check_manifest_head


def main(argv: Sequence[str]) -> cli.Result:
    """Estimate the extraction of a manifest's videos, or of so many hours of footage, on so many GPUs."""
    command = cli.parser(
        "Estimate the extraction of the videos of MANIFEST, or of --hours of footage, on a cluster. Rates not given\n"
        "are measured here, on a video of MANIFEST: on a machine like the cluster's they are the cluster's.",
        "python workflows/estimate.py videos/manifest.csv --gpus 8 --price 2.5",
        storage=False,
    )
    command.add_argument("manifest", nargs="?", type=Path, metavar="MANIFEST", help="CSV or Parquet table of videos")
    command.add_argument("--hours", type=float, help="of footage, instead of a manifest")
    command.add_argument("--fps", type=float, default=25.0, help="of that footage (25)")
    command.add_argument("--minutes", type=float, default=10.0, help="of one of its videos (10)")
    command.add_argument("--gpus", type=int, default=1, metavar="N", help="number of GPUs (1); powers of two below too")
    command.add_argument("--cores", type=int, metavar="N", help="CPU cores per GPU (else as many as feed it)")
    command.add_argument("--encode", type=float, metavar="RATE", help="frames that a GPU encodes per second")
    command.add_argument("--decode", type=float, metavar="RATE", help="frames that a core decodes per second")
    command.add_argument("--price", type=float, help="of a GPU hour, with its cores")
    cli.add_config_options(command, preset=False)
    arguments = command.parse_args(argv)
    if arguments.manifest:
        check_manifest_head(arguments.manifest)

    from anomalyclip.jobs import sizing  # after the checks above: its libraries take seconds to import

    return sizing.run(sizing.prepare(arguments))


if __name__ == "__main__":
    cli.run(main)
