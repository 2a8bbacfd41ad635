"""One browser for the tests of the report."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.chromium import chromium


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser saves files."""
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="session")
def browser(downloads: Path) -> Iterator[Chrome]:
    """A headless Chromium."""
    with chromium(downloads) as started:
        yield started
