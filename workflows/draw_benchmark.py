"""Draw the embedded benchmark: simulated surveillance videos with a manifest."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Draw the videos, and on request a picture of all classes and places."""
    command = cli.parser(
        "Draw the embedded benchmark in the place where train.py finds it: 120 training, 28 validation and 50 test\n"
        "videos. Existing videos are kept.",
        "python workflows/draw_benchmark.py --contact-sheet benchmark.png",
    )
    command.add_argument("--contact-sheet", type=Path, metavar="PNG", help="picture of all classes and places to draw")
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.benchmark.footage import contact_sheet  # after the checks above: OpenCV takes a while to import
    from anomalyclip.jobs.sources import drawn_manifest

    if arguments.contact_sheet is not None:
        contact_sheet.save(arguments.contact_sheet)
    manifest = drawn_manifest(job.storage)
    cli.log.info("benchmark: %s", manifest)
    return {"manifest": str(manifest)}


if __name__ == "__main__":
    cli.run(main)
