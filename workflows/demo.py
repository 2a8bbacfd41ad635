"""Demonstration on drawn footage: a benchmark, a trained and registered model, and baselines to compare."""

from collections.abc import Sequence

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Draw, extract, train, evaluate, register, and compare the model with baselines."""
    command = cli.parser(
        "Draw the benchmark, train on it with two workers, and compare the model with baselines.\n"
        "A second run uses all stored results, and shows the same table in seconds.",
        "python workflows/demo.py --storage demo",
    )
    cli.add_config_options(command, preset=False)
    cli.add_run_options(command)
    command.set_defaults(manifest=None, overrides=["training.workers=2"])
    job = cli.resolve(command.parse_args(argv))

    from anomalyclip.jobs import demo, evaluation, training  # after the checks above: takes seconds to import
    from anomalyclip.tracking.resolve import ZERO_SHOT

    demo.draw(job)
    trained = training.run(job, training.prepare(job, None))
    zero_shot = evaluation.run(job, evaluation.prepare(job, ZERO_SHOT, None))
    return demo.compare(job, trained, zero_shot)


if __name__ == "__main__":
    cli.run(main)
