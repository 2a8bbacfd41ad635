"""A tracking server that gives no usable answer is refused soon, in one line that tells why."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.tracking import server
from anomalyclip.tracking.server import reach


@pytest.fixture(autouse=True)
def _uri() -> Iterator[None]:
    yield
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def refused(uri: str) -> str:
    started = time.monotonic()
    with pytest.raises(UsageError) as caught:
        reach(uri)
    assert time.monotonic() - started < server.ANSWER_SECONDS + 5
    assert "\n" not in str(caught.value)
    prefix = f"MLflow at {uri}: "
    assert str(caught.value).startswith(prefix)
    return str(caught.value).removeprefix(prefix)


@contextmanager
def answering(status: int, body: bytes, asked: list[str]) -> Iterator[str]:
    """A server that gives one answer to everything, and notes what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_server_that_takes_the_connection_and_never_answers_is_refused_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert server.ANSWER_SECONDS <= 15
    monkeypatch.setattr(server, "ANSWER_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert refused(f"http://127.0.0.1:{listening.getsockname()[1]}") == "no answer within 1 s"


def test_a_closed_port_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ANSWER_SECONDS", 30.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    started = time.monotonic()
    assert refused(f"http://127.0.0.1:{port}") == "nothing answers there"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "status, body, expected",
    [
        (500, b"", "it answers with HTTP 500"),
        (401, b"You are not authenticated.", "it refuses the login (HTTP 401): set MLFLOW_TRACKING_USERNAME"),
        (404, b"not here", "it answers with HTTP 404; is this the address of an MLflow server, with its path?"),
        (200, b"<html></html>", "what answers is no MLflow server"),
    ],
)
def test_an_answer_that_is_no_use_is_refused_at_once_and_asked_for_once(
    status: int, body: bytes, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    asked: list[str] = []
    with answering(status, body, asked) as uri:
        assert refused(uri).startswith(expected)
    assert len(asked) == 1
    assert mlflow.environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 3


def test_the_question_goes_to_the_servers_path_with_the_users_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    asked: list[str] = []
    with answering(200, b"{}", asked) as uri:
        reach(f"{uri}/some/path")
    assert asked == ["/some/path/api/2.0/mlflow/experiments/search Bearer secret"]


def test_a_host_that_does_not_exist_is_told_so() -> None:
    assert refused("http://no-such-host.invalid") in ("no such host", "no answer within 8 s")
