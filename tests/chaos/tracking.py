"""An MLflow server that can be killed, behind a proxy that can be slow, answer with errors, or not answer at all."""

import http.client
import os
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from tests.servers import TOOLS, free_port, serving

SLOW_SECONDS = 5.0
HEADERS = ("content-type", "content-length", "authorization")


@dataclass
class Tracking:
    """One address for all commands; the server behind it comes and goes."""

    folder: Path
    proxy: "_Proxy"
    _server: ExitStack = field(default_factory=ExitStack)
    _place: Path | None = None

    @classmethod
    @contextmanager
    def serve(cls, folder: Path) -> Iterator["Tracking"]:
        """Listen; no server is behind it yet."""
        with _Proxy(("127.0.0.1", _kept_port(folder)), _Handler) as proxy:
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            tracking = cls(folder, proxy)
            try:
                yield tracking
            finally:
                tracking.stop()
                proxy.shutdown()

    @property
    def address(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self.proxy.server_address[1]}"

    def start(self, place: Path) -> None:
        """Start a server on the database and the artifacts of a folder."""
        place.mkdir(parents=True, exist_ok=True)
        self._place, port = place, free_port()
        command = [str(TOOLS / "mlflow"), "server", "--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--workers"]
        command += ["1", "--artifacts-destination", str(place / "artifacts"), "--host", "127.0.0.1"]
        command += ["--port", str(port)]
        self._server.enter_context(serving(command, port, "/health", self.folder / "server.log"))
        self.proxy.behind, self.proxy.fault = port, ""

    def stop(self) -> None:
        """End the server, if one runs."""
        self._server.close()
        self.proxy.behind = 0

    def processes(self) -> list[psutil.Process]:
        """Return the server's processes, the first one's children last."""
        port = str(self.proxy.behind)
        first = [process for process in psutil.Process(os.getpid()).children() if port in process.cmdline()]
        return first + [child for process in first for child in process.children(recursive=True)]

    def restart(self) -> None:
        """Start the server again where it was."""
        assert self._place is not None
        self.stop()
        self.start(self._place)


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    behind = 0
    """Port of the server; 0 if there is none."""
    fault = ""
    """`away`, `slow` or `500`."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that are killed break connections."""


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy

    def _pass_on(self) -> None:
        fault, length = self.server.fault, int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if fault == "away" or not self.server.behind:
            self.close_connection = True
            self.connection.close()
        elif fault == "500":
            self._answer(500, [("content-type", "text/plain")], b"out of order")
        else:
            time.sleep(SLOW_SECONDS if fault == "slow" else 0)
            self._ask(body)

    def _ask(self, body: bytes) -> None:
        server = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        told = {name: value for name, value in self.headers.items() if name.lower() in HEADERS}
        try:
            server.request(self.command, self.path, body, told)
            answer = server.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() == "content-type"]
            self._answer(answer.status, kept, answer.read())
        except OSError:
            self.connection.close()
        finally:
            server.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("content-length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def _kept_port(folder: Path) -> int:
    """The same port in every session: runs remember where they are tracked."""
    kept = folder / "port"
    if not kept.exists():
        kept.write_text(str(free_port()))
    socketserver.TCPServer.allow_reuse_address = True
    return int(kept.read_text())
