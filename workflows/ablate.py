"""The paper's ablation tables on a manifest: every row trained with several seeds, in one resumable command."""

from collections.abc import Sequence

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Train the rows of the paper's Tables 3, 4 and 5, and write those tables."""
    command = cli.parser(
        "Train every row of the paper's Tables 3, 4 and 5 with several seeds, and write those tables.\n"
        "The same command goes on where it was stopped; with more seeds it trains only what is new.",
        "python workflows/ablate.py videos/manifest.csv --seeds 3",
    )
    cli.add_manifest(command, optional=True)
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each row (default 3)")
    cli.add_config_options(command)
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import training
    from anomalyclip.jobs.lifecycle import stage, tracked
    from anomalyclip.tuning import ablation_stages  # after parsing: their libraries take seconds to import

    prepared = ablation_stages.prepare(job, arguments.manifest, arguments.seeds)
    if (result := ablation_stages.finished(job, prepared, arguments.seeds)) is not None:
        cli.log.info("ablation %s is finished; --fresh starts it anew", prepared.run.name)
        return result
    with tracked(job, prepared.run) as tracking:
        training.describe(tracking, job, prepared)
        extracted = training.obtain(job, prepared)
        prepared = training.settle(job, prepared, extracted)
        trials = ablation_stages.plan(job, prepared, extracted, arguments.seeds)
        with stage("train", f"{len(trials)} rows with {arguments.seeds} seeds each, as many at a time as CPUs"):
            ablation_stages.train(tracking, job, prepared, extracted, trials)
        return ablation_stages.tabulate(tracking, job, prepared, trials)


if __name__ == "__main__":
    cli.run(main)
