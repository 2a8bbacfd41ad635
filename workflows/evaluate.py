"""Evaluation of a model on test videos: figures with intervals, plots and the table of predictions."""

from collections.abc import Sequence

from anomalyclip import cli
from anomalyclip.data.new_names import asked_names
from anomalyclip.errors import UsageError
from anomalyclip.tracking.resolve import ZERO_SHOT, resolve


def main(argv: Sequence[str]) -> cli.Result:
    """Score the test videos of a manifest with a trained model and its baselines, or with zero-shot CLIP."""
    command = cli.parser(
        "Evaluate a model on the test rows of a manifest, beside the baselines that its training has kept.\n"
        "`zero-shot` instead of a model is CLIP without training: it compares frames with the text of each class.",
        "python workflows/evaluate.py models:/anomalyclip/1 videos/manifest.csv\n"
        "  python workflows/evaluate.py zero-shot videos/manifest.csv",
    )
    command.add_argument("model", metavar="MODEL",
                         help="models:/NAME/VERSION, a run (id or name), a folder, or zero-shot")  # fmt: skip
    cli.add_manifest(command)
    cli.add_classes_option(command)
    cli.add_config_options(command)
    cli.add_run_options(command)
    cli.add_retry_option(command)
    arguments = command.parse_args(argv)
    names = asked_names(arguments.classes)
    if names and arguments.model == ZERO_SHOT:
        raise UsageError(f"--classes is for trained models: for {ZERO_SHOT} give --set data.classes=[A,B]")
    job = cli.resolve(arguments)

    if arguments.model != ZERO_SHOT:
        if arguments.preset not in (None, "default"):
            raise UsageError(f"--preset is for {ZERO_SHOT} only: a trained model brings its own settings")
        resolve(arguments.model, job.storage, job.tracking_uri)

    from anomalyclip.jobs import evaluation  # after the checks above: its libraries take seconds to import

    prepared = evaluation.prepare(job, arguments.model, arguments.manifest, names)
    return evaluation.run(job, prepared)


if __name__ == "__main__":
    cli.run(main)
