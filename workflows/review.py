"""Verdicts on events, as a report saves them, to a new manifest for the next training."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Add to a manifest what a person has decided about events of other footage."""
    command = cli.parser(
        "Write a new manifest: the rows of MANIFEST, and what the verdicts add. False alarms become cuts that are\n"
        "certain to be normal, true events become labelled videos; unsure adds nothing. Cuts lie in a folder `cuts`\n"
        "beside it, who decided and when in a file that ends in .reviews.jsonl. Then train on the new manifest.",
        "python workflows/review.py verdicts.json videos/manifest.csv --output videos/round2.csv",
        storage=False,
    )
    command.add_argument("verdicts", type=Path, metavar="VERDICTS", help="verdicts.json, saved by a report")
    command.add_argument("manifest", type=Path, metavar="MANIFEST", help="CSV or Parquet table of videos; not changed")
    command.add_argument("--output", type=Path, metavar="FILE",
                         help="the new .csv or .parquet file (else MANIFEST's name with `-reviewed`)")  # fmt: skip
    arguments = command.parse_args(argv)

    from anomalyclip.jobs import review  # after the checks above: its libraries take a second to import

    prepared = review.prepare(arguments.verdicts, arguments.manifest, arguments.output)
    return review.run(prepared)


if __name__ == "__main__":
    cli.run(main)
