"""A command that was killed, or lost a process, ends as an unbroken one when it is given again."""

import os

import pytest

from tests.chaos.kills import Kill, draw, run
from tests.chaos.ledger import Ledger, Row
from tests.chaos.world import World

COUNT = int(os.environ.get("CHAOS_KILLS", "300"))
SMALL = [Kill(0, "import", "driver", 0.8, True), Kill(1, "extract", "driver", 0.7, True)]


@pytest.mark.chaos
@pytest.mark.parametrize("kill", list(draw(COUNT)), ids=lambda kill: f"{kill.case}-{kill.stage}-{kill.role}")
def test_a_killed_command_ends_as_an_unbroken_one(world: World, ledger: Ledger, kill: Kill) -> None:
    row = ledger.get(kill.case) or ledger.keep(run(world, kill))
    assert_unbroken(row)


@pytest.mark.cluster
@pytest.mark.parametrize("kill", SMALL, ids=lambda kill: f"{kill.stage}-{kill.role}")
def test_a_small_draw_of_kills(world: World, kill: Kill) -> None:
    row = run(world, kill)
    assert row.done, row.note
    assert_unbroken(row)


def assert_unbroken(row: Row) -> None:
    assert not row.faults, "\n".join([f"{row.stage}, {row.what}, {row.note}", *row.faults])
