"""Events for tests."""

from typing import Any

from anomalyclip.events.event import Event


def event(video_id: str = "a", start_frame: int = 20, end_frame: int = 49, fps: float = 10.0, **fields: Any) -> Event:
    """An event of these frames (the last one inclusive) at an even rate."""
    values = {"label": "Fighting", "share": 0.9, "peak": 0.8, "mean": 0.6, "severity": "alert"} | fields
    return Event(
        video_id=video_id,
        start_frame=start_frame,
        end_frame=end_frame,
        start=start_frame / fps,
        end=(end_frame + 1) / fps,
        clock_start=None,
        clock_end=None,
        peak_frame=start_frame,
        **values,
    )
