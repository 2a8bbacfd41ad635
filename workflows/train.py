"""Raw video to a registered model: extract, train, evaluate and register in one resumable command."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalyclip import cli


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Train, evaluate and register a model, going on where an earlier attempt stopped."""
    command = cli.parser(
        "Train, evaluate and register a model from videos with video-level labels.\n"
        "The same command goes on where it was stopped, and gives the result of what is finished.",
        "python workflows/train.py videos/manifest.csv --set training.epochs=20 --name first-try",
    )
    command.add_argument("manifest", nargs="?", type=Path, metavar="MANIFEST",
                         help="CSV or Parquet table of the videos (else a small drawn set)")  # fmt: skip
    cli.add_config_options(command)
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import evaluation, training  # after parsing: their libraries take seconds to import
    from anomalyclip.jobs.common import extract, tracked
    from anomalyclip.tracking.registry import log_model, register_model

    prepared = training.prepare(job, arguments.manifest)
    run = prepared.run
    if (result := run.result()) is not None:
        cli.log.info("run %s is finished; --fresh starts it anew", run.name)
        return result
    with tracked(job, run) as tracking, TemporaryDirectory() as folder:
        training.describe(tracking, job, prepared)
        extracted = extract(job, job.config.extraction, prepared.manifest, prepared.backbone)
        prepared = training.settle(job, prepared, extracted)
        checkpoint = training.train(tracking, job, prepared, extracted)
        bundle = training.build_bundle(job, prepared, extracted, checkpoint, Path(folder))
        model_id = log_model(tracking, bundle)
        metrics = evaluation.evaluate(tracking, job, prepared, extracted, bundle, model_id)
        version = register_model(tracking, model_id, job.config.tracking.model_name, metrics)
        return evaluation.finish(tracking, job, run, metrics, extracted, model_version=version)


if __name__ == "__main__":
    cli.run(main)
