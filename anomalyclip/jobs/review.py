"""Review: a person's verdicts on events become rows of a new manifest, for the next training."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from anomalyclip.data.cuts import cut
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.manifest import load_manifest
from anomalyclip.data.manifest_checks import locate_source
from anomalyclip.data.manifest_files import suffix_of
from anomalyclip.data.uris import check_uri, is_uri
from anomalyclip.data.video import DecodeError
from anomalyclip.errors import JobError, UsageError
from anomalyclip.events.review import Part, parts_of
from anomalyclip.events.verdicts import (
    Reviewed,
    Verdict,
    latest,
    read_reviews,
    read_verdicts,
    reviews_path,
    write_reviews,
)
from anomalyclip.features.sources import ABSENT, content_hash, fetch, stamp
from anomalyclip.jobs.manifests import publish_manifest
from anomalyclip.progress import bar
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")

CUTS = "cuts"
"""Folder of the cuts, beside the new manifest."""
MOST_ID_BYTES = 120
"""Of a video's id in the id of a cut."""


@dataclass(frozen=True)
class Review:
    """A checked review."""

    table: pl.DataFrame
    """The old manifest."""
    output: Path
    earlier: Sequence[Reviewed]
    """Verdicts of the rounds before."""
    counting: Sequence[Verdict]
    """The verdict that counts on each event, of all rounds."""

    def changed(self) -> list[str]:
        """Return the sources of which this round says something new."""
        before, now = _meanings(self.earlier), _meanings(self.counting)
        return [source for source in now if now[source] != before.get(source)]


@dataclass(frozen=True)
class ReviewResult:
    """Result of a review."""

    manifest: str
    rows: int
    """Of the new manifest."""
    added: int
    removed: int
    """Rows of earlier rounds that new verdicts overrule."""
    true: int
    false: int
    unsure: int
    """Verdicts that count, of all rounds."""


def prepare(verdicts: Path, manifest: Path, output: Path | None) -> Review:
    """Check everything before any video is cut; raises UsageError."""
    output = output or manifest.with_name(f"{manifest.stem}-reviewed{manifest.suffix}")
    suffix_of(output)
    if not output.parent.is_dir():
        raise UsageError(f"{output} cannot be written: there is no folder {output.parent}")
    for path in (output, reviews_path(output)):
        if path.exists():
            raise UsageError(f"{path} exists, and nothing is overwritten: give another name with --output")
    table = load_manifest(manifest)
    earlier = read_reviews(manifest)
    root = verdicts.resolve().parent
    found = [each.model_copy(update={"source": locate_source(each.source, root)}) for each in read_verdicts(verdicts)]
    if faults := list(dict.fromkeys(_faults(table, found))):
        raise UsageError("\n  ".join([f"{verdicts} has {len(faults)} fault(s):", *faults]))
    return Review(table, output, earlier, latest([*earlier, *found]))


def run(review: Review) -> ReviewResult:
    """Cut the videos and write the new manifest; raises JobError if a video cannot be cut."""
    changed = review.changed()
    overruled = {each.row for each in review.earlier if each.source in changed and _is_made(each.row, each.source)}
    kept = review.table.filter(~pl.col("video_id").is_in(list(overruled)))
    rows = {each.event: each.row for each in review.earlier if each.source not in changed}
    made = list[dict[str, Any]]()
    with bar(len(changed), "videos") as shown, closing(Decoder()) as decoder:
        for number, source in enumerate(changed, start=1):
            for part, row in _rows(review, source, decoder):
                rows |= {verdict.event: row["video_id"] for verdict in part.verdicts}
                made += [row] if _is_made(row["video_id"], source) else []
            shown.update(number, source)
    folder = review.output.parent.resolve()
    new = [{**row, "path": _path(row["source"], folder)} for row in [*kept.iter_rows(named=True), *made]]
    write_reviews((Reviewed(**_fields(each), row=rows.get(each.event)) for each in review.counting), review.output)
    try:
        publish_manifest(pl.DataFrame(new, schema=review.table.schema), review.output)
    except BaseException:
        reviews_path(review.output).unlink()  # beside no manifest, it would keep the next attempt from writing
        raise
    result = _result(review, len(new), len(made), review.table.height - kept.height)
    log.info("%s: %d rows, %d of them new, %d removed", result.manifest, result.rows, result.added, result.removed)
    return result


def _faults(table: pl.DataFrame, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield what is wrong with verdicts, given the manifest that they are to extend."""
    test = table.filter(pl.col("split") == "test")["source"].to_list()
    contents = _Contents(test)
    for verdict in verdicts:
        source = verdict.source
        if is_uri(source) and (fault := _uri_fault(source)):
            yield f"video {verdict.video_id!r}: {fault}"
        elif not is_uri(source) and stamp(source) == ABSENT:
            yield f"video {verdict.video_id!r}: {source} is missing"
        elif source in test or contents.has(source):
            yield f"video {verdict.video_id!r}: {source} is a test video, which must stay out of the training"
        elif verdict.verdict == "true":
            for row in _given(table, source):
                if verdict.right_label not in row["labels"]:
                    labels = ", ".join(row["labels"]) or "Normal"
                    yield (
                        f"video {verdict.video_id!r}: a true event of class {verdict.right_label}, but row "
                        f"{row['video_id']!r} of the manifest says {labels}: correct one of them"
                    )


def _uri_fault(source: str) -> str | None:
    try:
        check_uri(source)
    except ValueError as error:
        return str(error)
    return None


class _Contents:
    """Contents of local test videos: a copy under another name is one of them too."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._by_size: dict[int, list[str]] = {}
        for source in sources:
            if not is_uri(source):
                self._by_size.setdefault(stamp(source).size, []).append(source)

    def has(self, source: str) -> bool:
        """Return whether a local source has the content of one of them; only those of its size are read."""
        alike = [] if is_uri(source) else self._by_size.get(stamp(source).size, [])
        return bool(alike) and content_hash(Path(source)) in {content_hash(Path(each)) for each in alike}


def _rows(review: Review, source: str, decoder: Decoder) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Yield the parts of a video, each with its row: a new one, or that which the manifest has already."""
    verdicts = [verdict for verdict in review.counting if verdict.source == source]
    given = _given(review.table, source)
    cuts = review.output.parent.resolve() / CUTS
    with TemporaryDirectory(dir=scratch()) as folder:
        try:
            video = fetch(source, Path(folder))
            frames = decoder.probe(video)
            if beyond := [verdict for verdict in verdicts if verdict.start_frame >= frames]:
                raise JobError(f"{source} has {frames} frames, and an event starts at {beyond[0].start_frame}")
            parts = {_row_id(part, frames): part for part in parts_of(verdicts, frames)}
            wanted = {
                cuts / f"{row_id}.mp4": partial(_inside, part.first, part.last)
                for row_id, part in parts.items()
                if not (_is_known(part, given) or part.covers(frames))
            }
            # a cut is named by its video and frames: one that exists is the same
            missing = {path: inside for path, inside in wanted.items() if not path.exists()}
            cut(decoder.frames(video, verdicts[0].fps), missing)
            counts = {path: decoder.probe(path) for path in wanted}
        except (DecodeError, OSError, ValueError) as error:  # ValueError: a URI that Arrow refuses
            raise JobError(f"video {verdicts[0].video_id!r} cannot be cut: {error}") from error
    for row_id, part in parts.items():
        path = cuts / f"{row_id}.mp4"
        place, count = (str(path), counts[path]) if path in counts else (source, None)
        row = {"video_id": row_id, "split": "train", "labels": list(part.labels), "anomalies": [], "num_frames": count}
        if given:
            row["split"] = given[0]["split"]  # what chose the epoch must not be trained on
        yield part, given[0] if _is_known(part, given) else row | {"path": place, "source": place}


def _given(table: pl.DataFrame, source: str) -> list[dict[str, Any]]:
    """Return the rows of a video that no review has made."""
    rows = table.filter(pl.col("source") == source).iter_rows(named=True)
    return [row for row in rows if not _is_made(row["video_id"], source)]


def _is_known(part: Part, given: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the manifest says already that a true event is in this video."""
    return bool(part.labels and given)


def _row_id(part: Part, frames: int) -> str:
    verdict = part.verdicts[0]
    name = verdict.video_id.encode()[:MOST_ID_BYTES].decode(errors="ignore")
    span = "" if part.covers(frames) else f"_{part.first}-{part.last}"
    return f"{name}{span}{_mark(verdict.source)}"


def _is_made(row_id: str | None, source: str) -> bool:
    return bool(row_id and row_id.endswith(_mark(source)))


def _mark(source: str) -> str:
    """Return the end of the ids of a video's rows that reviews make: two videos may have the same name."""
    return f"-{hashlib.sha256(source.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _inside(first: int, last: int, index: int, seconds: float) -> bool:
    return first <= index <= last


def _meanings(verdicts: Sequence[Verdict]) -> dict[str, set[tuple[Any, ...]]]:
    """Return by source what verdicts say, whoever said it."""
    meanings: dict[str, set[tuple[Any, ...]]] = {}
    for each in verdicts:
        label = each.right_label if each.verdict == "true" else None
        meanings.setdefault(each.source, set()).add((*each.event, each.verdict, label))
    return meanings


def _path(source: str, folder: Path) -> str:
    """Return a row's path: relative if the video is below the manifest's folder."""
    if is_uri(source) or not Path(source).is_relative_to(folder):
        return source
    return str(Path(source).relative_to(folder))


def _fields(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in dict(verdict).items() if name != "row"}


def _result(review: Review, rows: int, added: int, removed: int) -> ReviewResult:
    counts = {kind: sum(each.verdict == kind for each in review.counting) for kind in ("true", "false", "unsure")}
    return ReviewResult(str(review.output), rows, added, removed, **counts)
