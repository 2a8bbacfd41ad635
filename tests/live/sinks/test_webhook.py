import base64
import hmac
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.live.sinks.couriers import Courier, RefusedError, UndeliveredError, drain
from anomalyclip.live.sinks.messages import first_message
from anomalyclip.live.sinks.outbox import Outbox
from anomalyclip.live.sinks.webhook import SECRET, Webhook, signature, webhook_secret
from tests.receivers import Hooks, hooks, wait_until

MESSAGE = first_message("7-front", "anomaly", "front", {"peak": 0.5})


@pytest.fixture
def receiver() -> Iterator[Hooks]:
    with hooks() as own:
        yield own


def test_a_message_is_posted_as_json_with_its_id_and_the_login_of_the_address(receiver: Hooks) -> None:
    webhook = Webhook(receiver.url.replace("//", "//user:p%40ss@"), None)
    webhook.send(MESSAGE)
    (headers, body), = receiver.requests  # fmt: skip
    assert json.loads(body)["message"] == headers["webhook-id"] == "7-front/1"
    assert headers["Content-Type"] == "application/json"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"user:p@ss"
    assert "webhook-signature" not in headers


def test_a_signature_is_verified_as_the_documentation_has_it(receiver: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "whsec_" + base64.b64encode(b"k" * 32).decode())
    Webhook(receiver.url, webhook_secret()).send(MESSAGE)
    (headers, body), = receiver.requests  # fmt: skip
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"k" * 32, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_is_that_of_the_specification() -> None:
    # the example of the Standard Webhooks libraries' tests
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["short", "whsec_", "whsec_YWJj", "whsec_***", base64.b64encode(b"k" * 32).decode()])
def test_a_secret_that_protects_nothing_is_refused(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, secret)
    with pytest.raises(UsageError, match="must be whsec_ and 24 to 64 bytes"):
        webhook_secret()


@pytest.mark.parametrize(
    "status, error",
    [
        (400, RefusedError),
        (413, RefusedError),
        (404, UndeliveredError),
        (429, UndeliveredError),
        (500, UndeliveredError),
    ],
)
def test_only_an_answer_about_the_message_itself_gives_it_up(
    receiver: Hooks, status: int, error: type[Exception]
) -> None:
    receiver.status = status
    with pytest.raises(error, match=f"HTTP {status}"):
        Webhook(receiver.url, None).send(MESSAGE)


def test_a_redirect_is_not_followed(receiver: Hooks) -> None:
    with hooks() as elsewhere:
        receiver.status, receiver.headers = 307, {"Location": elsewhere.url}
        with pytest.raises(UndeliveredError, match="HTTP 307, a redirect, which is not followed"):
            Webhook(receiver.url, None).send(MESSAGE)
        assert elsewhere.requests == []


def test_a_receiver_that_is_down_or_silent_is_named_without_its_path(
    receiver: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyclip.live.sinks.http_post.ANSWER_SECONDS", 0.05)
    webhook = Webhook(f"{receiver.url}/T0KEN?key=hunter2", None)
    receiver.seconds = 0.3
    with pytest.raises(UndeliveredError) as slow:
        webhook.send(MESSAGE)
    receiver.down()
    with pytest.raises(UndeliveredError) as down:
        webhook.send(MESSAGE)
    assert (str(slow.value), str(down.value)) == ("timed out", "Connection refused")
    assert webhook.name == f"webhook http://127.0.0.1:{receiver.port}"
    assert "T0KEN" not in webhook.key and "hunter2" not in webhook.key


def test_a_receiver_that_answers_for_ever_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalyclip.live.sinks.http_post.ANSWER_SECONDS", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        webhook = Webhook(f"http://127.0.0.1:{server.getsockname()[1]}/x", None)
        over = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            with closing(connection), suppress(OSError):
                while not over.wait(0.01):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        began = time.monotonic()
        with pytest.raises(UndeliveredError, match="timed out"):
            webhook.send(MESSAGE)
        assert time.monotonic() - began < 5
        over.set()
        thread.join(10)


def test_a_path_may_hold_any_sign(receiver: Hooks) -> None:
    webhook = Webhook(f"http://127.0.0.1:{receiver.port}/ü%20/hook?a=b&c#d", None)
    webhook.send(MESSAGE)
    assert receiver.paths == ["/%C3%BC%20/hook?a=b&c"]


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(receiver: Hooks, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    receiver.down()
    receiver.up((certificate, key))
    with pytest.raises(UndeliveredError, match="certificate verify failed"):
        Webhook(receiver.url.replace("http", "https"), None).send(MESSAGE)
    assert receiver.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "hooks.example.org",
        "https://",
        "http://host:port/",
        "https:///x",
        "https://[::1/x",
        "https://h/\udcff",
        "https://h /x",
        "https://h/a\r\nb",
        "https://user:1/word@host/x",
        "https://host:8443/x@other",
    ],
)
def test_another_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError, match=r"^--webhook takes an address such as"):
        Webhook(url, None)


def test_a_receiver_that_was_down_gets_everything_once_and_in_order(tmp_path: Path, receiver: Hooks) -> None:
    webhook = Webhook(receiver.url, None)
    outbox = Outbox(tmp_path / "o", [webhook.key])
    courier = Courier(webhook, outbox, longest_pause=0.02)
    courier.start()
    for number in range(12):
        if number == 4:
            wait_until(lambda: len(receiver.bodies) == 4)
            receiver.down()
        if number == 8:
            wait_until(lambda: courier.failures > 1)
            receiver.up()
        outbox.put(first_message(str(number), "anomaly", "front", {}))
    wait_until(lambda: outbox.depth(webhook.key) == 0)
    drain([courier], 5)
    assert [json.loads(body)["id"] for body in receiver.bodies] == [str(number) for number in range(12)]
