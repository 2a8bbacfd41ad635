"""Watching of live cameras by a trained model: events as they open, change and close."""

import signal
from collections.abc import Sequence
from pathlib import Path

from anomalyclip import cli
from anomalyclip.data.new_names import asked_names
from anomalyclip.errors import UsageError
from anomalyclip.tracking.resolve import resolve

DAY = 86_400


def main(argv: Sequence[str]) -> cli.Result:
    """Watch cameras until they have all ended, which only files do, or until the command is told to stop."""
    command = cli.parser(
        "Watch live cameras with a trained model. Standard output has one message per line: an event is new, has\n"
        "changed, or has ended. SIGTERM and Ctrl-C end the watch in order, SIGHUP looks for another model at once.",
        "python workflows/watch.py models:/anomalyclip@champion front=rtsp://camera/stream --webhook https://hooks/x",
    )
    command.add_argument("model", metavar="MODEL", help="models:/NAME/VERSION or NAME@ALIAS, a run, or a folder")
    command.add_argument("sources", nargs="+", metavar="SOURCE",
                         help="ADDRESS or NAME=ADDRESS: rtsp://, http://, /dev/video0, or a file")  # fmt: skip
    cli.add_classes_option(command)
    cli.add_threshold_options(command)
    command.add_argument("--webhook", action="append", default=[], metavar="URL", help="post messages; repeatable")
    command.add_argument("--mqtt", action="append", default=[], metavar="URL",
                         help="publish messages to a broker: mqtt[s]://HOST[:PORT][/TOPIC]; repeatable")  # fmt: skip
    command.add_argument("--output", type=Path, metavar="FOLDER",
                         help="place of clips, pictures and waiting messages (else live/ in the storage)")  # fmt: skip
    command.add_argument("--reload", type=float, default=60, metavar="SECONDS",
                         help="time from one look at the model's alias to the next (default 60; 0: never)")  # fmt: skip
    command.add_argument("--ray", action="store_true", help="watch on a Ray cluster: a process per GPU or machine")
    cli.add_setting_option(command)
    arguments = command.parse_intermixed_args(argv)  # SOURCE may stand behind options
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it asks for what is done anyway, until there is a model in use
    if not 0 <= arguments.reload <= DAY:
        raise UsageError(f"--reload {arguments.reload:g}: give 0 to {DAY} seconds")
    names = asked_names(arguments.classes)
    job = cli.resolve(arguments)
    resolve(arguments.model, job.storage, job.tracking_uri)

    from anomalyclip.jobs import operating, watching  # after the checks above: their libraries take seconds to import

    asked = operating.Asked(arguments.false_alarms_per_hour, arguments.threshold)
    prepared = watching.prepare(
        job, arguments.model, arguments.sources, asked, arguments.webhook, arguments.mqtt, arguments.output,
        arguments.reload, arguments.ray, names,
    )  # fmt: skip
    return watching.run(job, prepared)


if __name__ == "__main__":
    cli.run(main)
