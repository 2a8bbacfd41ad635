"""False alarms of live scores at the thresholds of a model's table, which was counted with offline scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anomalyclip.benchmark.footage.videos import FPS
from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.intervals import averaged, difference, poisson_interval, ratio_replicates
from anomalyclip.evaluation.scoring import bundle_scorer, score_stored
from anomalyclip.events.alarms import AlarmTable, count_alarms
from anomalyclip.events.detection import OperatingPoint, runs
from anomalyclip.events.event import Track, even_edges
from anomalyclip.live.layouts import Layout
from anomalyclip.live.scorer import live_scorer
from anomalyclip.live.window import Pushed
from tests.benchmarks.live_layouts.footage import Footage, Stream
from tests.benchmarks.live_layouts.measures import EVENTS, told
from tests.benchmarks.live_layouts.windows import Taken

CPU = torch.device("cpu")


def offline_scores(bundle: Path, streams: Sequence[Stream]) -> list[Taken]:
    """Return the scores of whole streams, in parts where they are long."""
    scorer = bundle_scorer(bundle, CPU)
    scored = [score_stored(scorer, [each.features], len(each.features)) for each in streams]
    return [Taken(*each, np.full(len(each[0]), len(each[0]))) for each in scored]


def live_scores(bundle: Path, streams: Sequence[Stream], layout: Layout | None = None) -> list[Taken]:
    """Return the scores of the live scorer, as they are in use."""
    scorer, found = live_scorer(bundle, CPU, layout), list[Taken]()
    for stream in streams:
        parts, known = [], list[int]()
        for stop in range(1, len(stream.features) + 1):
            numbers = np.array([stop - 1])
            pushed = Pushed(stream.features[stop - 1 : stop], numbers / FPS, numbers)
            parts.append(scorer.push({stream.name: pushed})[stream.name])
            known += [stop] * len(parts[-1].scores)
        parts.append(scorer.forget(stream.name))
        known += [len(stream.features)] * len(parts[-1].scores)
        scores, probabilities = (np.concatenate([each[column] for each in parts]) for column in (2, 3))
        found.append(Taken(scores, probabilities, np.array(known)))
    return found


def alarms_of(streams: Sequence[Stream], taken: Sequence[Taken], classes: tuple[str, ...]) -> AlarmTable:
    """Return the table of normal streams."""
    pairs = zip(streams, taken, strict=True)
    tracks = [Track(s.name, classes, t.scores, t.probabilities, even_edges(len(t.scores), FPS)) for s, t in pairs]
    table = count_alarms(tracks, EVENTS, held_out=True)
    assert table is not None
    return table


def found_and_false(
    streams: Sequence[Stream], taken: Sequence[Taken], classes: tuple[str, ...], threshold: float
) -> NDArray[np.float64]:
    """Return false alarms, true events that were found, and true events, of each stream: (3, streams)."""
    point = OperatingPoint(detection=threshold, alert=threshold, events=EVENTS)
    rows = []
    for stream, each in zip(streams, taken, strict=True):
        spans = [(round(start * FPS), round(end * FPS)) for start, end, _ in told(stream, each, classes, point)]
        true = list(zip(*runs(stream.anomalous), strict=True))
        false = sum(not stream.anomalous[first:stop].any() for first, stop in spans)
        hit = sum(any(first <= end and stop > start for first, stop in spans) for start, end in true)
        rows.append((false, hit, len(true)))
    return np.array(rows, np.float64).T


def threshold_table(drawn: Footage, bundles: Sequence[Path]) -> str:
    """Return, for thresholds counted on normal validation clips, what live and offline scores give on test streams."""
    normal = [each for each in drawn.clips("val") if each.label == NORMAL]
    streams = drawn.streams("test")
    hours = np.array([len(each.features) for each in streams]) / FPS / 3600
    lines = [
        f"{len(normal)} normal validation clips, {sum(len(each.features) for each in normal) / FPS / 60:.0f} minutes; "
        f"{len(streams)} test streams, {hours.sum() * 60:.0f} minutes", "",
        "| asked per hour | table | scores | thresholds | false alarms per hour | live minus offline | recall |",
        "|--:|---|---|---|---|---|--:|",
    ]  # fmt: skip
    classes = bundle_scorer(bundles[0], CPU).classes
    scores = {"offline": offline_scores, "live": live_scores}
    on_normal = {kind: [score(bundle, normal) for bundle in bundles] for kind, score in scores.items()}
    on_test = {kind: [score(bundle, streams) for bundle in bundles] for kind, score in scores.items()}
    for asked in (1.0, 30.0):
        for kind, taken in on_normal.items():
            thresholds = [alarms_of(normal, each, classes).choose(asked).threshold for each in taken]
            rates = {}
            for use in ("offline", "live"):
                pairs = zip(on_test[use], thresholds, strict=True)
                counts = [found_and_false(streams, each, classes, threshold) for each, threshold in pairs]
                rates[use] = averaged([ratio_replicates(each[0], hours, most=np.inf) for each in counts])
                total = sum(each[0].sum() for each in counts)
                bounds = poisson_interval(round(total / len(bundles)), float(hours.sum()))
                change = difference(rates[use], rates["offline"]) if use == "live" else None
                recall = np.mean([each[1].sum() / each[2].sum() for each in counts])
                shown = ", ".join(f"{threshold:.3f}" for threshold in thresholds)
                apart = ""
                if change and change.interval:
                    apart = f"{change.value:+.1f} ({change.interval.low:+.1f} to {change.interval.high:+.1f})"
                rate = f"{total / len(bundles) / hours.sum():.1f} ({bounds.low:.1f} to {bounds.high:.1f})"
                lines.append(f"| {asked:g} | {kind} | {use} | {shown} | {rate} | {apart} | {recall:.2f} |")
    return "\n".join(lines)
