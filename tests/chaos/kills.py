"""Kills at drawn moments, alone and in a row, and whether the same command ends as an unbroken one."""

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.draws import Case, Kill
from tests.chaos.ledger import Row
from tests.chaos.processes import POLL_SECONDS, Job, lives, title
from tests.chaos.stages import STAGES, Stage
from tests.chaos.state import PARTIAL, differences, read_state
from tests.chaos.world import World

PATIENCE_SECONDS = 600.0
"""Beside a busy machine; a command that takes longer counts as hung."""
PACES = (1.0, 0.6, 0.3)
"""A machine that has become quicker since the unbroken run ends a command before its moment: then it comes earlier."""
RESUMED = 0.7
"""The same for a command given again: part of its work is done."""
OUTLIVED = {"worker", "decoder", "MLflow server"}
"""A command may go on without them: the next kill in a row then hits the same run of it."""


@dataclass
class Course:
    """What happens to a command until its kills are done, or one of them comes too late."""

    world: World
    case: Case
    pace: float
    jobs: list[Job] = field(default_factory=list)
    codes: list[int | None] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    """The roles that were killed, in this order."""
    said: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def take(self) -> None:
        """Give the command, kill, and give it again."""
        self.world.restore(self.stage)
        while len(self.killed) < len(self.case.kills):
            before = len(self.killed)
            job = self.world.start(self.stage)
            self.jobs.append(job)
            self._break(job)
            self.codes.append(code := job.wait(PATIENCE_SECONDS))
            self.said.append(f"run {len(self.jobs)} ended after {job.seconds:.1f} s with {code}")
            self.faults += ["hung after the kill"] if code is None else told(job, code, self.killed[before:])
            if code is None or not self.case.at_once:
                job.end()
            if code == 0 or len(self.killed) == before:
                return

    @property
    def stage(self) -> Stage:
        """The command."""
        return STAGES[self.case.stage]

    @property
    def note(self) -> str:
        """Who was killed when, and how the command ended each time."""
        return ", ".join(self.said) if self.killed else "ended before"

    def _break(self, job: Job) -> None:
        """Kill whose turn it is, and the next one too while the command may outlive it."""
        unbroken = self.world.unbroken(self.stage)
        pace, since = self.pace * (RESUMED if len(self.jobs) > 1 else 1), 0.0
        for kill in self.case.kills[len(self.killed) :]:
            first, last = unbroken.lives.get(kill.role, (0.0, unbroken.seconds))
            since = max(since, pace * first)
            since = self._kill(job, kill, since + kill.moment * max(0.0, pace * last - since))
            if not since:
                return
            self.killed.append(kill.role)
            if kill.role not in OUTLIVED:
                return

    def _kill(self, job: Job, kill: Kill, moment: float) -> float:
        """Kill a process of a role at a moment, or as soon as one is there after it; returns when, 0 if none was."""
        while job.process.poll() is None:
            if job.seconds >= moment and (victims := self._victims(job, kill)):
                job.look()
                killed, name = job.seconds, title(victims[0]).split(" ")[0]
                end(victims)
                self.said.append(f"{kill.role} ({Path(name).name}) killed after {killed:.1f} s")
                self._serve_again(kill)
                return killed
            time.sleep(POLL_SECONDS)
        return 0.0

    def _victims(self, job: Job, kill: Kill) -> list[psutil.Process]:
        """One process of the role; of the server, all."""
        if kill.role == "MLflow server":
            return self.world.tracking.processes()
        found = job.victims(kill.role)
        return [random.Random(self.case.number).choice(found)] if found else []

    def _serve_again(self, kill: Kill) -> None:
        """Restart a server that dies in a row at once; one that dies alone stays away until the command ends."""
        if kill.role == "MLflow server" and len(self.case.kills) > 1:
            self.world.tracking.restart()


def run(world: World, case: Case) -> Row:
    """Break a command, give it again until it is left alone, and compare its end."""
    stage, started = STAGES[case.stage], time.monotonic()
    world.unbroken(stage)
    for pace in PACES:
        course = Course(world, case, pace)
        course.take()
        if course.killed:
            break
    half = sum(bool(PARTIAL.search(path.name)) for path in world.root.rglob("*"))
    if course.killed == ["MLflow server"]:
        world.tracking.restart()
    faults = course.faults + end_as_unbroken(world, stage, course.codes[-1])
    for job in course.jobs:
        job.end()
    note, seconds = f"{course.note}, {half} half files", time.monotonic() - started
    return Row("kill", case.stage, case.roles, case.name, bool(course.killed), faults, note, seconds, "", course.killed)


def end(victims: list[psutil.Process]) -> None:
    """Send SIGKILL, and wait until it has worked, so that nobody is killed twice."""
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    deadline = time.monotonic() + 5
    while any(map(lives, victims)) and time.monotonic() < deadline:
        time.sleep(0.01)


def told(job: Job, code: int, killed: list[str]) -> list[str]:
    """A command that outlives its victims ends well, or says in a line what happened."""
    if "driver" in killed or code == 0:
        return []
    faults = [f"exit code {code}"] if code not in (0, 1, 2) else []
    return faults + traceback(job)


def traceback(job: Job) -> list[str]:
    """Return a fault with the last traceback that a command printed; users are given lines."""
    _, found, last = job.said().rpartition("Traceback")
    return [f"a traceback: {last[-1500:]}"] if found else []


def end_as_unbroken(world: World, stage: Stage, code: int | None) -> list[str]:
    """Give the same command again if it did not end well; returns in what the root differs from an unbroken one's."""
    faults = again(world, stage) if code != 0 else []
    world.tracking.stop()
    return faults + differences(read_state(world.root), world.unbroken(stage).state, stage.tolerance)


def again(world: World, stage: Stage) -> list[str]:
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
