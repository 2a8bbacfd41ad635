"""One request by HTTP to a receiver that need not be friendly: bounded in time, whatever it answers."""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from urllib.parse import SplitResult, quote

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
PORTS = {"http": 80, "https": 443}
_KEPT = "/%:;=&?~+!$,'()*[]@"
"""Signs that stand in a path or a query as they are."""


def post(address: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
    """Post a body, and return the status of the answer; raises OSError or http.client.HTTPException.

    Redirects are not followed: one would take the body, and its signature, to where nobody has decided to send it. What
    the answer says is not read: it may be endless. A certificate must be vouched for.
    """
    host = address.hostname or ""
    target = quote((address.path or "/") + (f"?{address.query}" if address.query else ""), safe=_KEPT)
    port = address.port or PORTS[address.scheme]
    with closing(socket.create_connection((host, port), CONNECT_SECONDS)) as plain, _cut_after(ANSWER_SECONDS, plain):
        plain.settimeout(ANSWER_SECONDS)
        with closing(HTTPConnection(host, address.port)) as connection:
            secured = address.scheme == "https"
            # without its own name the other end could not choose among its certificates
            connection.sock = (
                ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secured else plain
            )
            connection.request("POST", target, body, dict(headers))
            return connection.getresponse().status


@contextmanager
def _cut_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """Cut a connection after some seconds; raises TimeoutError then.

    Its own time limit is one of each piece that comes: a byte now and then would keep it open for ever.
    """
    over = threading.Event()
    with closing(connection.dup()) as same:  # of which TLS does not become the owner

        def cut() -> None:
            over.set()
            with suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            if over.is_set():
                raise TimeoutError("timed out")
