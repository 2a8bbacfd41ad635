"""Official lists cut down, so that tests lay trees of dozens of videos rather than thousands."""

from collections.abc import Collection

import pytest

from anomalyclip.data.datasets.official_lists import Row, official_list


def shorten(monkeypatch: pytest.MonkeyPatch, dataset: str, named: Collection[str], every: int) -> list[Row]:
    """Have the adapters see only every so manieth video of a list and those named; returns their rows."""
    rows, notes = official_list(dataset)
    kept = [row for number, row in enumerate(rows) if number % every == 0 or row["video_id"] in named]
    monkeypatch.setattr("anomalyclip.data.datasets.official.official_list", lambda _: (kept, notes))
    return kept
