"""Draw the embedded benchmark: simulated surveillance videos with a manifest."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Draw the videos, and a picture of all classes and places if that is asked for."""
    command = cli.parser(
        "Draw the embedded benchmark where train.py looks for it: 120 training, 28 validation and 50 test videos.\n"
        "What is there already is kept.",
        "python workflows/draw_benchmark.py --contact-sheet benchmark.png",
    )
    command.add_argument("--contact-sheet", type=Path, metavar="PNG", help="also draw a picture of what there is")
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.benchmark.footage import contact_sheet  # after the checks above: OpenCV takes its time
    from anomalyclip.jobs.sources import drawn_manifest

    if arguments.contact_sheet is not None:
        contact_sheet.save(arguments.contact_sheet)
    manifest = drawn_manifest(job.storage)
    cli.log.info("benchmark: %s", manifest)
    return {"manifest": str(manifest)}


if __name__ == "__main__":
    cli.run(main)
