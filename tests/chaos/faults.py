"""Faults of the surroundings: a full or read-only disk, a tracking server or an object store that fails, a twin, a
clock that is set; and drivers that are killed while they work in an object store.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.clock import Clock
from tests.chaos.draws import SEED
from tests.chaos.kills import PACES, PATIENCE_SECONDS, again, end_as_unbroken, last_line, traceback
from tests.chaos.ledger import Row
from tests.chaos.objects import in_object_store
from tests.chaos.processes import Job
from tests.chaos.stages import STAGES, Stage
from tests.chaos.world import World

FAULT_SECONDS = 30.0
ROOM = 400 * 2**20


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    stage: str
    moment: float
    """Part of the space that an unbroken command needs, or of its time."""

    @property
    def case(self) -> str:
        """Name of the case."""
        return f"fault-{self.name}-{self.stage}-{self.moment:.3f}".replace(" ", "-").replace(",", "")


def draw(each: int) -> Iterator[Fault]:
    """Draw `each` moments per kind of fault and command."""
    for name, stages in WHERE.items():
        for stage in stages:
            dice = random.Random(f"{SEED}-{name}-{stage}")
            number = TIMES.get(name, each if name in DRAWN else 1)
            yield from (Fault(name, stage, dice.random()) for _ in range(number))


def run(world: World, fault: Fault) -> Row:
    """Break a command, mend what broke it, give it again where it failed, and compare."""
    started, stage = time.monotonic(), STAGES[fault.stage]
    world.unbroken(stage)
    faults, note = KINDS[fault.name](world, stage, fault)
    done = note != TOO_LATE
    return Row("fault", fault.stage, fault.name, fault.case, done, faults, note, time.monotonic() - started)


def may_mount() -> bool:
    """Whether this user may mount a tmpfs."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


@contextmanager
def mounted(folder: Path) -> Iterator[Callable[[str], None]]:
    """Mount a tmpfs; yields a function that changes its options."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], check=True)
    try:
        yield lambda options: _mount(folder, options)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def _disk(world: World, stage: Stage, fault: Fault) -> tuple[list[str], str]:
    """A root without room for all that the command writes, or that nobody can write."""
    with mounted(world.root) as remount:
        world.fill(stage)
        broken, mended = "ro", "rw"
        if fault.name == "disk full":
            used = shutil.disk_usage(world.root).used
            size = used + int(fault.moment * max(0, world.unbroken(stage).bytes_added))
            broken, mended = f"size={size // 4096 * 4096}", f"size={ROOM}"
        remount(broken)
        job = world.start(stage)
        code = job.wait(PATIENCE_SECONDS)
        job.end()
        said, faults = f"exit code {code}: {last_line(job)}", _line(job, code)
        remount(mended)
        return faults + end_as_unbroken(world, stage, code), said


def _tracking(world: World, stage: Stage, fault: Fault) -> tuple[list[str], str]:
    """A tracking server that does not answer, answers late, or answers with errors for half a minute."""
    world.restore(stage)
    job = world.start(stage)
    job.wait(fault.moment * world.unbroken(stage).seconds)
    world.tracking.proxy.fault = fault.name.removeprefix("tracking ")
    job.wait(FAULT_SECONDS)
    world.tracking.proxy.fault = ""
    code = job.wait(PATIENCE_SECONDS)
    job.end()
    said, faults = f"exit code {code}: {last_line(job)}", _line(job, code)
    return faults + end_as_unbroken(world, stage, code), said


def _objects(world: World, stage: Stage, fault: Fault) -> tuple[list[str], str]:
    """A storage root in an object store that does not answer, or answers late, for half a minute."""
    world.restore(stage)
    with in_object_store(world) as laid:
        job = world.start(stage)
        job.wait(fault.moment * world.unbroken(stage).seconds)
        laid.fault = "slow" if fault.name == "objects slow" else "away"
        job.wait(FAULT_SECONDS)
        laid.fault = ""
        code = job.wait(PATIENCE_SECONDS)
        job.end()
        said, faults = f"exit code {code}: {last_line(job)}", _line(job, code)
        faults += again(world, stage) if code != 0 else []
    return faults + end_as_unbroken(world, stage, 0), said


def _together(world: World, stage: Stage, fault: Fault) -> tuple[list[str], str]:
    """The same command several times at once: one works, the others wait or say who does."""
    world.restore(stage)
    jobs = [world.start(stage, f"log-{number}") for number in range(TOGETHER[fault.name])]
    codes = [job.wait(PATIENCE_SECONDS) for job in jobs]
    faults = [said for job, code in zip(jobs, codes, strict=True) for said in _line(job, code)]
    for job in jobs:
        job.end()
    best = 0 if 0 in codes else 1
    note = "; ".join(f"{code}: {last_line(job)}" for job, code in zip(jobs, codes, strict=True) if code)
    return faults + ([] if best == 0 else ["none of them ended well"]) + end_as_unbroken(world, stage, best), note


def _clock(world: World, stage: Stage, fault: Fault) -> tuple[list[str], str]:
    """The clock of a command is set by two hours, and then the same command is given beside it."""
    world.restore(stage)
    clock = Clock.build(world.folder)
    job = world.start(stage, environment=clock.environment)
    code = job.wait(fault.moment * world.unbroken(stage).seconds)
    if code is not None:
        job.end()
        return [], TOO_LATE
    clock.set(JUMPS[fault.name])
    twin = world.start(stage, "twin", clock.environment)
    codes = [each.wait(PATIENCE_SECONDS) for each in (job, twin)]
    faults = [said for each, ended in zip((job, twin), codes, strict=True) for said in _line(each, ended)]
    faults += ["the living was replaced"] if "no sign of life" in job.said() else []
    faults += [] if 0 in codes else ["none of both ended well"]
    note = "; ".join(f"{code}: {last_line(each)}" for each, code in zip((job, twin), codes, strict=True) if code)
    for each in (job, twin):
        each.end()
    return faults + end_as_unbroken(world, stage, 0 if 0 in codes else 1), note


def _killed(world: World, stage: Stage, fault: Fault) -> tuple[list[str], str]:
    """The driver is killed while its root is in an object store."""
    for pace in PACES:
        world.restore(stage)
        moment = pace * fault.moment * world.unbroken(stage).seconds
        with in_object_store(world):
            job = world.start(stage)
            is_killed = job.wait(moment) is None
            if is_killed:
                job.process.kill()
            job.end()
            faults = again(world, stage) if is_killed else []
        if is_killed:
            return faults + end_as_unbroken(world, stage, 0), f"killed after {moment:.1f} s"
    return [], TOO_LATE


def _line(job: Job, code: int | None) -> list[str]:
    """A command that cannot go on says so in a line, and ends with 1 or 2."""
    if code is None:
        return ["hung"]
    faults = [] if code in (0, 1, 2) else [f"exit code {code}"]
    if code and not last_line(job).startswith(("error: ", "failed: ")):
        faults.append(f"the last line says {last_line(job)[:200]!r}")
    return faults + traceback(job)


TOGETHER = {"two at once": 2, "six at once": 6}
KINDS: Mapping[str, Callable[[World, Stage, Fault], tuple[list[str], str]]] = {
    "disk full": _disk,
    "read-only": _disk,
    "tracking away": _tracking,
    "tracking slow": _tracking,
    "tracking 500": _tracking,
    "objects away": _objects,
    "objects slow": _objects,
    "two at once": _together,
    "six at once": _together,
    "clock forwards": _clock,
    "clock backwards": _clock,
    "driver killed on S3": _killed,
}
JUMPS = {"clock forwards": 7200, "clock backwards": -7200}
"""Seconds."""
TOO_LATE = "ended before"
WRITERS = tuple(name for name, stage in STAGES.items() if not stage.server)
WHERE: Mapping[str, tuple[str, ...]] = {
    "disk full": WRITERS,
    "read-only": WRITERS,
    **dict.fromkeys(("tracking away", "tracking slow", "tracking 500"), ("train, server",)),
    **dict.fromkeys(("objects away", "objects slow"), ("extract", "train, server")),
    "two at once": WRITERS,
    "six at once": ("extract", "import", "train", "evaluate", "score", "promote", "gc", "search"),
    **dict.fromkeys(JUMPS, ("extract", "train", "promote", "gc")),
    "driver killed on S3": ("extract", "train, server"),
}
TIMES = {"driver killed on S3": 5}
"""Kinds with a number of draws of their own."""
DRAWN = {"disk full", "tracking away", "tracking slow", "tracking 500", "objects away", "objects slow"}
MOUNTS = {"disk full", "read-only"}
