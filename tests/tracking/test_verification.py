"""A model from the registry is verified before MLflow loads it: code that comes with one never runs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomalyclip.errors import JobError, UsageError
from anomalyclip.runs import TENSORS
from anomalyclip.storage import Storage
from anomalyclip.tracking import files
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.tracking.server import connect
from anomalyclip.tracking.smoke import smoke_scores

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]
VERSION = "models:/detector/1"


@pytest.fixture
def registered(open_run: OpenRun, bundle: Path, storage: Storage) -> Path:
    """The folder in which MLflow keeps a registered model."""
    with open_run() as tracking:
        register_model(tracking, log_model(tracking, bundle), "detector")
    (description,) = Path(storage.path("mlflow/artifacts")).rglob("MLmodel")
    return description.parent


def describe(model: Path, **changes: Any) -> None:
    """Change MLflow's description of a model, as who can write to the artifact store may."""
    described = yaml.safe_load((model / "MLmodel").read_text())
    described["flavors"]["python_function"] |= changes
    (model / "MLmodel").write_text(yaml.safe_dump(described))


def trap(model: Path) -> Path:
    """Put a module into a model that leaves a mark when it is imported."""
    (model / "code").mkdir()
    mark = model / "ran"
    (model / "code/trap.py").write_text(f"open({str(mark)!r}, 'w')\ndef _load_pyfunc(path): ...\n")
    return mark


def test_what_this_package_registered_is_loaded(registered: Path, storage: Storage) -> None:
    assert smoke_scores(VERSION, storage, None) == 32


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loader_module": "trap", "code": "code"}, "it would be loaded by 'trap', not by anomalyclip"),
        ({"code": "code"}, "its description has code"),
        ({"data": "../../elsewhere"}, "its data are outside of the model"),
    ],
)
def test_a_model_with_code_or_a_loader_of_its_own_is_refused_and_nothing_runs(
    registered: Path, storage: Storage, tracking_uri: str, changes: dict[str, str], says: str
) -> None:
    mark = trap(registered)
    describe(registered, **changes)
    with pytest.raises(JobError, match=f"is refused: {says}"):
        smoke_scores(VERSION, storage, None)
    with pytest.raises(UsageError, match=f"is refused: {says}"):
        files.bundle(VERSION, tracking_uri)
    assert not mark.exists()


def test_files_that_are_not_the_registered_ones_are_refused(
    registered: Path, storage: Storage, tracking_uri: str
) -> None:
    (tensors,) = registered.rglob(TENSORS)
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(JobError, match="its files are not those that were registered"):
        smoke_scores(VERSION, storage, None)
    version = connect(tracking_uri).get_model_version("detector", "1")
    for name in (VERSION, version.source, version.run_id):
        with pytest.raises(UsageError, match=f"{name} is refused: its files are not those that were registered"):
            files.bundle(name, tracking_uri)


def test_a_version_with_the_digest_of_another_run_is_refused(
    registered: Path, storage: Storage, open_run: OpenRun
) -> None:
    with open_run() as tracking:
        tracking.client.set_model_version_tag("detector", "1", "model_digest", "f" * 64)
    with pytest.raises(JobError, match="digests of the version and of its run differ"):
        smoke_scores(VERSION, storage, None)
