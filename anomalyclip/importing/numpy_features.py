"""From NumPy files to the feature store, under the name that their user asserts for what made them."""

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
from anomalyclip.features.imported import ImportedFeatures, check_name, keep_import, known_import
from anomalyclip.features.sources import content_hash, stamp
from anomalyclip.features.store import ExtractionResult, FeatureStore
from anomalyclip.importing.numpy_files import NumpyFeatures, group_files, open_features
from anomalyclip.storage import Storage, scratch

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class ImportSettings:
    """What the files themselves do not tell."""

    name: str
    """Of what made the features, as the user asserts it."""
    sampling_rate: int = 1
    """Frames that a feature stands for."""
    crops: int | None = None
    """Views of a frame in arrays of two axes; None takes what the files say."""
    made_by: str = ""
    """The user's words about their origin."""
    frame_tolerance: int = 0
    """Frames by which a manifest's count may differ from what the features stand for."""


@dataclass(frozen=True)
class ImportReport:
    """The outcome of an import."""

    name: str
    fingerprint: str
    features: str
    """URI of the folder of the features."""
    videos: int
    """Videos that have features now."""
    without_features: list[str]
    """Ids of the manifest's videos that have none yet."""
    dim: int
    crops: int
    sampling_rate: int


def import_features(
    manifest: pl.DataFrame, folders: Sequence[Path], settings: ImportSettings, storage: Storage
) -> ImportReport:
    """Put the features of a manifest's videos, found as `.npy` files below the folders, in the store.

    A file belongs to the video of its name, which is the `video_id` or the stem of its `path`. Raises one UsageError
    with everything that is wrong with the files; until all are in order the index stays as it is.
    """
    check_name(settings.name)
    videos = _videos_by_name(manifest)
    found, faults = _open_all(folders, videos, settings)
    known = known_import(storage, settings.name)
    features = known or _common(found, settings)
    store = FeatureStore(storage, features.fingerprint)
    results, wrong = _store_all(found, videos, features, settings, store)
    if faults := [*faults, *wrong]:
        raise UsageError("\n  ".join([f"{len(faults)} fault(s) in the features, none of which was imported:", *faults]))
    keep_import(storage, features)
    store.record(results)
    missing = store.without_features(manifest)
    return ImportReport(
        features.name, features.fingerprint, storage.uri(store.key), manifest.height - len(missing), missing,
        features.dim, features.crops, features.sampling_rate,
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
    return ImportedFeatures(settings.name, dim, crops, settings.sampling_rate, settings.made_by)


def _store_all(
    found: Sequence[NumpyFeatures],
    videos: Mapping[str, Mapping[str, Any]],
    common: ImportedFeatures,
    settings: ImportSettings,
    store: FeatureStore,
) -> tuple[list[ExtractionResult], list[str]]:
    """Publish the objects of all features that are in order; nothing names them until they are recorded."""
    if settings.sampling_rate != common.sampling_rate:
        raise UsageError(
            f"features {common.name} are one every {common.sampling_rate} frames, not every {settings.sampling_rate}: "
            "import these under another name"
        )
    results, faults = list[ExtractionResult](), list[str]()
    for features in found:
        if features.name not in videos:
            continue
        try:
            results.append(_store(features, videos[features.name], common, settings.frame_tolerance, store))
        except ValueError as error:
            faults.append(f"{features.files[0]}: {error}")
    return results, faults


def _store(
    features: NumpyFeatures, video: Mapping[str, Any], common: ImportedFeatures, tolerance: int, store: FeatureStore
) -> ExtractionResult:
    if (features.dim, features.crops) != (common.dim, common.crops):
        raise ValueError(
            f"{features.crops} crop(s) of {features.dim} numbers, where features {common.name} have "
            f"{common.crops} of {common.dim}"
        )
    num_frames = _frames_covered(features.frames, common.sampling_rate, video["num_frames"], tolerance)
    content = _content(features)
    if store.summary(content) is None:
        with TemporaryDirectory(dir=scratch(), prefix="import-") as folder:
            _write(finished := Path(folder) / f"{content}.parquet", features, video["source"], num_frames, common)
            store.publish(finished, content)
    size, mtime = stamp(video["source"])
    return ExtractionResult(video["source"], size, mtime, content, features.frames, num_frames)


def _frames_covered(features: int, sampling_rate: int, annotated: int | None, tolerance: int) -> int:
    """Return the frames of a video whose last feature may stand for fewer or some more than the others."""
    if annotated is None:
        return features * sampling_rate
    shortest, longest = (features - 1) * sampling_rate + 1, (features + 1) * sampling_rate - 1
    covered = min(max(annotated, shortest), longest)
    if abs(covered - annotated) > tolerance:
        raise ValueError(
            f"{features} features, one every {sampling_rate} frame(s), do not fit the manifest's {annotated} frames: "
            "give the right --every, fix num_frames, or allow data.frame_tolerance"
        )
    return covered


def _content(features: NumpyFeatures) -> str:
    """Return what names an object: the files' content, and how it was read."""
    hashes = [content_hash(file) for file in features.files]
    return hashlib.sha256(f"{features.crops} {' '.join(hashes)}".encode()).hexdigest()[:32]


def _write(target: Path, features: NumpyFeatures, source: str, num_frames: int, common: ImportedFeatures) -> None:
    with FeatureWriter(target, common.sampling_rate) as writer:
        for batch in features.batches():
            writer.append(batch)
        writer.describe(
            {
                "video": source,
                "num_frames": str(num_frames),
                "fps": "0.0",
                "sampling_rate": str(common.sampling_rate),
                "provenance": f"imported, made by {common.name} (asserted); {common.made_by}".removesuffix("; "),
                "files": " ".join(file.name for file in features.files),
            }
        )
