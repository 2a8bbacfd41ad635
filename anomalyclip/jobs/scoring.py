"""Scoring of any footage by a trained model: scores of all frames, and the events in them."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from anomalyclip.config import digest
from anomalyclip.device import resolve_device
from anomalyclip.errors import JobError
from anomalyclip.evaluation.predictions_file import PREDICTIONS
from anomalyclip.evaluation.score_cache import ScoreCache
from anomalyclip.evaluation.scoring import bundle_scorer, score_tracks, write_tracks
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.events.event import Track
from anomalyclip.features.sources import stamps
from anomalyclip.job import Job
from anomalyclip.jobs.candidates import Candidate, trained_candidate
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.footage import Footage, find_footage
from anomalyclip.jobs.footage_features import footage_features
from anomalyclip.jobs.lifecycle import finished, stage
from anomalyclip.jobs.operating import Asked, operating_point
from anomalyclip.jobs.scored import (
    EVENTS_CSV,
    EVENTS_JSONL,
    FAILURES,
    Scored,
    write_events,
    write_failures,
)
from anomalyclip.runs import RunFolder, RunKind, find_run
from anomalyclip.storage import COMPLETE, Storage, scratch

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Scoring:
    """A checked scoring job."""

    footage: Footage
    candidate: Candidate
    point: OperatingPoint
    run: RunFolder
    output: Path | None
    """Folder for the results, instead of the run's."""

    def place(self) -> tuple[Storage, str]:
        """Return where the results are: a storage, and the key of the folder."""
        if self.output is None:
            return self.run.storage, self.run.key
        folder = self.output.expanduser().absolute()
        return Storage(str(folder.parent)), folder.name

    def uris(self) -> dict[str, str]:
        """Return the places of the results by name."""
        storage, key = self.place()
        files = {"predictions": PREDICTIONS, "events": EVENTS_CSV, "events_jsonl": EVENTS_JSONL, "failures": FAILURES}
        found = {name: storage.uri(f"{key}/{file}") for name, file in files.items() if storage.exists(f"{key}/{file}")}
        return {"run": self.run.uri(), **found}


@dataclass(frozen=True, kw_only=True)
class ScoringResult:
    """Result of a scoring job."""

    run: str
    model: str
    paths: dict[str, str]
    """URIs of the outputs, by name."""
    videos: int
    failed: int
    """Videos that could not be read."""
    hours: float
    """Of the videos that were scored."""
    events: int
    alerts: int
    """Events of severity `alert`."""
    detection_threshold: float
    alert_threshold: float


def prepare(job: Job, model: str, videos: list[str], asked: Asked, output: Path | None = None) -> Scoring:
    """Find model, videos and thresholds, and the job's run; raises UsageError."""
    candidate = trained_candidate(job, model)
    assert isinstance(candidate.scorer, Path)
    point = operating_point(model, candidate.scorer, asked, job.config.events)
    footage = find_footage(job, videos)
    content = {
        **candidate.content,
        "videos": digest(footage.digest, sorted(stamps(footage.table["source"].to_list()).iter_rows())),
        "operating": point.model_dump(mode="json"),
        "precision": job.config.extraction.precision,
        "fps": job.config.data.fps,
        "output": None if output is None else str(output.expanduser().absolute()),
    }
    run = find_run(job.storage, RunKind.SCORING, job.name, footage.name, content, job.fresh)
    return Scoring(footage, candidate, point, run, output)


def run(job: Job, scoring: Scoring) -> ScoringResult:
    """Score the videos; raises JobError with the result if some could not be read."""
    storage, key = scoring.place()
    kept = finished(job, scoring.run, ScoringResult) if storage.exists(f"{key}/{COMPLETE}") else None
    return _concluded(kept or _score(job, scoring))


def _score(job: Job, scoring: Scoring) -> ScoringResult:
    scoring.run.start(job.fresh)
    extracted, failures = footage_features(job, scoring.candidate, scoring.footage.table)
    scoring.run.keep_needs(extracted.needs(scoring.footage.manifest, scoring.candidate.backbone_identity))
    storage, key = scoring.place()
    with TemporaryDirectory(dir=scratch()) as temporary:
        folder = Path(temporary)
        scored = Scored()
        if extracted.manifest.height:
            with stage("score", f"{extracted.manifest.height} videos"):
                scored = _write(scoring, extracted, folder)
            write_events(folder, scored.events)
        if failures:
            write_failures(folder, failures)
        storage.publish_folder(folder, key)
    if scored.videos:
        log.info("videos by their highest score:\n\n%s\n", scored.table())
    result = ScoringResult(
        run=scoring.run.name,
        model=scoring.candidate.tags["model"],
        paths=scoring.uris(),
        videos=scoring.footage.table.height,
        failed=len(failures),
        hours=round(sum(video.seconds for video in scored.videos) / 3600, 4),
        events=len(scored.events),
        alerts=sum(event.severity == "alert" for event in scored.events),
        detection_threshold=scoring.point.detection,
        alert_threshold=scoring.point.alert,
    )
    scoring.run.finish(result)
    return result


def _write(scoring: Scoring, extracted: Extracted, folder: Path) -> Scored:
    """Score the videos one after the other, and write the predictions table."""
    assert isinstance(scoring.candidate.scorer, Path)
    device, manifest, store = resolve_device(), extracted.manifest, extracted.store
    scorer = replace(bundle_scorer(scoring.candidate.scorer, device), operating=scoring.point)
    scored, cache = Scored(), ScoreCache(scorer, store, device)

    def tracks() -> Iterator[Track]:
        for track in score_tracks(scorer, manifest, store, cache.scores):
            scored.add(track, scoring.point)
            yield track

    write_tracks(scorer, manifest, scoring.footage.digest, store, tracks(), folder / PREDICTIONS)
    return scored


def _concluded(result: ScoringResult) -> ScoringResult:
    """Log where the results are; raises JobError if videos failed."""
    log.info("%d events, %d of them alerts, in %.3g h of video", result.events, result.alerts, result.hours)
    for name, uri in result.paths.items():
        log.info("%s: %s", name, uri)
    if result.failed:
        raise JobError(f"{result.failed} of {result.videos} videos could not be read", result)
    return result
