"""Verdicts for tests, as a report saves them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def verdict(source: Path | str, start_frame: int, end_frame: int, said: str, **fields: Any) -> dict[str, Any]:
    """A verdict on an event of a video at 10 frames per second."""
    return {
        "video_id": Path(source).stem,
        "source": str(source),
        "start_frame": start_frame,
        "end_frame": end_frame,
        "start": start_frame / 10,
        "end": (end_frame + 1) / 10,
        "label": "Fighting",
        "verdict": said,
        "corrected_label": None,
        "decided_at": "2026-11-26T01:00:00.000Z",
        **fields,
    }


def save_verdicts(path: Path, verdicts: Sequence[dict[str, Any]], **fields: Any) -> Path:
    """Write a file of verdicts."""
    head = {
        "schema_version": 1, "report_id": "f00", "model": "anomalyclip/3", "saved_at": "2026-11-26T01:05:00.000Z",
        "reviewer": "Ada",
    }  # fmt: skip
    path.write_text(json.dumps({**head, "verdicts": list(verdicts), **fields}))
    return path
