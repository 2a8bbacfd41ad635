"""The paper's tables on a manifest: every row trained with several seeds, in one resumable command."""

from collections.abc import Sequence

from anomalyclip import cli
from anomalyclip.presets import BENCHMARK


def main(argv: Sequence[str]) -> cli.Result:
    """Train the rows of the paper's Tables 3, 4 and 5, or its competitors, and write those tables."""
    command = cli.parser(
        "Train every row of the paper's Tables 3, 4 and 5 with several seeds, and write those tables; or train the\n"
        "method and its competitors (Tables 1 and 2).\n"
        "The same command resumes an ablation that was stopped; with more seeds it trains only what is missing.",
        "python workflows/ablate.py videos/manifest.csv --seeds 3",
    )
    cli.add_manifest(command, optional=True)
    command.add_argument(
        "--table",
        choices=("ablation", "comparison"),
        default="ablation",
        help="ablation: Tables 3, 4 and 5 (default); comparison: competitors on the same features",
    )
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings per row (default 3)")
    cli.add_config_options(command)
    command.set_defaults(preset=BENCHMARK)  # the paper's method, with sizes for few videos
    cli.add_run_options(command)
    cli.add_retry_option(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.tuning import ablation_job  # after the checks above: its libraries take seconds to import

    report = ablation_job.REPORTS[arguments.table]
    prepared = ablation_job.prepare(job, arguments.manifest, arguments.seeds, report)
    return ablation_job.run(job, prepared, arguments.seeds, report)


if __name__ == "__main__":
    cli.run(main)
