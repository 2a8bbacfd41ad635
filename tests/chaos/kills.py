"""Kills at drawn moments: who, when, and whether the same command ends as an unbroken one."""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.chaos.ledger import Row
from tests.chaos.processes import POLL_SECONDS, Job
from tests.chaos.stages import STAGES, Stage
from tests.chaos.state import PARTIAL, differences, read_state
from tests.chaos.world import World

SEED = 20261126
PATIENCE_SECONDS = 600.0
"""Beside a busy machine; a command that takes longer counts as hung."""
PACES = (1.0, 0.6, 0.3)
"""A machine that has become quicker since the unbroken run ends a command before its moment: then it comes earlier."""
SHARES = {"extract": 5, "import": 3, "train": 4, "train, 2 workers": 3, "train, server": 3, "evaluate": 3, "score": 4,
          "promote": 3, "gc": 3, "search": 2}  # fmt: skip
"""How often a stage is drawn: quick commands more often."""


@dataclass(frozen=True)
class Kill:
    """One kill."""

    number: int
    stage: str
    role: str
    moment: float
    """Part of the time in which processes of this role live in an unbroken run."""
    at_once: bool
    """Whether the command is given again at once, while what a dead driver left is still there."""

    @property
    def case(self) -> str:
        """Name of the case."""
        return f"kill-{self.number:04d}"


def draw(count: int, seed: int = SEED) -> Iterator[Kill]:
    """Draw kills; a longer draw starts with the shorter one's."""
    for number in range(count):
        dice = random.Random(f"{seed}-{number}")
        stage = STAGES[dice.choices(list(SHARES), list(SHARES.values()))[0]]
        yield Kill(number, stage.name, dice.choice(stage.roles), dice.random(), dice.random() < 0.5)


def run(world: World, kill: Kill) -> Row:
    """Break a command once, give it again, and compare."""
    stage, started = STAGES[kill.stage], time.monotonic()
    unbroken = world.unbroken(stage)
    first, last = unbroken.lives.get(kill.role, (0.0, unbroken.seconds))
    for pace in PACES:
        world.restore(stage)
        job = world.start(stage)
        if killed := _kill(world, job, kill, pace * (first + kill.moment * (last - first))):
            break
    code = job.wait(PATIENCE_SECONDS)
    half = sum(bool(PARTIAL.search(path.name)) for path in world.root.rglob("*"))
    faults = ["hung after the kill"] if code is None else _told(job, code, kill)
    if kill.role == "MLflow server":
        world.tracking.restart()
    if not kill.at_once:
        job.end()
    faults += end_as_unbroken(world, stage, code)
    job.end()
    note = f"killed after {killed:.1f} s, exit code {code}, {half} half files" if killed else "ended before"
    return Row("kill", kill.stage, kill.role, kill.case, bool(killed), faults, note, time.monotonic() - started)


def _kill(world: World, job: Job, kill: Kill, moment: float) -> float:
    """Kill a process of a role at a moment, or as soon as one is there after it; returns when, 0 if none was."""
    while job.process.poll() is None:
        if job.seconds >= moment and (victims := _victims(world, job, kill)):
            job.look()
            killed = job.seconds
            for victim in victims:
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
            return killed
        time.sleep(POLL_SECONDS)
    return 0.0


def _victims(world: World, job: Job, kill: Kill) -> list[psutil.Process]:
    """One process of the role; of the server, all."""
    if kill.role == "MLflow server":
        return world.tracking.processes()
    found = job.victims(kill.role)
    return [random.Random(kill.number).choice(found)] if found else []


def _told(job: Job, code: int, kill: Kill) -> list[str]:
    """A command that outlives its victim ends well, or says in a line what happened."""
    if kill.role == "driver" or code == 0:
        return []
    faults = [f"exit code {code}"] if code not in (0, 1, 2) else []
    return faults + traceback(job)


def traceback(job: Job) -> list[str]:
    """Return a fault with the last traceback that a command printed; users are given lines."""
    _, found, last = job.said().rpartition("Traceback")
    return [f"a traceback: {last[-1500:]}"] if found else []


def end_as_unbroken(world: World, stage: Stage, code: int | None) -> list[str]:
    """Give the same command again if it did not end well; returns in what the root differs from an unbroken one's."""
    faults = _again(world, stage) if code != 0 else []
    world.tracking.stop()
    return faults + differences(read_state(world.root), world.unbroken(stage).state, stage.tolerance)


def _again(world: World, stage: Stage) -> list[str]:
    """Give the same command again; returns what was wrong with its end."""
    job = world.start(stage)
    code = job.wait(PATIENCE_SECONDS)
    job.end()
    if code is None:
        return ["the same command again: hung"]
    return [] if code == 0 else [f"the same command again: exit code {code}: {last_line(job)}"]


def last_line(job: Job) -> str:
    """Return the last line that a command wrote to standard error."""
    return (job.said().strip().splitlines() or [""])[-1][:500]
