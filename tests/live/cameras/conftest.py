"""One video for all tests of cameras."""

from pathlib import Path

import pytest

from tests.streams import FPS, draw


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute, with a key frame per second."""
    return draw(tmp_path_factory.mktemp("streams") / "half.mp4", 30 * FPS)
