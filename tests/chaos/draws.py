"""Draws of the kills: who dies, when, and whether one kill follows the other."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.stages import STAGES

SEED = 20261126
SHARES = {"extract": 5, "import": 3, "train": 4, "train, 2 workers": 3, "train, server": 3, "evaluate": 3, "score": 4,
          "promote": 3, "gc": 3, "search": 2}  # fmt: skip
"""How often a stage is drawn: quick commands more often."""
ALONE = 75
"""Cases before this one have one kill each; the later ones more, but those of commands that last seconds."""
SECONDS_LONG = ("import", "gc")
IN_A_ROW = 3
WANTED = 6
"""Kills of each role in each command that come before those that were drawn often."""
POOL = 400


@dataclass(frozen=True)
class Kill:
    """One kill."""

    role: str
    moment: float
    """Part of the time in which processes of this role live in an unbroken run."""


@dataclass(frozen=True)
class Case:
    """A command, and the kills that it meets one after the other until it is left alone."""

    number: int
    stage: str
    kills: tuple[Kill, ...]
    at_once: bool
    """Whether the command is given again at once, while what a dead driver left is still there."""

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"kill-{self.number:04d}"

    @property
    def roles(self) -> str:
        """Who is killed."""
        return ", ".join(kill.role for kill in self.kills)


def draw(kills: int, seed: int = SEED) -> Iterator[Case]:
    """Draw cases until they hold so many kills; a longer draw starts with the shorter one's."""
    for case in _rare_first([_case(number, seed) for number in range(POOL)]):
        if kills <= 0:
            return
        kills -= len(case.kills)
        yield case
    raise ValueError(f"{kills} kills more than the pool of {POOL} cases holds")


def draw_long(cases: int = 5, seed: int = SEED) -> Iterator[Case]:
    """Draw kills in the extraction of long videos: each of its roles comes first once, then any two."""
    stage = STAGES["extract, long videos"]
    for number in range(cases):
        dice = random.Random(f"{seed}-long-{number}")
        roles = [stage.roles[number % len(stage.roles)], *dice.choices(stage.roles, k=IN_A_ROW - 1)]
        yield Case(POOL + number, stage.name, tuple(Kill(role, dice.random()) for role in roles), dice.random() < 0.5)


def _case(number: int, seed: int) -> Case:
    dice = random.Random(f"{seed}-{number}")
    stage = STAGES[dice.choices(list(SHARES), list(SHARES.values()))[0]]
    first, at_once = Kill(dice.choice(stage.roles), dice.random()), dice.random() < 0.5
    more = 0 if number < ALONE or stage.name in SECONDS_LONG else IN_A_ROW - 1
    rest = [Kill(dice.choice(stage.roles), dice.random()) for _ in range(more)]
    return Case(number, stage.name, (first, *rest), at_once)


def _rare_first(cases: list[Case]) -> Iterator[Case]:
    """Cases with one kill as they are, then the one with most kills of which too few came before."""
    seen: Counter[tuple[str, str]] = Counter()
    left = cases[ALONE:]
    for case in cases[:ALONE]:
        seen.update(_pairs(case))
        yield case
    while left:
        case = max(left, key=lambda case: (_new(case, seen), -case.number))
        seen.update(_pairs(case))
        left.remove(case)
        yield case


def _pairs(case: Case) -> list[tuple[str, str]]:
    return [(case.stage, kill.role) for kill in case.kills]


def _new(case: Case, seen: Counter[tuple[str, str]]) -> int:
    return sum(min(count, max(0, WANTED - seen[pair])) for pair, count in Counter(_pairs(case)).items())
