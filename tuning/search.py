"""Search over settings: trials judged on the validation part, and the winner registered as a candidate."""

from collections.abc import Sequence

from anomalyclip import cli
from anomalyclip.tuning.space import find_space
from anomalyclip.tuning.spaces import SPACES


def main(argv: Sequence[str]) -> cli.Result:
    """Run the trials of a space, train the best on all training videos, and register it as a candidate."""
    command = cli.parser(
        "Try settings of a search space (tuning/space.py), judged by video-level AUC on the validation part; train\n"
        "the best on all training videos, read its test figures once, and register it as a candidate.\n"
        "The same command goes on where it was stopped; what any search has trained to the end is not trained again.",
        "python tuning/search.py videos/manifest.csv --space wide",
    )
    cli.add_manifest(command, optional=True)
    command.add_argument("--space", default="grid", help=f"one of: {', '.join(SPACES)} (default grid)")
    command.add_argument("--workers", type=int, metavar="N", help="train each trial on a group of N workers")
    command.add_argument("--resume", action="store_true", help="go on, and refuse to begin")
    cli.add_config_options(command)
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    space = find_space(SPACES, arguments.space)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import training
    from anomalyclip.jobs.lifecycle import finished, stage, tracked
    from anomalyclip.tuning import search_stages  # after parsing: their libraries take seconds to import

    job = search_stages.search_job(job, arguments.workers)
    prepared = search_stages.prepare(job, arguments.manifest, space, arguments.resume)
    if (result := finished(job, prepared.run, search_stages.SearchResult)) is not None:
        return result
    with tracked(job, prepared.run) as tracking:
        training.describe(tracking, job, prepared)
        extracted = training.obtain(job, prepared)
        prepared = training.settle(job, prepared, extracted)
        plan = search_stages.plan(job, prepared, extracted, space)
        with stage("search", f"space {arguments.space}, judged on the validation part"):
            outcomes = search_stages.run(tracking, job, prepared, plan)
            best = search_stages.report(tracking, job, prepared, space, outcomes)
    winner = search_stages.train_winner(job, arguments.manifest, prepared, plan, best)
    return search_stages.finish(job, prepared, tracking.run_id, outcomes, best, winner)


if __name__ == "__main__":
    cli.run(main)
