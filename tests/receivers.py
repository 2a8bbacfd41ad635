"""Receivers of messages that tests start and cut: a webhook, and mosquitto, a broker of MQTT."""

import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.servers import free_port

MOSQUITTO = "mosquitto"
"""The package of Debian and Ubuntu."""


class Hooks:
    """A webhook; it keeps what it has answered with `status` 200, and can be down."""

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.status, self.headers, self.seconds = 200, dict[str, str](), 0.0
        self.requests: list[tuple[Mapping[str, str], bytes]] = []
        """Headers and bodies of all that came."""
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        """Of those that were taken."""
        self._server: ThreadingHTTPServer | None = None

    def up(self, certificate: tuple[Path, Path] | None = None) -> None:
        """Start; with a certificate and its key by TLS."""
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hooks.requests.append((dict(self.headers), body))
                hooks.paths.append(self.path)
                time.sleep(hooks.seconds)
                if hooks.status == 200:
                    hooks.bodies.append(body)
                self.send_response(hooks.status)
                for name, value in {"Content-Length": "0", **hooks.headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def hooks() -> Iterator[Hooks]:
    """A webhook that is up."""
    own = Hooks()
    own.up()
    try:
        yield own
    finally:
        own.down()


class Broker:
    """A mosquitto that keeps sessions and messages over restarts, as `persistence` does."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._program, self._file = mosquitto_program(), folder / "mosquitto.conf"
        (folder / "kept").mkdir(exist_ok=True)
        told = [f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/kept/", *lines]
        told += [] if any(line.startswith("allow_anonymous") for line in lines) else ["allow_anonymous true"]
        told += ["user root"] if os.geteuid() == 0 else []
        self._file.write_text("\n".join(told) + "\n")
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._file)], stdout=log, stderr=log)
        until = time.monotonic() + 10
        while not any(each.laddr.port == self.port for each in psutil.Process(self._process.pid).net_connections()):
            assert time.monotonic() < until and self._process.poll() is None, self._log.read_text()
            time.sleep(0.01)

    def freeze(self) -> None:
        """Keep the connections and answer nothing, until it is thawed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def down(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


@contextmanager
def broker(folder: Path, *lines: str) -> Iterator[Broker]:
    """A broker that is up; `lines` are added to its configuration."""
    own = Broker(folder, *lines)
    own.up()
    try:
        yield own
    finally:
        own.down()


class Subscriber:
    """A client that notes all messages, and of which the broker keeps the session."""

    def __init__(self, port: int, topic: str = "#") -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, str]] = []
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda client, data, each: self.messages.append((each.topic, each.payload.decode()))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def of(self, topic: str) -> list[str]:
        return [text for name, text in self.messages if name == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def mosquitto_program() -> str:
    """The broker's program; installs it where it is missing and this user may, else skips the test."""
    places = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    if (found := shutil.which(MOSQUITTO, path=places)) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update"], ["install", "--yes", "--no-install-recommends", MOSQUITTO]):
            subprocess.run(["apt-get", "--quiet", *step], env=quiet, timeout=600, check=False, capture_output=True)
        found = shutil.which(MOSQUITTO, path=places)
    if found is None:
        pytest.skip(f"no MQTT broker: apt-get install {MOSQUITTO}")
    return found


def wait_until(true: object, seconds: float = 10.0) -> None:
    """Wait until a function returns something true."""
    until = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.005)
