"""A served model is replaced without a gap, and a server with too much to do says so."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.runs import TENSORS
from anomalyclip.storage import Storage
from anomalyclip.tracking import scoring_server
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import tracked_run
from anomalyclip.tracking.scoring_server import ScoringServer
from anomalyclip.tracking.serving import CURRENT, ServedModel
from tests.registered import write_bundle

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and content."""
QUESTION = json.dumps({"dataframe_records": [{"features": [[0.1] * 64] * 20}]}).encode()


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    """A registry with two versions of a model, the first of which is champion."""
    storage, uri = Storage(str(tmp_path / "root")), f"sqlite:///{tmp_path}/mlflow.db"
    for seed in (0, 1):
        with tracked_run(uri, storage, "tests", str(seed)) as tracking:
            bundle = write_bundle(tmp_path / f"bundle-{seed}", seed)
            register_model(tracking, log_model(tracking, bundle), "detector")
            if seed == 0:
                tracking.client.set_registered_model_alias("detector", "champion", "1")
    yield uri
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def promote(uri: str, version: str) -> None:
    mlflow.MlflowClient(uri, uri).set_registered_model_alias("detector", "champion", version)


async def ask(server: ScoringServer) -> Answer:
    """One request, as uvicorn hands it over."""
    scope = {"type": "http", "method": "POST", "path": "/invocations", "query_string": b"",
             "headers": [(b"content-type", b"application/json")], "client": None, "server": None,
             "scheme": "http", "root_path": "", "http_version": "1.1", "asgi": {"version": "3.0"}}  # fmt: skip
    told: list[dict[str, Any]] = []
    asked = iter([{"type": "http.request", "body": QUESTION, "more_body": False}])

    async def receive() -> dict[str, Any]:
        if (message := next(asked, None)) is not None:
            return message
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: Any) -> None:
        told.append(message)

    await server(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in told[0]["headers"]}
    return told[0]["status"], headers, b"".join(part.get("body", b"") for part in told[1:])


def scores(server: ScoringServer) -> list[float]:
    status, _, content = asyncio.run(ask(server))
    assert status == 200, content
    return list(json.loads(content)["predictions"][0]["score"])


@pytest.fixture
def served(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServedModel:
    """The champion's verified copy."""
    (tmp_path / "served").mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "served"))
    model = ServedModel("models:/detector@champion", uri, tmp_path / "served")
    assert model.look() == "models:/detector/1"
    return model


def test_a_version_that_the_alias_moves_to_takes_over(served: ServedModel, uri: str, tmp_path: Path) -> None:
    server = ScoringServer(tmp_path / "served")
    first = scores(server)
    assert (served.look(), server.look(), scores(server)) == (None, False, first)

    promote(uri, "2")
    assert (served.look(), server.look()) == ("models:/detector/2", True)
    assert scores(server) != first
    promote(uri, "1")
    assert (served.look(), server.look()) == ("models:/detector/1", True)
    assert scores(server) == first


def test_a_request_that_was_begun_is_answered_by_the_model_it_found(
    served: ServedModel, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ScoringServer(tmp_path / "served")
    first, real = scores(server), scoring_server.scoring_server.invocations
    promote(uri, "2")

    def swap(*arguments: Any) -> Any:
        if served.look():
            assert server.look()
        return real(*arguments)

    monkeypatch.setattr(scoring_server.scoring_server, "invocations", swap)
    assert scores(server) == first
    assert scores(server) != first


def test_a_version_that_is_refused_is_looked_at_again(served: ServedModel, uri: str, tmp_path: Path) -> None:
    promote(uri, "2")
    (tensors,) = [path for path in (tmp_path / "root/mlflow/artifacts").rglob(TENSORS)
                  if path.read_bytes() == (tmp_path / "bundle-1" / TENSORS).read_bytes()]  # fmt: skip
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UsageError, match="models:/detector/2 is refused"):
        served.look()
    tensors.write_bytes(whole)
    assert served.look() == "models:/detector/2"


def test_a_copy_that_does_not_load_leaves_the_model_in_service(
    served: ServedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ScoringServer(tmp_path / "served")
    first = scores(server)
    told = {"version": "models:/detector/9", "copy": str(tmp_path / "nothing")}
    (tmp_path / "served" / CURRENT).write_text(json.dumps(told))
    assert not server.look() and not server.look()
    assert [record.getMessage() for record in caplog.records if "cannot be loaded" in record.message] == [
        "the new version cannot be loaded: models:/detector/1 stays"
    ]
    assert scores(server) == first


def test_more_requests_than_may_wait_are_told_to_come_back(
    served: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_server, "AT_ONCE", 1)
    monkeypatch.setattr(scoring_server, "WAITING", 1)
    server = ScoringServer(tmp_path / "served")
    go, at_once, most = asyncio.Event(), 0, 0

    async def score(scope: Any, receive: Any, send: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await go.wait()
        at_once -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def crowd() -> list[Answer]:
        asked = [asyncio.create_task(ask(server)) for _ in range(4)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        go.set()
        return [await each for each in asked]

    monkeypatch.setattr(server, "_app", score)
    answers = asyncio.run(crowd())
    assert [status for status, _, _ in answers] == [200, 200, 503, 503]
    assert (answers[-1][1]["retry-after"], most) == ("5", 1)
