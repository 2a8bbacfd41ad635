"""Raw video to a registered model: extract, train, evaluate and register in one resumable command."""

from collections.abc import Sequence
from typing import Any

from anomalyclip import cli


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Train, evaluate and register a model, going on where an earlier attempt stopped."""
    command = cli.parser(
        "Train, evaluate and register a model from videos with video-level labels.\n"
        "The same command goes on where it was stopped, and gives the result of what is finished.",
        "python workflows/train.py videos/manifest.csv --set training.epochs=20 --name first-try",
    )
    cli.add_optional_manifest(command)
    cli.add_config_options(command)
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs.pipelines import train_and_register  # after parsing: its libraries take seconds to import

    return train_and_register(job, arguments.manifest)


if __name__ == "__main__":
    cli.run(main)
