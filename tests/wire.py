"""A wire to a server that can be cut or slow: connections pass through it as they are."""

import select
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

SLOW_SECONDS = 1.0
Fault = Literal["", "away", "slow"]


class Wire(socketserver.ThreadingTCPServer):
    """Passes what it is sent on to a server on this machine, unless it has a fault."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.fault: Fault = ""
        self.faults_left: int | None = None
        """Requests after which the fault is over; None if it stays."""
        self.requests = 0

    @property
    def address(self) -> str:
        """The server's address through the wire."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self) -> Fault:
        """Count a request; returns what happens to it."""
        self.requests += 1
        if self.fault and self.faults_left is not None:
            self.faults_left -= 1
            if self.faults_left < 0:
                self.fault = ""
        return self.fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that are killed break connections."""


class _Handler(socketserver.BaseRequestHandler):
    server: Wire
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:
            answered = True
            while True:
                ready, _, _ = select.select([self.request, behind], [], [])
                source = ready[0]
                sent = source.recv(1 << 16)
                if source is self.request and answered and sent:  # a request begins
                    fault = self.server.next_fault()
                    if fault == "away":
                        return
                    time.sleep(SLOW_SECONDS if fault == "slow" else 0)
                if not sent:
                    return
                answered = source is behind
                (self.request if source is behind else behind).sendall(sent)


@contextmanager
def wire(address: str) -> Iterator[Wire]:
    """Lay a wire to the server of an address."""
    with Wire(urlsplit(address).port or 80) as laid:
        threading.Thread(target=laid.serve_forever, daemon=True).start()
        yield laid
        laid.shutdown()
