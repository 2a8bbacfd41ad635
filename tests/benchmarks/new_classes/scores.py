"""Figures of a training's left-out class, recognised by its name in several ways, and of names that are in no video."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyclip.data.labels import NORMAL, frame_labels
from anomalyclip.evaluation.declarations import Estimate
from anomalyclip.evaluation.intervals import Replicates, auc_replicates
from anomalyclip.evaluation.new_classes import FIGURES, new_class_figures
from anomalyclip.evaluation.predictions import Digests, Predictions
from anomalyclip.evaluation.zero_shot import zero_shot
from anomalyclip.features.text_tower import text_tower
from anomalyclip.methods import load_bundle
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import load_tensors
from anomalyclip.model.engineered import engineered_features
from anomalyclip.model.new_classes import kept_prompts
from anomalyclip.model.selector import Selector
from tests.benchmarks.new_classes.trainings import CLASSES, NOTHING, Case, Footage

ABSENT = ("dog", "person falling", "flood", "parade", "snow")
"""Names of what is in no video."""
BY_NAME, ENGINEERED, ZERO_SHOT, TRAINED = "by name", "engineered prompt", "zero-shot CLIP", "trained"
NORMAL_STATISTICS, ALL_STATISTICS = "by name, statistics of normal features", "by name, statistics of all features"
Array = NDArray[np.float64]
Kept = dict[str, dict[str, Any]]


def measure(drawn: Footage, bundle: Path, case: Case, split: str = "test") -> Kept:
    """Return replicates by way and figure of the left-out class; of a training of all classes, those of each."""
    loaded, card = load_bundle(bundle)
    assert isinstance(loaded, AnomalyCLIP)
    videos = list(drawn.manifest.filter(pl.col("split") == split).iter_rows(named=True))
    features = [_features(drawn, row) for row in videos]
    trained = [name for name in card.classes if name != NORMAL]
    if case.left_out == NOTHING:
        table = _predictions(loaded, videos, features)
        return {name: _kept(*_as_new(table, trained, name)) for name in trained}
    ways = _ways(drawn, loaded, load_tensors(bundle), case, trained)
    rows = [f"{way}|{name}" for way, name, *_ in ways]
    model = loaded.with_new_classes(rows, torch.stack([each[2] for each in ways]))
    assert model.new is not None and isinstance(model.new.selector, Selector)
    norm = model.new.selector.batch_norm
    norm.running_mean, norm.running_var = (torch.stack([each[place] for each in ways]) for place in (3, 4))
    table, new = _predictions(model, videos, features), _new(model, features)
    found = {}
    for way, name in dict.fromkeys((way, name) for way, name, *_ in ways):
        label = way if name == case.left_out else f"{way}|{name}"
        found[label] = _kept(table, {name: new[f"{way}|{name}"]})
    texts = zero_shot(drawn.backbone, tuple(sorted([*trained, case.left_out, NORMAL])))
    scored = [texts.score(each) for each in features]
    probabilities = torch.cat([each[1] for each in scored]).numpy()
    untrained = _table(videos, texts.classes, torch.cat([each[0] for each in scored]).numpy(), probabilities)
    return {**found, ZERO_SHOT: _kept(*_as_new(untrained, [*trained, case.left_out], case.left_out))}


def _ways(
    drawn: Footage, model: AnomalyCLIP, tensors: Mapping[str, Tensor], case: Case, trained: list[str]
) -> list[tuple[str, str, Tensor, Tensor, Tensor]]:
    """Return way, name, text feature, mean and variance of the projection of all that is tried on one model."""
    names, tower = [case.left_out, *ABSENT], text_tower(drawn.backbone.model)
    prompts = kept_prompts(tensors, model.config, tower, drawn.backbone.tokenizer)
    abnormal = [place for place, name in enumerate(model.classes) if name != NORMAL]
    learnt = prompts.new_features(names, abnormal)
    written = engineered_features(names, tower, drawn.backbone.tokenizer).float()
    plain = model.with_new_classes(names, learnt).new
    assert plain is not None and isinstance(plain.selector, Selector)
    base = plain.selector.batch_norm.running_mean, plain.selector.batch_norm.running_var
    normal, abnormal_frames = _training_offsets(drawn, model, case)
    directions = torch.nn.functional.normalize((learnt - model.normality_prototype) / model.deviation, dim=-1)
    on_normal, on_abnormal = normal @ directions.T, abnormal_frames @ directions.T
    of_normal = on_normal.mean(dim=0), on_normal.var(dim=0)
    # half of a batch is abnormal, half normal
    mean = (on_normal.mean(dim=0) + on_abnormal.mean(dim=0)) / 2
    square = (on_normal.square().mean(dim=0) + on_abnormal.square().mean(dim=0)) / 2
    tried: dict[str, tuple[Tensor, tuple[Tensor, Tensor]]] = {
        BY_NAME: (learnt, base),
        NORMAL_STATISTICS: (learnt, of_normal),
        ALL_STATISTICS: (learnt, (mean, square - mean.square())),
        ENGINEERED: (written, base),
    }
    return [
        (way, name, texts[place], middle[place], spread[place])
        for way, (texts, (middle, spread)) in tried.items()
        for place, name in enumerate(names)
    ]


def _training_offsets(drawn: Footage, model: AnomalyCLIP, case: Case) -> tuple[Tensor, Tensor]:
    """Return the re-centred features of the normal and of the abnormal training videos, `(frames, dim)` each."""
    rows = drawn.manifest.filter((pl.col("split") == "train") & ~pl.col("labels").list.contains(case.left_out))
    parts: dict[bool, list[Tensor]] = {True: [], False: []}
    for row in rows.iter_rows(named=True):
        parts[bool(row["labels"])].append(model.recentre(_features(drawn, row)))
    return torch.cat(parts[False]), torch.cat(parts[True])


def _features(drawn: Footage, row: Mapping[str, Any]) -> Tensor:
    return torch.from_numpy(np.array(drawn.store.read_features(row["source"])[:, 0])).float()


def _predictions(model: AnomalyCLIP, videos: list[dict[str, Any]], features: list[Tensor]) -> Predictions:
    """Return the table of the trained classes alone."""
    scored = [model.score_video(each) for each in features]
    probabilities = torch.cat([each.probabilities for each in scored]).numpy()[:, : len(model.classes)]
    return _table(videos, model.classes, torch.cat([each.scores for each in scored]).numpy(), probabilities)


def _new(model: AnomalyCLIP, features: list[Tensor]) -> dict[str, Array]:
    probabilities = torch.cat([model.score_video(each).probabilities for each in features]).numpy()
    return dict(zip(model.new_classes, probabilities[:, len(model.classes) :].T, strict=True))


def _table(videos: list[dict[str, Any]], classes: tuple[str, ...], scores: Array, probabilities: Array) -> Predictions:
    """Return a predictions table of features that stand for one frame each."""
    counts = [row["num_frames"] for row in videos]
    truth = np.zeros((sum(counts), len(CLASSES)), dtype=np.bool_)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    for row, first, end in zip(videos, offsets, offsets[1:], strict=False):
        names, held = frame_labels(row["anomalies"], row["labels"], row["num_frames"])
        truth[first:end, [CLASSES.index(name) for name in names]] = held
    of_videos = np.array([[name in row["labels"] for name in CLASSES] for row in videos])
    known = np.ones(len(videos), dtype=np.bool_)
    ids, digests = tuple(row["video_id"] for row in videos), Digests("", "", "")
    return Predictions(ids, offsets, scores, probabilities, truth, of_videos, known, classes, CLASSES, digests, 16)


def _as_new(table: Predictions, trained: list[str], name: str) -> tuple[Predictions, dict[str, Array]]:
    """Return a table as if one of its classes were new, in competition with the others as they are in the table."""
    own = table.probability_of(name)
    rest = np.maximum(table.scores - own, 1e-12)
    others = tuple(each for each in table.classes if each != name)
    columns = [table.probability_of(each) * (1 if each == NORMAL else table.scores / rest) for each in others]
    return (
        Predictions(
            table.video_ids, table.offsets, table.scores, np.column_stack(columns), table.truth, table.video_truth,
            table.known, others, table.label_classes, table.digests, table.segment_frames,
        ),
        {name: own},
    )  # fmt: skip


def _kept(table: Predictions, new: Mapping[str, Array]) -> dict[str, Any]:
    """Return the replicates of all figures of one name, as JSON-like values; None if undefined."""
    (found,), (name,) = new_class_figures(table, new), new
    estimates: dict[str, Estimate | None] = {figure: getattr(found, figure) for figure in FIGURES}
    replicates = {figure: each and each.replicates for figure, each in estimates.items()}
    if name in CLASSES:
        replicates |= _against_normal(table, name, new[name])
    return {
        figure: each and {"point": each.point, "left_out": each.left_out.tolist(), "clusters": each.clusters}
        for figure, each in replicates.items()
    }


def _against_normal(table: Predictions, name: str, own: Array) -> dict[str, Replicates | None]:
    """Return AUCs of a class's frames against normal ones: by p_A, and what the right name adds to wrong ones."""
    truth = table.truth_of(name)
    kept = truth | ~table.anomalous
    offsets = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, table.offsets[:-1], dtype=np.int64))])

    def auc(column: Any) -> Replicates:
        found = auc_replicates(column[kept], truth[kept], offsets)
        assert found is not None
        return found

    right, others = auc(own), [auc(table.probability_of(each)) for each in table.classes if each != NORMAL]
    gain = Replicates(
        right.point - float(np.mean([each.point for each in others])),
        right.left_out - np.mean([each.left_out for each in others], axis=0),
        right.clusters,
    )
    return {"detection": auc(table.scores), "gain": gain}


def measured(drawn: Footage, bundle: Path, case: Case) -> Kept:
    """Return what `measure` finds, from the training's folder if it was measured before."""
    file = bundle / "figures.json"
    if not file.exists():
        file.write_text(json.dumps(measure(drawn, bundle, case)))
    kept: Kept = json.loads(file.read_text())
    return kept
