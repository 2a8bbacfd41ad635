"""Hostile files among good ones cost their own rows and nothing else."""

import os
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import psutil
import pytest

from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.chaos.draws import SEED
from tests.chaos.kills import PATIENCE_SECONDS, last_line, traceback
from tests.chaos.ledger import Ledger, Row
from tests.chaos.processes import Job
from tests.chaos.stages import STAGES
from tests.chaos.test_kills import assert_unbroken
from tests.chaos.world import World
from tests.hostile import encode, hostile_files

GOOD, BATCH = 20, 50
NUMBER = int(os.environ.get("CHAOS_HOSTILE", "1000"))
MEMORY_BYTES = 3 * 2**30
"""Of any one process: a decoder may not take more, whatever a header says."""


@pytest.mark.chaos
@pytest.mark.parametrize("batch", range(NUMBER // BATCH))
def test_hostile_files_cost_their_own_rows(world: World, ledger: Ledger, tmp_path: Path, batch: int) -> None:
    case = f"hostile-{batch:03d}"
    assert_unbroken(ledger.get(case) or ledger.keep(_run(world, tmp_path, batch, case)))


def _run(world: World, folder: Path, batch: int, case: str) -> Row:
    started = time.monotonic()
    good = pl.read_csv(world.manifest)["path"].head(GOOD).to_list()
    videos = [str(world.manifest.parent / path) for path in good]
    secret, drawn = encode(folder / "secret.ts"), folder / "drawn"
    drawn.mkdir()
    bad = [str(path) for path in hostile_files(drawn, SEED + batch, BATCH, secret)]
    world.unbroken(STAGES["extract"])
    mixed, memory = _watch(world, folder / "mixed", [*bad, *videos])
    faults = _judge(mixed, memory)
    if not faults:
        expected, found = _features(world.template("extract"), videos), _features(folder / "mixed", videos)
        faults = [f"features of {Path(video).name} differ" for video in videos if found[video] != expected[video]]
    note = f"{len(bad)} hostile, {memory / 2**20:.0f} MiB at most, exit code {mixed.process.returncode}"
    return Row("hostile", "extract", f"{BATCH} among {GOOD} good", case, True, faults, note, time.monotonic() - started)


def _watch(world: World, root: Path, videos: list[str]) -> tuple[Job, int]:
    """Extract, and return also the most bytes that any process had."""
    root.mkdir()
    rows = "\n".join(f"v{number},{video},train,,," for number, video in enumerate(videos))
    (root / "videos.csv").write_text(f"video_id,path,split,labels,anomalies,num_frames\n{rows}\n")
    line = ["workflows/extract.py", str(root / "videos.csv"), "--set", "extraction.decode_timeout=20"]
    job, memory = world.launch([*line, "--storage", str(root)], root / "log"), 0
    while job.process.poll() is None and job.seconds < PATIENCE_SECONDS:
        for process in job.look():
            with suppress(psutil.Error):
                memory = max(memory, process.memory_info().rss)
        time.sleep(0.1)
    job.end()  # kills a command that hangs: its exit code is negative then
    return job, memory


def _judge(job: Job, memory: int) -> list[str]:
    code = job.process.returncode
    faults = [] if code == 0 else ["hung" if code < 0 else f"exit code {code}: {last_line(job)}"]
    faults += traceback(job)
    return faults + ([f"a process took {memory / 2**20:.0f} MiB"] if memory > MEMORY_BYTES else [])


def _features(root: Path, videos: list[str]) -> dict[str, bytes]:
    (fingerprint,) = [path.name for path in (root / "features").iterdir()]
    store = FeatureStore(Storage(str(root)), fingerprint)
    return {video: store.read_features(video).tobytes() for video in videos}
