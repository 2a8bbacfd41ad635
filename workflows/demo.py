"""The whole story on drawn footage: a benchmark, a trained and registered model, and zero-shot CLIP beside it."""

from collections.abc import Sequence
from typing import Any

from anomalyclip import cli


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Draw, extract, train, evaluate, register, and say how much better the model is than CLIP as it comes."""
    command = cli.parser(
        "Draw the benchmark, train on it with two workers, and hold the model against zero-shot CLIP.\n"
        "A second time everything that is there is used again, and the same table comes in seconds.",
        "python workflows/demo.py --storage demo",
    )
    cli.add_config_options(command, preset=False)
    cli.add_run_options(command)
    command.set_defaults(preset="benchmark", overrides=["training.workers=2"])
    job = cli.resolve(command.parse_args(argv))

    from anomalyclip.jobs import demo  # after parsing: its libraries take seconds to import
    from anomalyclip.jobs.evaluation import ZERO_SHOT
    from anomalyclip.jobs.pipelines import evaluate_on_manifest, train_and_register

    manifest = demo.draw(job)
    trained = train_and_register(job, manifest)
    zero_shot = evaluate_on_manifest(job, ZERO_SHOT, manifest)
    return demo.compare(job, trained, zero_shot)


if __name__ == "__main__":
    cli.run(main)
