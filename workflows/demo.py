"""Demonstration on drawn footage: a benchmark, a trained and registered model, and baselines to compare."""

from collections.abc import Sequence
from contextlib import closing

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Draw, extract, train, evaluate, register, compare the model with baselines, and report its events."""
    command = cli.parser(
        "Draw the benchmark, train on it with two workers, compare the model with baselines, and report its events.\n"
        "A second run uses all stored results, and shows the same table in seconds.",
        "python workflows/demo.py --storage demo",
    )
    cli.add_config_options(command, preset=False)
    cli.add_run_options(command)
    cli.add_retry_option(command)
    command.set_defaults(manifest=None, overrides=["training.workers=2"])
    job = cli.resolve(command.parse_args(argv))

    from anomalyclip.data.decoder import Decoder
    from anomalyclip.jobs import demo, evaluation, scoring, training  # after the checks above: takes seconds to import
    from anomalyclip.jobs.operating import Asked
    from anomalyclip.jobs.scored_media import Wanted
    from anomalyclip.tracking.resolve import ZERO_SHOT

    manifest = demo.draw(job)
    trained = training.run(job, training.prepare(job, None))
    zero_shot = evaluation.run(job, evaluation.prepare(job, ZERO_SHOT, None))
    with closing(Decoder(job.config.extraction.decode_timeout, job.config.extraction.max_pixels)) as decoder:
        prepared = scoring.prepare(job, trained.paths["model"], [str(manifest)], Asked(), Wanted())
        events = scoring.run(job, prepared, decoder)
    return demo.compare(job, trained, zero_shot, events)


if __name__ == "__main__":
    cli.run(main)
