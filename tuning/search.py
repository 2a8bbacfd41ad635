"""Search over settings: trials judged on the validation part, and the winner registered as a candidate."""

from collections.abc import Sequence

from anomalyclip import cli
from anomalyclip.tuning.space_file import find_space
from anomalyclip.tuning.spaces import SPACES


def main(argv: Sequence[str]) -> cli.Result:
    """Run the trials of a space, train the best on all training videos, and register it as a candidate."""
    command = cli.parser(
        "Try settings of a search space, judged by video-level AUC on the validation part; train the best on all\n"
        "training videos, read its test figures once, and register it as a candidate.\n"
        "The same command resumes a stopped search; a trial that any search has finished is not trained again.",
        "python tuning/search.py videos/manifest.csv --space wide",
    )
    cli.add_manifest(command, optional=True)
    command.add_argument("--space", default="grid", metavar="NAME|FILE",
                         help=f"{', '.join(SPACES)}, or a YAML table of settings (default grid)")  # fmt: skip
    command.add_argument("--workers", type=int, metavar="N", help="train each trial on a group of N workers")
    command.add_argument("--resume", action="store_true", help="resume; fail if there is nothing to resume")
    cli.add_config_options(command)
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    space = find_space(SPACES, arguments.space)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import training
    from anomalyclip.jobs.lifecycle import finished, stage, tracked
    from anomalyclip.tuning import search_job  # after parsing: their libraries take seconds to import

    job = search_job.with_search_settings(job, arguments.workers)
    prepared = search_job.prepare(job, arguments.manifest, space, arguments.resume)
    if (result := finished(job, prepared.run, search_job.SearchResult)) is not None:
        return result
    with tracked(job, prepared.run) as tracking:
        training.describe(tracking, job, prepared)
        extracted = training.obtain(job, prepared)
        prepared = training.settle(job, prepared, extracted)
        study = search_job.study(job, prepared, extracted)
        with stage("search", f"space {arguments.space}, judged on the validation part"):
            outcomes = search_job.run(tracking, prepared, study, space)
            best, apart = search_job.report(tracking, job, prepared, space, outcomes)
    winner = search_job.train_winner(job, arguments.manifest, prepared, study, best)
    return search_job.finish(job, prepared, tracking.run_id, outcomes, best, apart, winner)


if __name__ == "__main__":
    cli.run(main)
