"""The videos of a manifest to stored features; what is stored already is left alone."""

from collections.abc import Sequence

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Extract the features of a manifest's videos, or with `--dry-run` only say what there is to do."""
    command = cli.parser(
        "Turn the videos of a manifest into stored features. Run again, it does only what is missing or changed.",
        "python workflows/extract.py videos/manifest.csv --dry-run",
    )
    cli.add_manifest(command)
    command.add_argument("--dry-run", action="store_true", help="say what there is to do and what it takes")
    command.add_argument("--retry", action="store_true", help="try quarantined videos again")
    cli.add_config_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import extraction  # after the checks above: its libraries take seconds to import

    prepared = extraction.prepare(job, arguments.manifest, arguments.retry)
    return extraction.dry_run(job, prepared) if arguments.dry_run else extraction.run(job, prepared)


if __name__ == "__main__":
    cli.run(main)
