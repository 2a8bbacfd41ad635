"""The place of all experiments: drawn videos, one storage root, and what unbroken commands leave in it."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.processes import Job, start
from tests.chaos.stages import STAGES, Stage
from tests.chaos.state import State, read_state
from tests.chaos.tracking import Tracking
from tests.drawn import draw_demo

DAY = 86_400
NO_GCS_SECONDS = "10"
"""Time that a Ray without its GCS waits for another one, which never comes here; by itself a minute of every kill."""


@dataclass
class Unbroken:
    """What a command does if nothing breaks it."""

    state: State
    seconds: float
    lives: dict[str, tuple[float, float]]
    """When the first process of a role was seen, and when the last one, in seconds."""
    bytes_added: int


@dataclass
class World:
    """A folder that keeps all of it, so that the next session goes on where this one ended.

    All commands work in one storage root: MLflow keeps absolute paths, so what a command starts from is copied there.
    """

    folder: Path
    tracking: Tracking
    place: str | None = None
    """Where commands work instead, while the root's files are there."""
    _unbroken: dict[str, Unbroken] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["World"]:
        """Open a folder, new or used before."""
        (folder / "scratch").mkdir(parents=True, exist_ok=True)
        draw_demo(folder / "videos")
        (folder / "footage").mkdir(exist_ok=True)
        if not (folder / "footage/clips").exists():
            draw_demo(folder / "footage", seed=1)
        with Tracking.serve(folder) as tracking:
            yield cls(folder, tracking)

    @property
    def manifest(self) -> Path:
        """The manifest of the drawn videos."""
        return self.folder / "videos/manifest.csv"

    @property
    def footage(self) -> str:
        """Six videos that no training has seen: few enough to be extracted without Ray."""
        return str(self.folder / "footage/clips/test_*.mp4")

    @property
    def root(self) -> Path:
        """The storage root of every command."""
        return self.folder / "root"

    def start(self, stage: Stage, log: str = "log", environment: Mapping[str, str] | None = None) -> Job:
        """Start a stage's command in the root as it is; its output goes to files of that name."""
        line = [*stage.line(self), "--storage", self.place or str(self.root)]
        line += ["--tracking-uri", self.tracking.address] if stage.server else []
        return self.launch(line, self.folder / log, environment)

    def launch(self, line: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Job:
        """Start any command of this project, on a Ray of its own."""
        told = {"ANOMALYCLIP_SCRATCH": str(self.folder / "scratch"), "RAY_ADDRESS": "", "OMP_NUM_THREADS": "1"}
        told["RAY_gcs_rpc_server_reconnect_timeout_s"] = NO_GCS_SECONDS
        return start(line, log, {**told, **(environment or {})})

    def restore(self, stage: Stage) -> None:
        """Bring the root, which must not be a mount, to where a measured stage starts; empties the scratch folder."""
        self.tracking.stop()
        for folder in (self.root, self.folder / "scratch"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.fill(stage)

    def fill(self, stage: Stage) -> None:
        """Copy into the empty root what a stage starts from."""
        if stage.after:
            shutil.copytree(self.template(stage.after), self.root, dirs_exist_ok=True)
        stage.arrange(self)
        if stage.server:
            self.tracking.start(self.root / "mlflow")

    def unbroken(self, stage: Stage) -> Unbroken:
        """Return what an unbroken command leaves; runs it if it never ran here."""
        if stage.name not in self._unbroken:
            if stage.after:
                self.unbroken(STAGES[stage.after])
            if not self._measured(stage.name).exists():
                self._measure(stage)
            seconds, lives, added = json.loads(self._measured(stage.name).read_text())
            state = read_state(self.template(stage.name))
            self._unbroken[stage.name] = Unbroken(state, seconds, lives, added)
        return self._unbroken[stage.name]

    def template(self, name: str) -> Path:
        """Return the root that an unbroken command has left."""
        return self.folder / "roots" / name

    def age(self, days: float) -> None:
        """Make every file of the root that old."""
        then = time.time() - days * DAY
        for path in self.root.rglob("*"):
            os.utime(path, (then, then))

    def size(self) -> int:
        """Return the bytes of the root's files, in whole pages as a tmpfs counts them."""
        return sum(-(-path.stat().st_size // 4096) * 4096 + 4096 for path in self.root.rglob("*"))

    def _measure(self, stage: Stage) -> None:
        self.restore(stage)
        before = self.size()
        job = self.start(stage)
        lives: dict[str, tuple[float, float]] = {}
        while job.process.poll() is None:
            for role in {*stage.roles} - {"MLflow server"}:
                if job.victims(role):
                    lives[role] = (lives.get(role, (job.seconds, 0.0))[0], job.seconds)
            time.sleep(0.1)
        seconds = job.seconds
        lives["MLflow server"] = (0.0, seconds)
        job.end()
        assert job.process.returncode == 0, f"{stage.name}, unbroken: {job.said()[-2000:]}"
        self.tracking.stop()
        shutil.rmtree(self.template(stage.name), ignore_errors=True)
        self.template(stage.name).parent.mkdir(exist_ok=True)
        added = self.size() - before
        shutil.copytree(self.root, self.template(stage.name))
        self._measured(stage.name).write_text(json.dumps([seconds, lives, added]))

    def _measured(self, name: str) -> Path:
        return self.folder / "roots" / f"{name}.json"
