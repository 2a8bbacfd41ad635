"""Address of metrics and health: `/metrics` for Prometheus, `/healthz` for whoever restarts what is broken."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from anomalyclip.errors import UsageError
from anomalyclip.live.metrics import Metrics

MOST_AT_ONCE = 32
"""Connections; any more are told to come back."""
STOP_SECONDS = 2.0


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises UsageError if the address is taken or not of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise UsageError(
            f"live.host={host}, live.port={port}: {reason}; give another live.port, or 0 to serve nothing"
        ) from None


@contextmanager
def served(metrics: Metrics, listener: socket.socket) -> Iterator[None]:
    """Serve metrics and health in a thread while the block runs."""
    import uvicorn  # here: it takes a while to import, and not every use of this package needs it
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def figures(request: Request) -> PlainTextResponse:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    async def health(request: Request) -> PlainTextResponse:
        fault = metrics.fault()
        return PlainTextResponse(f"{fault or 'ok'}\n", 503 if fault else 200)

    app = Starlette(routes=[Route("/metrics", figures), Route("/healthz", health)])
    config = uvicorn.Config(
        app, log_config=None, access_log=False, limit_concurrency=MOST_AT_ONCE, timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)
        listener.close()
