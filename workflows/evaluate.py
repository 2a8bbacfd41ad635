"""A trained model on the test part of a manifest: figures with intervals, plots and the table of predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalyclip import cli


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Score the test videos of a manifest with a trained model."""
    command = cli.parser(
        "Evaluate a trained model on the test rows of a manifest.",
        "python workflows/evaluate.py models:/anomalyclip/1 videos/manifest.csv",
    )
    command.add_argument("model", metavar="MODEL", help="models:/NAME/VERSION, a run's id, or a folder with a model")
    command.add_argument("manifest", type=Path, metavar="MANIFEST", help="CSV or Parquet table of the videos")
    cli.add_config_options(command, preset=False)
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import evaluation  # after parsing: its libraries take seconds to import
    from anomalyclip.jobs.common import extract, tracked

    prepared = evaluation.prepare(job, arguments.model, arguments.manifest)
    run = prepared.run
    if (result := run.result()) is not None:
        cli.log.info("evaluation %s is finished; --fresh starts it anew", run.name)
        return result
    settings = evaluation.extraction_settings(job, prepared.card)
    with tracked(job, run) as tracking:
        tracking.log_tags({"model": arguments.model, "backbone": prepared.backbone.name})
        extracted = extract(job, settings, prepared.manifest, prepared.backbone)
        metrics = evaluation.evaluate(tracking, job, prepared, extracted, prepared.bundle, prepared.model_id)
        return evaluation.finish(tracking, job, run, metrics, extracted, model=arguments.model)


if __name__ == "__main__":
    cli.run(main)
