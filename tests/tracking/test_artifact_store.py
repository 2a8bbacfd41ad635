"""Files in an object store need a library that is not installed by default: said before anything is written."""

import sys
from types import ModuleType

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.storage import Storage
from anomalyclip.tracking.artifact_store import EXTRAS, check_artifact_store
from anomalyclip.tracking.runs import tracked_run
from anomalyclip.tracking.server import connect, mlflow_errors


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "s3"), ("gs", "gcs")])
def test_an_experiment_in_an_object_store_without_its_library_is_refused_and_gets_no_run(
    scheme: str, extra: str, tracking_uri: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, scheme, ("no_such_library.at_all", extra))
    client = connect(tracking_uri)
    experiment = client.create_experiment("tests", artifact_location=f"{scheme}://bucket/mlflow")
    says = rf"files in {scheme}://bucket/mlflow, which needs no_such_.*: install 'anomalyclip\[{extra}\]'"
    with pytest.raises(UsageError, match=says), tracked_run(tracking_uri, storage, "tests", "a"):
        pytest.fail("a run was started")
    assert list(client.search_runs([experiment])) == []


def test_what_is_installed_and_other_places_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "s3", ("json", "s3"))
    for location in ("s3://bucket/x", "/local", "file:///local", "mlflow-artifacts:/1"):
        check_artifact_store(location)


def test_a_library_that_mlflow_misses_later_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"MLflow at x needs boto3.*anomalyclip\[s3\]"), mlflow_errors("x"):
        import boto3  # type: ignore[import-not-found]

        assert isinstance(boto3, ModuleType)
