"""Extraction of the videos of a manifest to stored features; those stored already are skipped."""

from collections.abc import Sequence

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Extract the features of a manifest's videos, or with `--dry-run` only report the remaining work."""
    command = cli.parser(
        "Extract the features of a manifest's videos. A second run extracts only what is missing or changed.",
        "python workflows/extract.py videos/manifest.csv --dry-run",
    )
    cli.add_manifest(command)
    command.add_argument("--dry-run", action="store_true", help="only report the remaining work and its time")
    cli.add_retry_option(command)
    cli.add_config_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import extraction  # after the checks above: its libraries take seconds to import

    prepared = extraction.prepare(job, arguments.manifest)
    return extraction.dry_run(job, prepared) if arguments.dry_run else extraction.run(job, prepared)


if __name__ == "__main__":
    cli.run(main)
