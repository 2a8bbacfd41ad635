"""Import of features from NumPy files into the feature store, under an import name."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from anomalyclip.errors import UsageError
from anomalyclip.features.feature_file import FeatureWriter
from anomalyclip.features.imported import ImportedFeatures, check_name, read_import, save_import
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.sources import content_hash, stamp
from anomalyclip.features.spacing import frames_per_feature
from anomalyclip.features.store import FeatureStore
from anomalyclip.importing.numpy_files import NumpyFeatures, group_files, open_features
from anomalyclip.storage import Storage, scratch

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class ImportSettings:
    """Facts that the files do not contain."""

    name: str
    """The import name."""
    sampling_rate: int | None = 1
    """Frames of the video per feature; None for snippets."""
    snippets: int | None = None
    """Features of every video, spread evenly over its frames; None for features at a sampling rate."""
    crops: int | None = None
    """Crops per frame in arrays of two axes; None takes the number that the files show."""
    made_by: str = ""
    """The user's words about their origin."""
    frame_tolerance: int = 0
    """Frames by which a manifest's count may differ from the number of frames that the features cover."""


@dataclass(frozen=True)
class ImportReport:
    """The outcome of an import."""

    name: str
    fingerprint: str
    features: str
    """URI of the folder of the features."""
    videos: int
    """Videos of the manifest that have features now."""
    without_features: list[str]
    """Ids of the videos that have none yet."""
    dim: int
    crops: int
    sampling_rate: int | None
    snippets: int | None


def import_features(
    manifest: pl.DataFrame, folders: Sequence[Path], settings: ImportSettings, storage: Storage
) -> ImportReport:
    """Store the features of a manifest's videos, found as `.npy` files below the folders.

    A file belongs to the video of its name, which is the `video_id` or the stem of its `path`. Raises one UsageError
    with everything that is wrong with the files; nothing is stored then.
    """
    check_name(settings.name)
    videos = _videos_by_name(manifest)
    found, faults = _open_all(folders, videos, settings)
    asked = _common(found, settings)
    common = read_import(storage, settings.name) or asked
    if asked.spacing != common.spacing:
        raise UsageError(
            f"features {common.name} are {common.spacing}, not {asked.spacing}: import these under another import name"
        )
    checked, wrong = _check_all(found, videos, common, settings.frame_tolerance)
    if faults := [*faults, *wrong]:
        raise UsageError("\n  ".join([f"{len(faults)} fault(s) in the features, none of which was imported:", *faults]))
    store = FeatureStore(storage, common.fingerprint)
    stored = [_store(features, videos[features.name], frames, common, store) for features, frames in checked]
    # last: an import that breaks off must not decide what the next one may contain
    save_import(storage, common)
    with store.merging():
        store.record(stored)
    missing = store.without_features(manifest)
    return ImportReport(
        common.name, common.fingerprint, storage.uri(store.key), manifest.height - len(missing), missing,
        common.dim, common.crops, common.sampling_rate, common.snippets,
    )  # fmt: skip


def _videos_by_name(manifest: pl.DataFrame) -> dict[str, dict[str, Any]]:
    rows = list(manifest.iter_rows(named=True))
    stems = Counter(Path(row["path"]).stem for row in rows)
    by_stem = {stem: row for row in rows if stems[stem := Path(row["path"]).stem] == 1}
    return by_stem | {row["video_id"]: row for row in rows}


def _open_all(
    folders: Sequence[Path], videos: Mapping[str, Any], settings: ImportSettings
) -> tuple[list[NumpyFeatures], list[str]]:
    files = sorted(file for folder in folders for file in folder.rglob("*.npy") if not file.name.startswith("."))
    if not files:
        raise UsageError(f"no .npy file below {', '.join(map(str, folders))}")
    found, faults = list[NumpyFeatures](), list[str]()
    for name, paths in group_files(files, videos).items():
        try:
            found.append(open_features(name, paths, settings.crops))
            if name not in videos:
                raise ValueError(f"no video of the manifest is called {name}")
        except ValueError as error:
            faults.append(f"{paths[0]}: {error}")
    return found, faults


def _common(found: Sequence[NumpyFeatures], settings: ImportSettings) -> ImportedFeatures:
    """Return what most of the features agree on."""
    shapes = Counter((features.dim, features.crops) for features in found)
    (dim, crops), _ = shapes.most_common(1)[0] if shapes else ((0, settings.crops or 1), 0)
    return ImportedFeatures(settings.name, dim, crops, settings.sampling_rate, settings.made_by, settings.snippets)


def _check_all(
    found: Sequence[NumpyFeatures], videos: Mapping[str, Mapping[str, Any]], common: ImportedFeatures, tolerance: int
) -> tuple[list[tuple[NumpyFeatures, int]], list[str]]:
    """Return the features that can be stored, each with the frames of its video, and a line for each other one."""
    checked, faults = list[tuple[NumpyFeatures, int]](), list[str]()
    for features in found:
        if features.name not in videos:
            continue
        try:
            checked.append((features, _check(features, videos[features.name], common, tolerance)))
        except ValueError as error:
            faults.append(f"{features.files[0]}: {error}")
    return checked, faults


def _check(features: NumpyFeatures, video: Mapping[str, Any], common: ImportedFeatures, tolerance: int) -> int:
    """Return the frames of the video; raises ValueError for another shape, frame count or number than can be stored."""
    if (features.dim, features.crops) != (common.dim, common.crops):
        raise ValueError(
            f"{features.crops} crop(s) of {features.dim} numbers, but features {common.name} have "
            f"{common.crops} of {common.dim}"
        )
    if common.sampling_rate is None:
        num_frames = _frames_divided(features.frames, common.snippets, video["num_frames"])
    else:
        num_frames = _frames_covered(features.frames, common.sampling_rate, video["num_frames"], tolerance)
    for _ in features.batches():
        pass  # raises for a number that cannot be stored
    return num_frames


def _store(
    features: NumpyFeatures, video: Mapping[str, Any], num_frames: int, common: ImportedFeatures, store: FeatureStore
) -> ExtractionResult:
    content = _content(features)
    if store.summary(content) is None:
        with TemporaryDirectory(dir=scratch(), prefix="import-") as folder:
            _write(finished := Path(folder) / f"{content}.parquet", features, video["source"], num_frames, common)
            store.publish(finished, content)
    size, mtime = stamp(video["source"])
    return ExtractionResult(video["source"], size, mtime, content, features.frames, num_frames)


def _frames_covered(features: int, sampling_rate: int, annotated: int | None, tolerance: int) -> int:
    """Return the frames of a video, whose last feature may cover fewer or more frames than the others."""
    if annotated is None:
        return features * sampling_rate
    shortest, longest = (features - 1) * sampling_rate + 1, (features + 1) * sampling_rate - 1
    covered = min(max(annotated, shortest), longest)
    if abs(covered - annotated) > tolerance:
        raise ValueError(
            f"{features} features, one per {sampling_rate} frame(s), do not fit the manifest's {annotated} frames: "
            "give the right --every, fix num_frames, or allow data.frame_tolerance"
        )
    return covered


def _frames_divided(features: int, snippets: int | None, annotated: int | None) -> int:
    """Return the frames of a video, which its snippets divide evenly."""
    if features != snippets:
        raise ValueError(f"{features} features, not {snippets} snippets: give the right --snippets")
    if annotated is None:
        raise ValueError(
            "num_frames is empty in the manifest, and snippets do not show how many frames the video has: fill it in"
        )
    return annotated


def _content(features: NumpyFeatures) -> str:
    """Return the hash of the files' content and of how it was read, which names the object."""
    hashes = [content_hash(file) for file in features.files]
    return hashlib.sha256(f"{features.crops} {' '.join(hashes)}".encode()).hexdigest()[:32]


def _write(target: Path, features: NumpyFeatures, source: str, num_frames: int, common: ImportedFeatures) -> None:
    length = frames_per_feature(num_frames, features.frames, common.sampling_rate)
    with FeatureWriter(target, length) as writer:
        for batch in features.batches():
            writer.append(batch)
        writer.describe(
            {
                "video": source,
                "num_frames": str(num_frames),
                "fps": "0.0",
                "sampling_rate": str(length),
                "provenance": f"imported as {common.name}; {common.made_by}".removesuffix("; "),
                "files": " ".join(file.name for file in features.files),
            }
        )
