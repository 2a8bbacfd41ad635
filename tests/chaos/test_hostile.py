"""Hostile files among good ones cost their own rows and nothing else."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import psutil
import pytest

from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.chaos.draws import SEED
from tests.chaos.kills import last_line, traceback
from tests.chaos.ledger import Ledger, Row
from tests.chaos.processes import Job
from tests.chaos.stages import STAGES
from tests.chaos.test_kills import assert_unbroken
from tests.chaos.traced import outside, traced
from tests.chaos.world import World
from tests.hostile import encode, hostile_files

GOOD, BATCH = 20, 1000
NUMBER = int(os.environ.get("CHAOS_HOSTILE", "1000"))
DECODE_SECONDS = 20
"""Without a sign of life, after which a video is given up."""
HANG_SECONDS = 3600.0
"""Beside a busy machine, and under strace."""
MEMORY_BYTES = 3 * 2**30
"""Of any one process: a decoder may not take more, whatever a header says."""


@pytest.mark.chaos
@pytest.mark.parametrize("batch", range(-(-NUMBER // BATCH)))
def test_hostile_files_cost_their_own_rows(world: World, ledger: Ledger, tmp_path: Path, batch: int) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is missing: apt-get install strace")
    case = f"hostile-{batch:03d}"
    assert_unbroken(ledger.get(case) or ledger.keep(_run(world, tmp_path, batch, case)))


def _run(world: World, folder: Path, batch: int, case: str) -> Row:
    started = time.monotonic()
    good = pl.read_csv(world.manifest)["path"].head(GOOD).to_list()
    videos = [str(world.manifest.parent / path) for path in good]
    (folder / "elsewhere").mkdir()
    secret, drawn = encode(folder / "elsewhere/secret.ts"), folder / "drawn"
    drawn.mkdir()
    bad = [str(path) for path in hostile_files(drawn, SEED + batch, BATCH, secret)]
    world.unbroken(STAGES["extract"])
    files = [path for path in bad if Path(path).is_file()]
    faults = _refused(world, folder / "refused", [*bad, *videos], len(bad) - len(files))
    mixed, memory = _watch(world, folder / "mixed", [*files, *videos])
    decoders, strange = outside(folder / "mixed.calls", {*files, *videos})
    faults += _judge(mixed, memory) + strange + ([] if decoders else ["no decoder was traced"])
    if not faults:
        expected, found = _features(world.template("extract"), videos), _features(folder / "mixed", videos)
        faults = [f"features of {Path(video).name} differ" for video in videos if found[video] != expected[video]]
    note = f"{len(bad) - len(files)} refused with the manifest, {len(files)} extracted by {decoders} decoders, "
    note += f"{memory / 2**20:.0f} MiB at most, exit code {mixed.process.returncode}"
    return Row("hostile", "extract", f"{BATCH} among {GOOD} good", case, True, faults, note, time.monotonic() - started)


def _refused(world: World, root: Path, videos: list[str], special: int) -> list[str]:
    """Pipes, devices and links that lead nowhere are refused with their rows, and nothing is begun."""
    job, _ = _watch(world, root, videos)
    said = f"has {special} fault(s)" in job.said()
    faults = (
        [] if job.process.returncode == 2 and said else [f"not refused: {job.process.returncode}, {last_line(job)}"]
    )
    return faults + [f"{path.name} was written" for path in root.iterdir() if path.is_dir()]


def _watch(world: World, root: Path, videos: list[str]) -> tuple[Job, int]:
    """Extract, and return also the most bytes that any process had."""
    root.mkdir()
    rows = "\n".join(f"v{number},{video},train,,," for number, video in enumerate(videos))
    (root / "videos.csv").write_text(f"video_id,path,split,labels,anomalies,num_frames\n{rows}\n")
    line = ["workflows/extract.py", str(root / "videos.csv"), "--set", f"extraction.decode_timeout={DECODE_SECONDS}"]
    line += ["--storage", str(root)]
    job, memory = world.launch(line, root / "log", traced(root.with_suffix(".calls"))), 0
    while job.process.poll() is None and job.seconds < HANG_SECONDS:
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
    if "worker died" in job.said():
        faults.append("a worker died")
    return faults + ([f"a process took {memory / 2**20:.0f} MiB"] if memory > MEMORY_BYTES else [])


def _features(root: Path, videos: list[str]) -> dict[str, bytes]:
    (fingerprint,) = [path.name for path in (root / "features").iterdir()]
    store = FeatureStore(Storage(str(root)), fingerprint)
    return {video: store.read_features(video).tobytes() for video in videos}
