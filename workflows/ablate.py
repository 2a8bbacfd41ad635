"""The paper's ablation tables on a manifest: every row trained with several seeds, in one resumable command."""

from collections.abc import Sequence

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Train the rows of the paper's Tables 3, 4 and 5, and write those tables."""
    command = cli.parser(
        "Train every row of the paper's Tables 3, 4 and 5 with several seeds, and write those tables.\n"
        "The same command resumes an ablation that was stopped; with more seeds it trains only what is missing.",
        "python workflows/ablate.py videos/manifest.csv --seeds 3",
    )
    cli.add_manifest(command, optional=True)
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings per row (default 3)")
    cli.add_config_options(command)
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import training
    from anomalyclip.jobs.lifecycle import stage, tracked
    from anomalyclip.tuning import ablation_job  # after parsing: their libraries take seconds to import

    prepared = ablation_job.prepare(job, arguments.manifest, arguments.seeds)
    if (result := ablation_job.finished(job, prepared, arguments.seeds)) is not None:
        cli.log.info("ablation %s is finished; --fresh starts it again", prepared.run.name)
        return result
    with tracked(job, prepared.run) as tracking:
        training.describe(tracking, job, prepared)
        extracted = training.obtain(job, prepared)
        prepared = training.settle(job, prepared, extracted)
        study = ablation_job.study(job, prepared, extracted)
        rows = ablation_job.points(job, arguments.seeds)
        with stage("train", f"{len(rows)} rows with {arguments.seeds} seeds each, as many at a time as CPUs"):
            outcomes = ablation_job.run(tracking, prepared, study, rows)
        return ablation_job.tabulate(tracking, job, prepared, study, rows, outcomes)


if __name__ == "__main__":
    cli.run(main)
