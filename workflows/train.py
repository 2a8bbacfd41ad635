"""Raw video to a registered model: extract, train, evaluate and register in one resumable command."""

from collections.abc import Sequence

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Train, evaluate and register a model, resuming an earlier attempt."""
    command = cli.parser(
        "Train, evaluate and register a model from videos with video-level labels.\n"
        "The same command resumes an interrupted run, and returns the result of a finished one.",
        "python workflows/train.py videos/manifest.csv --set training.epochs=20 --name first-try",
    )
    cli.add_manifest(command, optional=True)
    cli.add_config_options(command)
    cli.add_run_options(command)
    cli.add_retry_option(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import training  # after the checks above: its libraries take seconds to import

    prepared = training.prepare(job, arguments.manifest)
    return training.run(job, prepared)


if __name__ == "__main__":
    cli.run(main)
