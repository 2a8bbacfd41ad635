"""The life of a registered model: a candidate judged by the gates of a policy, put into service, taken out again."""

from collections.abc import Sequence
from pathlib import Path

import anomalyclip
from anomalyclip import cli

POLICY = Path(anomalyclip.__file__).parent / "evaluation" / "promotion.yaml"


def main(argv: Sequence[str]) -> cli.Result:
    """Promote the candidate, put the previous champion back, or tell the history."""
    command = cli.parser(
        "Make the candidate of a registered model its champion, if it passes every gate of the policy.\n"
        "Exit code 1 says that a gate failed. Each decision is kept in the registry with its figures.",
        "python workflows/promote.py anomalyclip --version 3 --policy policy.yaml",
    )
    command.add_argument("model", metavar="NAME", help="the registered model")
    command.add_argument("--policy", type=Path, default=POLICY, metavar="FILE",
                         help="the gates (else evaluation/promotion.yaml of the package)")  # fmt: skip
    what = command.add_mutually_exclusive_group()
    what.add_argument("--version", metavar="N", help="make this version the candidate first")
    what.add_argument("--rollback", action="store_true", help="put the previous champion back instead")
    what.add_argument("--history", action="store_true", help="tell what is in service, since when and why")
    command.add_argument("--dry-run", action="store_true", help="judge, and change nothing in the registry")
    command.add_argument("--why", metavar="TEXT", help="a reason to keep with the decision")
    cli.add_tracking_option(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip.jobs import promotion  # after parsing: its libraries take seconds to import

    if arguments.history:
        return promotion.history(job, arguments.model)
    if arguments.rollback:
        return promotion.roll_back(job, arguments.model, arguments.dry_run, arguments.why)
    return promotion.promote(
        job, arguments.model, arguments.policy, arguments.version, arguments.dry_run, arguments.why
    )


if __name__ == "__main__":
    cli.run(main)
