"""A command whose disk, tracking server or twin gets in its way says so, and ends as an unbroken one afterwards."""

import os

import pytest

from tests.chaos.clock import COMPILER
from tests.chaos.faults import JUMPS, MOUNTS, Fault, draw, may_mount, run
from tests.chaos.ledger import Ledger
from tests.chaos.test_kills import assert_unbroken
from tests.chaos.world import World

EACH = int(os.environ.get("CHAOS_FAULTS", "3"))
SMALL = [Fault("read-only", "import", 0.0), Fault("disk full", "import", 0.5), Fault("two at once", "import", 0.0)]


@pytest.mark.chaos
@pytest.mark.parametrize("fault", list(draw(EACH)), ids=lambda fault: fault.case)
def test_a_command_ends_as_an_unbroken_one_once_the_fault_is_gone(world: World, ledger: Ledger, fault: Fault) -> None:
    skip_without_tools(fault)
    assert_unbroken(ledger.get(fault.case) or ledger.keep(run(world, fault)))


@pytest.mark.parametrize("fault", SMALL, ids=lambda fault: fault.case)
def test_a_small_draw_of_faults(world: World, fault: Fault) -> None:
    skip_without_tools(fault)
    assert_unbroken(run(world, fault))


def skip_without_tools(fault: Fault) -> None:
    if fault.name in JUMPS and COMPILER is None:
        pytest.skip("a C compiler is missing: apt-get install gcc")
    if fault.name in MOUNTS and not may_mount():
        pytest.skip("a tmpfs can be mounted by root alone")
