"""Comparison of models by their predictions tables alone: which is better, how surely, and on which videos."""

from collections.abc import Sequence

from anomalyclip import cli
from anomalyclip.tracking.resolve import resolve


def main(argv: Sequence[str]) -> cli.Result:
    """Compare models with the first one: how they differ, how surely, and on which videos."""
    command = cli.parser(
        "Compare models that were scored on the same videos: each with the first.\n"
        "Nothing is scored again: the predictions of each model's training, or of an evaluation, are used.",
        "python workflows/compare.py models:/anomalyclip@champion models:/anomalyclip/3",
    )
    command.add_argument("models", nargs="+", metavar="RUN_OR_MODEL",
                         help="models:/NAME/VERSION, a run's or an evaluation's id, name or folder, or a file of "
                         "predictions; the first is the reference")  # fmt: skip
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)
    for name in arguments.models:
        resolve(name, job.storage, job.tracking_uri)

    from anomalyclip.jobs import comparison  # after the checks above: its libraries take seconds to import

    prepared = comparison.prepare(job, arguments.models)
    return comparison.run(job, prepared)


if __name__ == "__main__":
    cli.run(main)
