"""Scoring of any videos by a trained model: events with time and class, and the scores of all frames."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from anomalyclip import cli
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.new_names import asked_names
from anomalyclip.events.export import EXPORTS
from anomalyclip.tracking.resolve import resolve


def main(argv: Sequence[str]) -> cli.Result:
    """Score videos, and find the events in them."""
    command = cli.parser(
        "Score videos with a trained model, and find the events in them. A second run scores only what is new.\n"
        "Videos that cannot be read are named and left out; the exit code is 1 then.",
        "python workflows/score.py models:/anomalyclip/1 footage/ --false-alarms-per-hour 0.5",
    )
    command.add_argument("model", metavar="MODEL", help="models:/NAME/VERSION, a run (id or name), or a folder")
    command.add_argument("videos", nargs="*", metavar="VIDEO",
                         help="files, folders, globs, URIs, or one manifest (its test videos; with "
                         "--set data.features=NAME, imported features of them)")  # fmt: skip
    command.add_argument("--features", help=argparse.SUPPRESS)  # short for --set data.features=NAME
    cli.add_classes_option(command)
    cli.add_threshold_options(command)
    command.add_argument("--output", type=Path, metavar="FOLDER", help="place of the results (else the run's folder)")
    command.add_argument("--report", action=argparse.BooleanOptionalAction, default=True, help="write the HTML report")
    command.add_argument("--clips", action="store_true", help="cut a clip of each event, 5 s before to 10 s after it")
    command.add_argument("--annotate", action="store_true", help="write copies of the videos with scores and events")
    command.add_argument("--export", action="append", default=[], choices=EXPORTS, metavar="FORMAT",
                         help=f"write the events for another tool: {', '.join(EXPORTS)}; repeatable")  # fmt: skip
    cli.add_setting_option(command)
    cli.add_fresh_option(command)
    cli.add_retry_option(command)
    arguments = command.parse_intermixed_args(argv)  # VIDEO may stand behind options
    arguments.overrides += [f"data.features={arguments.features}"] if arguments.features else []
    names = asked_names(arguments.classes)
    job = cli.resolve(arguments)
    resolve(arguments.model, job.storage, job.tracking_uri)

    with closing(Decoder(job.config.extraction.decode_timeout, job.config.extraction.max_pixels)) as decoder:
        decoder.start()  # beside the imports below, which take seconds
        from anomalyclip.jobs import operating, scored_media, scoring

        asked = operating.Asked(arguments.false_alarms_per_hour, arguments.threshold)
        wanted = scored_media.Wanted(arguments.report, arguments.clips, arguments.annotate, tuple(arguments.export))
        prepared = scoring.prepare(job, arguments.model, arguments.videos, asked, wanted, arguments.output, names)
        return scoring.run(job, prepared, decoder)


if __name__ == "__main__":
    cli.run(main)
