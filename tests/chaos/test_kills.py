"""A command that was killed, or lost a process, ends as an unbroken one when it is given again."""

import os

import pytest

from tests.chaos.draws import Case, Kill, draw, draw_long
from tests.chaos.kills import run
from tests.chaos.ledger import Ledger, Row
from tests.chaos.world import World

KILLS = int(os.environ.get("CHAOS_KILLS", "300"))
CASES = [*draw(KILLS), *draw_long()]
SMALL = [
    Case(0, "import", (Kill("driver", 0.8), Kill("driver", 0.5), Kill("driver", 0.9)), True),
    Case(1, "extract", (Kill("driver", 0.7),), True),
]


@pytest.mark.chaos
@pytest.mark.parametrize(
    "case", [*draw(KILLS), *draw_long()], ids=lambda case: f"{case.name}-{case.stage}-{case.roles}"
)
def test_a_killed_command_ends_as_an_unbroken_one(world: World, ledger: Ledger, case: Case) -> None:
    row = ledger.get(case.name) or ledger.keep(run(world, case))
    assert_unbroken(row)


@pytest.mark.cluster
@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.stage}-{case.roles}")
def test_a_small_draw_of_kills(world: World, case: Case) -> None:
    row = run(world, case)
    assert row.done, row.note
    assert_unbroken(row)


def assert_unbroken(row: Row) -> None:
    assert not row.faults, "\n".join([f"{row.stage}, {row.what}, {row.note}", *row.faults])
