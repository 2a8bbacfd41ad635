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
    cli.add_retry_option(command)
    arguments = command.parse_args(argv)
    space = find_space(SPACES, arguments.space)
    job = cli.resolve(arguments)

    from anomalyclip.tuning import search_job  # after the checks above: its libraries take seconds to import

    job = search_job.with_search_settings(job, arguments.workers)
    prepared = search_job.prepare(job, arguments.manifest, space, arguments.resume)
    return search_job.run(job, prepared, arguments.manifest, space)


if __name__ == "__main__":
    cli.run(main)
