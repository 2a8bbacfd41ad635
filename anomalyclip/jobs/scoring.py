"""Scoring of any footage by a trained model: scores of all frames, and the events in them."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from anomalyclip.data.decoder import Decoder
from anomalyclip.data.uris import is_uri
from anomalyclip.device import resolve_device
from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.new_table import NEW_TABLE, with_new_table
from anomalyclip.evaluation.score_cache import ScoreCache
from anomalyclip.evaluation.scoring import bundle_scorer, write_tracks
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.features.sources import stamps
from anomalyclip.job import Job
from anomalyclip.jobs.candidates import Candidate, trained_candidate
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.footage import Footage, find_footage
from anomalyclip.jobs.footage_features import footage_features
from anomalyclip.jobs.lifecycle import finished, stage
from anomalyclip.jobs.new_classes import new_names
from anomalyclip.jobs.operating import Asked, operating_point
from anomalyclip.jobs.scored import (
    EVENTS_CSV,
    EVENTS_JSONL,
    FAILURES,
    Failure,
    Scored,
    ScoredVideos,
    write_events,
    write_failures,
)
from anomalyclip.jobs.scored_media import ANNOTATED, CLIPS, EXPORTS, REPORT, Wanted, make_media
from anomalyclip.methods import NewNames
from anomalyclip.report import page
from anomalyclip.report.page import ReportModel
from anomalyclip.runs import PREDICTIONS, RESULT, RunFolder, RunKind, find_run
from anomalyclip.settings import digest
from anomalyclip.storage import COMPLETE, Storage, scratch

log = logging.getLogger("anomalyclip")

RESULTS = {
    "predictions": PREDICTIONS,
    "events": EVENTS_CSV,
    "events_jsonl": EVENTS_JSONL,
    "failures": FAILURES,
    "new_classes": NEW_TABLE,
    "report": f"{REPORT}/{page.REPORT}",
    "clips": CLIPS,
    "annotated": ANNOTATED,
    "exports": EXPORTS,
}
"""Files and folders of results by their names."""
OWNER = "scoring.json"
"""File of a folder given for the results: which run they are of."""


@dataclass(frozen=True)
class Scoring:
    """A checked scoring job."""

    footage: Footage
    candidate: Candidate
    point: OperatingPoint
    note: str
    """What the normal footage says of the threshold."""
    wanted: Wanted
    run: RunFolder
    output: Path | None
    """Folder for the results, instead of the run's."""
    new: NewNames | None = None
    """Classes that nobody trained, asked for by their names."""

    @property
    def model(self) -> str:
        """Name of the model, as given."""
        return self.candidate.tags["model"]

    def place(self) -> tuple[Storage, str]:
        """Return where the results are: a storage, and the key of the folder."""
        if self.output is None:
            return self.run.storage, self.run.key
        return Storage(str(self.output.parent)), self.output.name

    def is_kept(self) -> bool:
        """Return whether the results are whole: another job may have written to the same folder since."""
        storage, key = self.place()
        return storage.is_complete(key) and (self.output is None or _owner(self.output) == self.run.uri())

    def claim(self) -> None:
        """Remove what this job or another one left in the place of the results, and mark a given folder as its own."""
        storage, key = self.place()
        self.run.storage.delete(self.run.part(RESULT))  # first, for it would vouch for what is written next
        for name in [COMPLETE, *{Path(file).parts[0] for file in RESULTS.values()}]:
            storage.delete(f"{key}/{name}")
        if self.output is not None:
            storage.write_json(f"{key}/{OWNER}", {"run": self.run.uri()})

    def paths(self) -> dict[str, str]:
        """Return the places of the results by name."""
        storage, key = self.place()
        found = {name: f"{key}/{file}" for name, file in RESULTS.items() if storage.exists(f"{key}/{file}")}
        return {"run": self.run.uri(), **{name: storage.uri(part) for name, part in found.items()}}

    def videos(self, extracted: Extracted) -> ScoredVideos:
        """Return the scored videos."""
        assert isinstance(self.candidate.scorer, Path)
        device = resolve_device()
        scorer = replace(bundle_scorer(self.candidate.scorer, device, self.new), operating=self.point)
        cache = ScoreCache(scorer, extracted.store, device)
        return ScoredVideos(scorer, extracted.manifest, extracted.store, cache, self.point)


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


def prepare(
    job: Job,
    model: str,
    videos: Sequence[str],
    asked: Asked,
    wanted: Wanted,
    output: Path | None = None,
    names: Sequence[str] = (),
) -> Scoring:
    """Find model, videos and thresholds, and the job's run; raises UsageError.

    `names` are those of classes that nobody trained.
    """
    candidate = trained_candidate(job, model)
    assert isinstance(candidate.scorer, Path)
    new = new_names(job, candidate, names)
    point, note = operating_point(model, candidate.scorer, asked, job.config.events)
    footage = find_footage(job, videos)
    found, output = stamps(footage.table["source"].to_list()), output and _checked(output, footage)
    if candidate.imported and "cvat" in wanted.exports and (found["size"] < 0).any():
        raise UsageError(f"--export cvat needs the videos: {found.filter(pl.col('size') < 0)['video'][0]} is not there")
    started = footage.table["started"].to_list() if "started" in footage.table.columns else None
    content = {
        **candidate.content,
        "videos": digest(footage.digest, sorted(found.iter_rows()), started),
        "operating": point.model_dump(mode="json"),
        "precision": job.config.extraction.precision,
        "fps": job.config.data.fps,
        "wanted": {**asdict(wanted), "exports": list(wanted.exports)},
        "output": None if output is None else str(output),
        **({"new_classes": list(names)} if names else {}),  # runs from before there were any keep their names
    }
    run = find_run(job.storage, RunKind.SCORING, job.name, footage.name, content, job.fresh)
    return Scoring(footage, candidate, point, note, wanted, run, output, new)


def _checked(output: Path, footage: Footage) -> Path:
    """Return the folder for the results as absolute; UsageError if it holds other files or cannot be written."""
    output = output.expanduser().absolute()
    try:
        Storage(str(output.parent)).check_usable()
    except UsageError as error:
        raise UsageError(f"--output {output}: {error}") from None
    if output.exists() and not (output / OWNER).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise UsageError(f"--output {output} exists, and is not of a scoring job: give a new folder")
    for source in footage.table["source"]:
        if not is_uri(source) and Path(source).is_relative_to(output.resolve()):
            raise UsageError(f"video {source} is in the folder for the results: give another --output, or other videos")
    return output


def _owner(output: Path) -> str | None:
    """Return the run that a folder's results are of; None if it is not known."""
    try:
        return str(json.loads((output / OWNER).read_bytes())["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run(job: Job, scoring: Scoring, decoder: Decoder) -> ScoringResult:
    """Score the videos; raises JobError with the result if some could not be read.

    The decoder may have been started before, while libraries were imported.
    """
    log.info("events: %s", scoring.note)
    if (result := _kept(job, scoring)) is None:
        with scoring.run.exclusive():
            result = _kept(job, scoring) or _score(job, scoring, decoder)  # another process may have done it meanwhile
    return _concluded(result)


def _kept(job: Job, scoring: Scoring) -> ScoringResult | None:
    """Return the result of an earlier attempt; None if there is none, its files are gone, or failures are retried."""
    kept = finished(job, scoring.run, ScoringResult) if scoring.is_kept() else None
    return None if kept and kept.failed and job.retry else kept


def _score(job: Job, scoring: Scoring, decoder: Decoder) -> ScoringResult:
    scoring.run.start(job.fresh)
    scoring.claim()
    extracted, failures = footage_features(job, scoring.candidate, scoring.footage.table, decoder)
    scoring.run.keep_needs(extracted.needs(scoring.footage.manifest, scoring.candidate.backbone_identity))
    scored = _write(scoring, extracted, failures)
    if scored.videos:
        log.info("videos by their highest score:\n\n%s\n", scored.table())
    if scored.videos and scoring.wanted:
        with stage("show", "report, clips and copies, as far as they are wanted"), _results(*scoring.place()) as folder:
            make_media(folder, scoring.wanted, scoring.videos(extracted), _described(scoring), scoring.point, decoder)
    result = ScoringResult(
        run=scoring.run.name,
        model=scoring.model,
        paths=scoring.paths(),
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


def _write(scoring: Scoring, extracted: Extracted, failures: Sequence[Failure]) -> Scored:
    """Score the videos one after the other, and publish predictions, events and failures."""
    scored = Scored()
    with TemporaryDirectory(dir=scratch()) as temporary:
        folder = Path(temporary)
        if extracted.manifest.height:
            with stage("score", f"{extracted.manifest.height} videos"):
                videos = scoring.videos(extracted)
                tracks, digest_of_footage = scored.counted(videos), scoring.footage.digest
                tracks = with_new_table(folder / NEW_TABLE, videos.scorer.new_classes, tracks)
                table = folder / PREDICTIONS
                write_tracks(videos.scorer, videos.manifest, digest_of_footage, videos.store, tracks, table)
            write_events(folder, scored.events, scoring.new.names if scoring.new else ())
        if failures:
            write_failures(folder, failures)
        storage, key = scoring.place()
        storage.delete(f"{key}/{FAILURES}")  # those of an attempt before
        storage.publish_folder(folder, key)
    return scored


def _described(scoring: Scoring) -> ReportModel:
    return ReportModel(
        name=scoring.model,
        detection=scoring.point.detection,
        alert=scoring.point.alert,
        classes=scoring.candidate.classes,
        note=scoring.note,
    )


@contextmanager
def _results(storage: Storage, key: str) -> Iterator[Path]:
    """Yield a folder for further results: the place itself if it is local, for they may be large."""
    if storage.is_local:
        yield Path(storage.path(key))
        return
    with TemporaryDirectory(dir=scratch()) as folder:
        yield Path(folder)
        storage.publish_folder(Path(folder), key)


def _concluded(result: ScoringResult) -> ScoringResult:
    """Log where the results are; raises JobError if videos failed."""
    log.info("%d events, %d of them alerts, in %.3g h of video", result.events, result.alerts, result.hours)
    for name, uri in result.paths.items():
        log.info("%s: %s", name, uri)
    if result.failed:
        raise JobError(f"{result.failed} of {result.videos} videos could not be read", result)
    return result
