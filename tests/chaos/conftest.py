import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ledger import Ledger
from tests.chaos.world import World


@pytest.fixture(scope="session")
def chaos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`CHAOS_FOLDER`, which keeps what was done; without it, a folder that is gone after the session."""
    kept = os.environ.get("CHAOS_FOLDER")
    return Path(kept).absolute() if kept else tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="session")
def world(chaos_folder: Path) -> Iterator[World]:
    with World.open(chaos_folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def ledger(chaos_folder: Path) -> Ledger:
    return Ledger(chaos_folder / "rows")
