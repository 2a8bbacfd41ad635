"""What tests of several folders share: a small Ray, an empty storage, and drawn videos."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from torch import Tensor

from anomalyclip.features import torchvision_fix  # noqa: F401  (before any import of open_clip)
from anomalyclip.features.feature_file import FeatureWriter
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests import released
from tests.drawn import draw_demo
from tests.servers import S3_LOGIN, object_store, s3_root

# `--hypothesis-profile=chaos` is for `make chaos`; the suite draws the same few cases each time
_ANY_SPEED = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("suite", max_examples=40, derandomize=True, **_ANY_SPEED)
settings.register_profile("chaos", max_examples=10_000, **_ANY_SPEED)
settings.load_profile("suite")

ROOT = Path(__file__).parent.parent
DrawVideo = Callable[..., Path]
PutFeatures = Callable[..., None]


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray of four logical CPUs, so that actors and tasks find room on two cores."""
    import ray

    ray.init(
        num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        object_store_memory=200 * 2**20,
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Tensor]]:
    """Load one golden file, which is not to be changed; strings stay NumPy arrays."""
    return released.golden


@pytest.fixture(autouse=True)
def _same_priority() -> Iterator[None]:
    """A test that leaves this process a real-time priority starves all others, until the machine stands still."""
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty local storage."""
    return Storage(str(tmp_path / "storage"))


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server; this process and those that it starts have its login."""
    with pytest.MonkeyPatch.context() as patch, object_store(tmp_path_factory.mktemp("s3")) as address:
        for name, value in S3_LOGIN.items():
            patch.setenv(name, value)
        yield address


@pytest.fixture
def s3_storage(s3_address: str) -> Storage:
    """An empty storage root on an S3 server."""
    return Storage(s3_root(s3_address, uuid4().hex))


@pytest.fixture(scope="session", autouse=True)
def _scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep temporary files and caches of the tests, workers included, in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALYCLIP_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")
        yield


@pytest.fixture(scope="session")
def draw_video() -> DrawVideo:
    """Return `draw(path, num_frames=24, width=64, height=48, fps=25, seed=0, rotation=0)`: a square in noise."""

    def draw(
        path: Path,
        num_frames: int = 24,
        width: int = 64,
        height: int = 48,
        fps: int = 25,
        seed: int = 0,
        rotation: int = 0,
    ) -> Path:
        generator = np.random.default_rng(seed)
        background = generator.integers(0, 200, (height, width, 3), dtype=np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            for number in range(num_frames):
                picture = background.copy()
                left = (seed + number) % (width - 8)
                picture[8:16, left : left + 8] = 255
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    return draw


@pytest.fixture
def put_features(tmp_path: Path) -> PutFeatures:
    """Return `put(store, video, features, sampling_rate=1, num_frames=None)`; the hash is the video's base name.

    Features are `(frames, crops, dim)`, or `(frames, dim)` of a single crop.
    """

    def put(
        store: FeatureStore, video: str, features: np.ndarray, sampling_rate: int = 1, num_frames: int | None = None
    ) -> None:
        frames = num_frames or len(features)
        features = features if features.ndim == 3 else features[:, None]
        with FeatureWriter(tmp_path / "features", sampling_rate) as writer:
            writer.append(features)
            writer.describe({"num_frames": str(frames), "fps": "25.0"})
        content = Path(video).stem
        store.publish(tmp_path / "features", content)
        with store.merging():
            store.record([ExtractionResult(video, 1, 1, content, len(features), frames, 25.0)])

    return put


@pytest.fixture(scope="session")
def drawn_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the drawn stand-in clips."""
    return draw_demo(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def storage_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One storage root for all jobs of the session, so that features are extracted once."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def start_job(storage_root: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a command of `workflows/` in a process of its own, on a Ray of its own."""

    def start(command: str, *arguments: str) -> subprocess.Popen[str]:
        line = [sys.executable, str(ROOT / "workflows" / f"{command}.py"), *arguments, "--storage", str(storage_root)]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0"}
        return subprocess.Popen(
            line, env=environment, cwd=storage_root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


@pytest.fixture(scope="session")
def run_job(start_job: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, dict[str, Any] | None, str]]:
    """Run a command to its end; returns exit code, the JSON of its last line, and standard error."""

    def run(command: str, *arguments: str) -> tuple[int, dict[str, Any] | None, str]:
        process = start_job(command, *arguments)
        output, errors = process.communicate(timeout=600)
        return process.returncode, json.loads(output) if output.strip() else None, errors

    return run


@pytest.fixture(scope="session")
def options() -> Sequence[str]:
    """Settings of a small, quick training."""
    return [
        part
        for setting in (
            "training.epochs=6", "training.warmup_epochs=1", "training.learning_rate=1e-3", "training.batch_size=8",
            "model.embedding_dim=16", "model.heads=2",
        )
        for part in ("--set", setting)
    ]  # fmt: skip
