"""Promotion of a registered model: its candidate is judged by the gates of a policy and becomes champion."""

from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli
from anomalyclip.evaluation import policy
from anomalyclip.presets import DEMONSTRATION


def main(argv: Sequence[str]) -> cli.Result:
    """Promote the candidate, put the previous champion back, report the history, or write a policy to complete."""
    command = cli.parser(
        "Make the candidate of a registered model its champion, if it passes every gate of the policy.\n"
        "Exit code 1: a gate failed. Each decision is stored in the registry with its figures.",
        "python workflows/promote.py anomalyclip --write-policy policy.yaml\n"
        "  python workflows/promote.py anomalyclip --version 3 --policy policy.yaml",
    )
    command.add_argument("model", metavar="NAME", help="the registered model")
    command.add_argument("--policy", type=Path, metavar="FILE",
                         help=f"the gates (only {DEMONSTRATION.model_name} has its own)")  # fmt: skip
    what = command.add_mutually_exclusive_group()
    what.add_argument("--version", metavar="N", help="make this version the candidate first")
    what.add_argument("--rollback", action="store_true", help="put the previous champion back instead")
    what.add_argument("--history", action="store_true", help="report the champion and all decisions")
    what.add_argument("--write-policy", type=Path, metavar="FILE", help="only write a policy to complete")
    command.add_argument("--dry-run", action="store_true", help="judge without changing the registry")
    command.add_argument("--why", metavar="TEXT", help="a reason, stored with the decision")
    cli.add_tracking_option(command)
    arguments = command.parse_args(argv)
    name, dry_run, why = arguments.model, arguments.dry_run, arguments.why
    if arguments.write_policy:
        policy.write_policy(arguments.write_policy)
        return {"policy": str(arguments.write_policy)}
    judges = not (arguments.history or arguments.rollback)
    asked = policy.policy_for(name, arguments.policy) if judges else policy.Policy()
    job = cli.resolve(arguments)

    from anomalyclip.jobs import promotion  # after the checks above: its libraries take seconds to import

    if arguments.history:
        return promotion.history(job, name)
    if arguments.rollback:
        return promotion.roll_back(job, name, dry_run, why)
    return promotion.promote(job, name, asked, arguments.version, dry_run, why)


if __name__ == "__main__":
    cli.run(main)
