"""Scored videos of a scoring job: their events, the files of events, and the table for the log."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from anomalyclip.evaluation.score_cache import ScoreCache
from anomalyclip.evaluation.scoring import Scorer, score_tracks
from anomalyclip.evaluation.tables import aligned, spreadsheet_text, write_spreadsheet
from anomalyclip.events.detection import OperatingPoint, find_events
from anomalyclip.events.event import Event, Track, events_table
from anomalyclip.features.store import FeatureStore

EVENTS_JSONL, EVENTS_CSV, FAILURES = "events.jsonl", "events.csv", "failures.csv"
MOST_ROWS = 20
"""Most videos in the table for the log."""


@dataclass(frozen=True)
class Failure:
    """A video that could not be read."""

    video_id: str
    source: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """One video of a scoring job in figures."""

    video_id: str
    seconds: float
    events: int
    alerts: int
    peak: float
    """Highest score of a frame."""
    label: str
    """Class of the event with the highest peak; empty without events."""
    new_label: str = ""
    """New class that fits it better, if one does."""


@dataclass(frozen=True)
class ScoredVideo:
    """A scored video."""

    row: Mapping[str, Any]
    """Of the manifest."""
    track: Track
    events: Sequence[Event]

    def truth(self) -> list[tuple[float, float, str]] | None:
        """Return the true intervals as start and end in seconds and class; None if they are unknown."""
        labels, anomalies, edges = self.row["labels"], self.row["anomalies"], self.track.edges
        if labels is None or (labels and not anomalies):
            return None
        last = len(edges) - 2
        return [
            (float(edges[each["start"]]), float(edges[(last if each["end"] is None else each["end"]) + 1]), name)
            for each in anomalies
            for name in each["labels"] or labels
        ]


@dataclass(frozen=True)
class ScoredVideos:
    """The videos of a scoring job, scored when they are iterated, each time anew or from the cache."""

    scorer: Scorer
    manifest: pl.DataFrame
    """With frame counts."""
    store: FeatureStore
    cache: ScoreCache
    point: OperatingPoint

    def __iter__(self) -> Iterator[ScoredVideo]:
        tracks = score_tracks(self.scorer, self.manifest, self.store, self.cache.scores)
        for row, track in zip(self.manifest.iter_rows(named=True), tracks, strict=True):
            yield ScoredVideo(row, track, find_events(track, self.point))


@dataclass
class Scored:
    """What was found so far."""

    videos: list[Summary] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def counted(self, videos: Iterable[ScoredVideo]) -> Iterator[Track]:
        """Yield the scores of videos, and keep their events and figures."""
        for video in videos:
            events, track = video.events, video.track
            highest = max(events, key=lambda event: event.peak, default=None)
            labels = (highest.label, highest.new_label or "") if highest else ("", "")
            alerts = sum(event.severity == "alert" for event in events)
            peak = float(track.scores.max())
            self.events += events
            self.videos.append(Summary(track.video_id, track.seconds, len(events), alerts, peak, *labels))
            yield track

    def table(self) -> str:
        """Return the videos in the order of their highest scores, as text."""
        ordered = sorted(self.videos, key=lambda video: -video.peak)
        rows = [["video", "length", "events", "alerts", "peak", "class"]]
        for video in ordered[:MOST_ROWS]:
            label = f"{video.label}, or rather {video.new_label}" if video.new_label else video.label
            counts = [str(video.events), str(video.alerts), f"{video.peak:.3f}", label]
            rows.append([video.video_id, _length(video.seconds), *counts])
        left = len(ordered) - MOST_ROWS
        return aligned(rows, right={1, 2, 3, 4}) + (f"\n  and {left} more" if left > 0 else "")


def write_events(folder: Path, events: Sequence[Event], new_classes: Sequence[str] = ()) -> None:
    """Write the events as one JSON object per line, and as CSV for spreadsheets.

    The CSV has a column `new_share_<name>` for each new class.
    """
    table = events_table(events, new_classes)
    table.write_ndjson(folder / EVENTS_JSONL)
    if new_classes:
        shares = [pl.col("new_shares").struct.field(name).alias(f"new_share_{name}") for name in new_classes]
        table = table.with_columns(shares).drop("new_shares")
    write_spreadsheet(table, folder / EVENTS_CSV)


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write the videos that could not be read, with the reasons."""
    with (folder / FAILURES).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "source", "reason"])
        cells = ((one.video_id, one.source, one.reason) for one in failures)
        writer.writerows(map(spreadsheet_text, row) for row in cells)


def _length(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}"
