"""Records of runs: what each needs of the storage root."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from anomalyclip.housekeeping.inventory import Entry
from anomalyclip.redaction import redacted
from anomalyclip.runs import CONTENT, FEATURES, MLFLOW, RESULT, RunKind
from anomalyclip.storage import Storage

READERS = 16
"""Small files read at the same time: an object store takes 50 ms for each."""
WITHOUT_BACKBONE = (RunKind.COMPARISON, RunKind.PRETRAINING)
WITHOUT_FEATURES = (*WITHOUT_BACKBONE, RunKind.IMPORT, RunKind.TRIAL)
"""A trial's features are those of the searches that use it."""


@dataclass(frozen=True)
class RunRecord:
    """Objects that one run of the storage root uses."""

    entry: Entry
    finished: bool
    tracking_uri: str | None
    """Without a login."""
    mlflow_run: str | None
    backbones: frozenset[str]
    fingerprint: str | None
    """Of its features; None if it has none, or does not say."""
    objects: frozenset[str]
    """Content hashes of its features."""
    manifest: str | None
    """Path of its manifest, on the machine where it was started."""
    says_features: bool
    """Whether that is all it needs; a run whose record is damaged may need any."""
    says_backbone: bool

    @property
    def key(self) -> str:
        """Its folder."""
        return self.entry.key


def is_run(entry: Entry) -> bool:
    """Return whether an entry is the folder of a run."""
    return entry.kind in list(RunKind) or f"{entry.key}/{CONTENT}" in entry.keys


def read_records(storage: Storage, entries: Iterable[Entry]) -> list[RunRecord]:
    """Return what each run among the entries uses, from two or three small files per run."""
    runs = [entry for entry in entries if is_run(entry)]
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda entry: _read_record(storage, entry), runs))


def read_jsons(storage: Storage, keys: Sequence[str]) -> list[Any]:
    """Return the values of JSON files, {} for one that is gone or damaged."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda key: _json(storage, key), keys))


def _read_record(storage: Storage, entry: Entry) -> RunRecord:
    content, kept, used = (
        _json(storage, key) if (key := f"{entry.key}/{name}") in entry.keys else {}
        for name in (CONTENT, MLFLOW, FEATURES)
    )
    finished = f"{entry.key}/{RESULT}" in entry.keys
    identities = (used.get("backbone"), content.get("backbone"), content.get("card", {}).get("backbone_identity"))
    whole = "objects" in used
    return RunRecord(
        entry=entry,
        finished=finished,
        tracking_uri=redacted(kept.get("tracking_uri")),
        mlflow_run=kept.get("run_id"),
        backbones=frozenset(identity for identity in identities if identity),
        fingerprint=used.get("fingerprint"),
        objects=frozenset(used.get("objects", ())),
        manifest=used.get("manifest"),
        # one that died before it had its features will look for them again
        says_features=whole
        or entry.kind in WITHOUT_FEATURES
        or not (finished or f"{entry.key}/{FEATURES}" in entry.keys),
        says_backbone=whole or entry.kind in WITHOUT_BACKBONE or not {"backbone", "card"}.isdisjoint(content),
    )


def _json(storage: Storage, key: str) -> Any:
    try:
        value = storage.read_json(key)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
