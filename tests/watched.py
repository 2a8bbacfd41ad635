"""What tests of watching need: a video with events at known places, a model that finds them, and the command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from anomalyclip.benchmark.footage import videos
from anomalyclip.config import BackboneConfig, ModelConfig
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, save_bundle
from anomalyclip.model.directions import FixedDirections
from tests.conftest import ROOT
from tests.servers import free_port
from tests.streams import FPS, draw

Pictures = NDArray[np.uint8]
CLASSES = ("Explosion", "Normal")
SIZE = videos.WIDTH, videos.HEIGHT


@cache
def pictures() -> tuple[Pictures, Pictures]:
    """Frames of one clip of the embedded benchmark: of ordinary life, and of an explosion."""
    clip = next(each for each in videos.plan({"test": videos.Size(1, 1)}) if each.label == "Explosion")
    (start, end), = clip.anomalies  # fmt: skip
    drawn = [np.asarray(frame) for number, frame in enumerate(videos.frames(clip)) if number <= end - 6]
    return np.stack(drawn[: start - 4]), np.stack(drawn[start + 6 :])


def draw_video(path: Path, seconds: float, spans: Sequence[tuple[float, float]], codec: str = "libx264") -> Path:
    """A video of 25 frames/s with an explosion in each span (seconds)."""
    ordinary, explosion = pictures()

    def picture(number: int) -> Pictures:
        at = number / FPS
        event = any(start <= at < end for start, end in spans)
        return explosion[number % len(explosion)] if event else ordinary[number % len(ordinary)]

    return draw(path, round(seconds * FPS), SIZE, codec, picture)


def write_model(folder: Path, config: ModelConfig | None = None) -> Path:
    """A model of the method whose linear part tells these pictures from each other; the rest of it has random weights.

    It costs what a trained one costs.
    """
    torch.manual_seed(0)
    backbone, config = load_backbone(BackboneConfig()), config or ModelConfig(linear=True)
    encoder = FrameEncoder(backbone, "float32", torch.device("cpu"))
    ordinary, explosion = (torch.from_numpy(encoder(each)[:48, 0]).float() for each in pictures())
    model = AnomalyCLIP(FixedDirections(torch.randn(1, backbone.dim)), CLASSES, 1, ordinary.mean(0), config)
    assert model.linear is not None
    count = min(len(ordinary), len(explosion))
    both = torch.stack([ordinary[:count], explosion[:count]])
    model.linear.fit(model.recentre(both), torch.tensor([False, True]))
    model.linear.weight *= 6  # far from the random part, whose mean with it is the logit
    model.linear.bias *= 6
    described = {"classes": CLASSES, "normal_index": 1, "model": config, "backbone": BackboneConfig(),
                 "backbone_identity": backbone.identity, "sampling_rate": 1}  # fmt: skip
    save_bundle(folder, model.state_dict(), model.directions(), ModelCard.model_validate(described))
    return folder


class WatchRun:
    """The command in a process of its own, and the messages on its standard output."""

    def __init__(self, folder: Path, *arguments: str, settings: Mapping[str, object] | None = None) -> None:
        self.port = free_port()
        told = {"live.port": self.port, **(settings or {})}
        options = [word for name, value in told.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, str(ROOT / "workflows" / "watch.py"), *arguments, *options]
        command += ["--storage", str(folder / "storage"), "--output", str(folder / "watch")]
        self.messages: list[dict[str, Any]] = []
        self.errors = folder / "watch.log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with self.errors.open("a") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=log
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.messages.append(json.loads(line))

    def of(self, kind: str, type: str, source: str | None = None) -> list[dict[str, Any]]:
        """Messages of a kind of event and of a type, perhaps of one source."""
        found = [each for each in self.messages if (each.get("kind"), each["type"]) == (kind, type)]
        return [each for each in found if source in (None, each["source"])]

    def get(self, path: str) -> tuple[int, str]:
        """What the command serves there; status 0 if nothing answers."""
        with suppress(OSError):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
        return 0, ""

    def starved(self) -> float:
        """Share of the time in which its busiest thread was ready to run, and the machine was busy with others."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        waited = max(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e9
        return waited / (time.time() - psutil.Process(self.process.pid).create_time())

    def end(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        """Return the exit code once it has ended, and all its output is read."""
        code = self.process.wait(seconds)
        self._reader.join(10)
        return code


@contextmanager
def watching(folder: Path, *arguments: str, settings: Mapping[str, object] | None = None) -> Iterator[WatchRun]:
    """The command; it is killed at the end if it still runs."""
    run = WatchRun(folder, *arguments, settings=settings)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
