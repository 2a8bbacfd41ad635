"""Serving of a registered model over HTTP, after its files were verified."""

import sys
from collections.abc import Sequence

from anomalyclip import cli
from anomalyclip.errors import UsageError
from anomalyclip.tracking.resolve import check_servable

DAY = 86_400


def main(argv: Sequence[str]) -> cli.Result:
    """Verify a registered model, and start a scoring server on the verified copy."""
    command = cli.parser(
        "Serve a registered model over HTTP, with MLflow's protocol. What was registered is verified first and\n"
        "copied; only the copy is loaded. Videos are read below ANOMALYCLIP_VIDEO_ROOT alone. A version that the\n"
        "alias moves to takes over without a gap. /health says whether it answers, /metrics is for Prometheus.",
        "python workflows/serve.py models:/anomalyclip@champion --port 5001",
    )
    command.add_argument("model", metavar="MODEL", help="models:/NAME/VERSION or models:/NAME@ALIAS")
    command.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this machine "
                         "alone; the server has no login)")  # fmt: skip
    command.add_argument("--port", type=int, default=5000, help="port to listen at (default 5000)")
    command.add_argument("--workers", type=int, default=1, help="processes that score (default 1)")
    command.add_argument("--reload", type=float, default=60, metavar="SECONDS", help="time from one look at the alias "
                         "to the next (default 60; 0: never)")  # fmt: skip
    cli.add_tracking_option(command)
    arguments = command.parse_args(argv)
    check_servable(arguments.model)
    if not 0 <= arguments.reload <= DAY:
        raise UsageError(f"--reload {arguments.reload:g}: give 0 to {DAY} seconds")
    job = cli.resolve(arguments)

    from anomalyclip.jobs import serving  # after the checks above: its libraries take seconds to import

    sys.exit(serving.serve(job, arguments.model, arguments.host, arguments.port, arguments.workers, arguments.reload))


if __name__ == "__main__":
    cli.run(main)
