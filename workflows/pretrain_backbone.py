"""Pre-training of the embedded CLIP, `clip-tiny`, on drawn pictures with captions."""

import os
from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli


def main(argv: Sequence[str]) -> cli.Result:
    """Pre-train the small CLIP from scratch, resuming an earlier attempt."""
    command = cli.parser(
        "Pre-train the small CLIP on drawn pictures with captions, in less than an hour on two cores.\n"
        "The same command resumes an interrupted run, and returns the result of a finished one.",
        "python workflows/pretrain_backbone.py --output anomalyclip/features/open_clip_weights/clip-tiny.safetensors",
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="also write the weights to this file")
    command.add_argument("--config", type=Path, dest="settings_file", metavar="FILE", help="YAML settings")
    command.add_argument("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE",
                         help="one setting of pictures, training or augmentation on top; repeatable")  # fmt: skip
    cli.add_run_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # busy waiting starves beside any other program: 3 to 7 times
    from anomalyclip.benchmark.pictures.illustrations import draw_picture  # after the checks above: takes seconds
    from anomalyclip.benchmark.pretraining import job as pretraining
    from anomalyclip.benchmark.pretraining.settings import PretrainingConfig
    from anomalyclip.settings import build_config

    config = build_config(PretrainingConfig(), arguments.settings_file, arguments.settings)
    prepared = pretraining.prepare(job, config, draw_picture, arguments.output)
    return pretraining.run(job, prepared)


if __name__ == "__main__":
    cli.run(main)
