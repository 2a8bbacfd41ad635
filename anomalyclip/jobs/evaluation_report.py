"""Report of an evaluation: the events in the test videos beside their true intervals, as one HTML file."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl

from anomalyclip.data.decoder import Decoder
from anomalyclip.data.video import DecodeError
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.events.detection import find_events
from anomalyclip.jobs.scored import ScoredVideo
from anomalyclip.report.page import ReportModel, ReportVideo, write_report
from anomalyclip.report.previews import plays_in_browser


def write_test_report(folder: Path, name: str, note: str, predictions: Predictions, manifest: pl.DataFrame) -> bool:
    """Write the report of a predictions table into a folder, and return whether the table has events.

    `name` is the model's, `note` says what vouches for its thresholds, `manifest` has the videos. There are no
    pictures: decoding hours of test videos again would take longer than scoring them from their features.
    """
    point = predictions.operating
    if point is None or predictions.times is None:
        return False
    rows = {row["video_id"]: row for row in manifest.iter_rows(named=True)}

    def videos() -> Iterator[ReportVideo]:
        for number, video_id in enumerate(predictions.video_ids):
            if (track := predictions.track(number)) is not None:
                video = ScoredVideo(rows[video_id], track, find_events(track, point))
                source = video.row["source"]
                yield ReportVideo(track, video.events, _played(source, decoder), source, video.truth(), {})

    model = ReportModel(name, point.detection, point.alert, predictions.classes, note)
    with closing(Decoder()) as decoder:
        write_report(folder, model, videos())
    return True


def _played(source: str, decoder: Decoder) -> str | None:
    """Return the address of a video that a browser can play from this machine; None for others."""
    path = Path(source)
    try:
        return path.as_uri() if path.is_file() and plays_in_browser(path, decoder) else None
    except DecodeError:
        return None
