"""A watch's model is verified before it is used, and follows its alias."""

import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.job import Job
from anomalyclip.jobs import live_models
from anomalyclip.jobs.live_models import LiveModels, followed
from anomalyclip.jobs.operating import Asked
from anomalyclip.live.watch import Model
from anomalyclip.runs import TENSORS
from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import tracked_run
from tests.receivers import wait_until
from tests.registered import write_bundle

ALIAS = "models:/detector@champion"
ASKED = Asked(threshold=0.5)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job on a registry: versions 1 and 2, and 3, whose files were changed."""
    folder = tmp_path_factory.mktemp("registry")
    storage, uri = Storage(str(folder / "root")), f"sqlite:///{folder}/mlflow.db"
    for seed in range(3):
        bundle = write_bundle(folder / f"bundle-{seed}", seed)
        with tracked_run(uri, storage, "tests", str(seed)) as tracking:
            register_model(tracking, log_model(tracking, bundle), "detector")
    last = (bundle / TENSORS).read_bytes()
    (tensors,) = (file for file in Path(storage.path("mlflow")).rglob(TENSORS) if file.read_bytes() == last)
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\0")
    yield Job(storage, RunConfig(), None, False, uri)
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def move(job: Job, version: int) -> None:
    mlflow.MlflowClient(job.tracking_uri).set_registered_model_alias("detector", "champion", str(version))


@pytest.fixture
def models(job: Job) -> LiveModels:
    move(job, 1)
    return LiveModels(job, ALIAS, ASKED)


def test_an_alias_is_followed(job: Job, models: LiveModels) -> None:
    first = models.look()
    assert first is not None and first.name == "models:/detector/1"
    assert models.look() is None
    move(job, 2)
    second = models.look()
    assert second is not None and second.name == "models:/detector/2"


def test_a_version_whose_files_were_changed_is_refused_once_and_the_old_one_stays(
    job: Job, models: LiveModels, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "anomalyclip")
    models.look()
    move(job, 3)
    looks, look = list[int](), models.look
    monkeypatch.setattr(models, "look", lambda: looks.append(1) or look())
    taken, asked = list[Model](), threading.Event()
    with followed(models, taken.append, 0.02, asked):
        wait_until(lambda: "the model stays as it is: models:/detector/3 is refused: its files are not" in caplog.text)
        wait_until(lambda: len(looks) > 3)
        said = caplog.text.count("stays as it is")
        move(job, 2)
        wait_until(lambda: taken)
    assert (said, [model.name for model in taken]) == (1, ["models:/detector/2"])


def test_without_a_time_it_looks_when_it_is_asked(
    job: Job, models: LiveModels, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "anomalyclip")
    models.look()
    taken, asked = list[Model](), threading.Event()
    with followed(models, taken.append, 0, asked):
        asked.set()
        wait_until(lambda: "the model is the same as before" in caplog.text)
        move(job, 2)
        asked.set()
        wait_until(lambda: taken)
    assert [thread.name for thread in threading.enumerate()].count("model") <= 1


def test_models_of_the_same_features_share_an_encoder(job: Job, tmp_path: Path) -> None:
    found = LiveModels(job, str(tmp_path / "bundle"), ASKED)
    encoders = []
    for seed, crops in ((0, 1), (1, 1), (1, 5)):
        write_bundle(tmp_path / "bundle", seed, crops=crops)
        model = found.look()
        assert model is not None
        encoders.append(model.encode)
    assert found.look() is None
    assert encoders[0] is encoders[1] is not encoders[2]


def test_a_refused_model_leaves_the_encoder_of_the_one_in_use(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "bundle", 0)
    found = LiveModels(job, str(bundle), ASKED)
    first = found.look()
    with monkeypatch.context() as patch, pytest.raises(UsageError, match="it broke"):
        patch.setattr(live_models, "_try", broken)
        write_bundle(bundle, 1, crops=5)
        found.look()
    write_bundle(bundle, 2)
    second = found.look()
    assert first is not None and second is not None and second.encode is first.encode


def broken(model: Model) -> None:
    raise UsageError("it broke")


def test_what_cannot_score_cameras_is_refused(job: Job, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", 0)
    with pytest.raises(UsageError, match="has no table of false alarms"):
        LiveModels(job, str(bundle), Asked()).look()
    imported = write_bundle(tmp_path / "imported", 0, sampling_rate=None, features="i3d", backbone_identity=None)
    with pytest.raises(UsageError, match="trained on imported features"):
        LiveModels(job, str(imported), ASKED).look()
    with pytest.raises(UsageError, match=r"promote\.py sets champion"):
        LiveModels(job, "models:/detector@other", ASKED).look()
