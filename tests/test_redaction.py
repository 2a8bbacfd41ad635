"""Logins and tokens of addresses are hidden in all that is shown or kept; what has none stays as it is."""

import logging
from pathlib import Path

import pytest

from anomalyclip import progress
from anomalyclip.redaction import redact, redacted, without_login
from anomalyclip.runs import RunKind, find_run
from anomalyclip.storage import Storage

WITH_LOGIN = "http://operator:hunter2@server:5000"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"MLflow at {WITH_LOGIN}/x: no", "MLflow at http://***@server:5000/x: no"),
        ("postgresql+psycopg2://u:s/e?c#r@h/db", "postgresql+psycopg2://***@h/db"),
        ("https://a-token@host/x", "https://***@host/x"),
        ("s3://KEY:SE%2FCRET@b/x?region=eu&endpoint_override=h%3A9", "s3://***@b/x?region=eu&endpoint_override=h%3A9"),
        ("https://h/v.mp4?X-Amz-Signature=1a&sig=2b&pwd=3c&channel=4", "https://h/v.mp4?X-Amz-Signature=***&sig=***&pwd=***&channel=4"),
        ("['http://a:1', 'ftp://u:p@b']", "['http://a:1', 'ftp://***@b']"),
    ],
)  # fmt: skip
def test_logins_and_secret_parameters_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    ["models:/anomalyclip@champion", "sqlite:////data/a@b/mlflow.db", "http://[::1]:5000/x, a@b", "key=1, a@b", "s3://b/a@b.mp4"],
)  # fmt: skip
def test_what_has_no_login_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_values_are_hidden_at_any_depth() -> None:
    given = {"paths": [WITH_LOGIN, {WITH_LOGIN: (WITH_LOGIN, 1.5, None)}], "auc": 0.9}
    assert redacted(given) == {
        "paths": ["http://***@server:5000", {"http://***@server:5000": ["http://***@server:5000", 1.5, None]}],
        "auc": 0.9,
    }
    assert without_login(WITH_LOGIN) == "http://server:5000"


def test_log_lines_and_tracebacks_hide_logins(capsys: pytest.CaptureFixture[str]) -> None:
    handler = progress.handler()
    try:
        raise ValueError(f"cannot reach {WITH_LOGIN}")
    except ValueError as error:
        record = logging.LogRecord("x", logging.INFO, "f", 1, "at %s", (WITH_LOGIN,), (ValueError, error, None))
    handler.filter(record)
    assert "hunter2" not in handler.format(record)
    assert handler.format(record).count("***@server") == 2


def test_a_storage_root_connects_with_its_login_and_is_shown_without() -> None:
    root = "s3://KEY:SECRET@bucket/x?endpoint_override=127.0.0.1:1&scheme=http"
    storage = Storage(root)
    assert storage.root == root
    assert storage.uri("runs/a") == "s3://***@bucket/x/runs/a?endpoint_override=127.0.0.1:1&scheme=http"


def test_a_run_is_found_again_after_the_password_has_changed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    run = find_run(storage, RunKind.TRAINING, "a", "x", {"source": WITH_LOGIN})
    run.start()
    run.keep_mlflow_run(WITH_LOGIN, "1")
    again = find_run(storage, RunKind.TRAINING, "a", "x", {"source": WITH_LOGIN.replace("hunter2", "hunter3")})
    assert again.mlflow_run(WITH_LOGIN.replace("hunter2", "hunter3")) == "1"
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"hunter2" not in kept and b"***@server:5000" in kept
