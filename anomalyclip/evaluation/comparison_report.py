"""Models side by side as people read them: Markdown tables, and the same as JSON-like values.

Models go by letters: A is the reference, and each of the others is held against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.comparison import Comparison, Measured, VideoDifference
from anomalyclip.evaluation.intervals import Difference, Interval, Replicates, logit_interval

LETTERS = ascii_uppercase
MOST_VIDEOS = 10
"""Videos that a table shows."""
FIGURES = {"auc": "AUC", "ap": "AP", "m_auc": "mAUC"}

NOTE = (
    "Intervals are 95 % ones over videos (delete-one-video jackknife), those of differences paired by video. "
    "P is the probability that the model is better than A on all videos that might have been drawn, for these "
    "trainings: what another seed would change is not in it."
)
VIDEOS_NOTE = (
    "Ranked rightly: of all pairs of an anomalous and a normal frame, one of them this video's, the share in which "
    "the anomalous one scores higher; 0.5 is chance. A pair of two videos counts half for each, so that the "
    "contributions of all videos sum to ΔAUC."
)


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Models on the same videos: as they were named, the reference first, what each measures and how each differs."""

    names: Sequence[str]
    measured: Sequence[Measured]
    differences: Sequence[Comparison]
    """Each of the others minus the reference."""

    def others(self) -> list[tuple[str, Measured, Comparison]]:
        """Return letter, figures and difference of each model but the reference."""
        return list(zip(LETTERS[1:], self.measured[1:], self.differences, strict=False))


def markdown(models: SideBySide) -> str:
    """Return the whole comparison as Markdown."""
    table = models.measured[0].predictions
    legend = [f"- {letter}: `{name}`" for letter, name in zip(LETTERS, models.names, strict=False)]
    heading = f"# {len(models.names)} models on {len(table.video_ids)} videos, {len(table.scores)} frames"
    parts = [heading, "\n".join(legend), NOTE]
    for letter, measured, comparison in models.others():
        parts += [f"## {letter} against A", _figures_table(letter, models.measured[0], measured, comparison)]
        if comparison.videos:
            parts += [f"### Videos on which A and {letter} differ most", _videos_table(letter, comparison), VIDEOS_NOTE]
    return "\n\n".join(parts) + "\n"


def values(models: SideBySide) -> dict[str, Any]:
    """Return the figures of the tables as JSON-like values."""
    return {
        "models": [
            {"letter": letter, "name": name, "digest": measured.predictions.digests.model, **_measured(measured)}
            for letter, name, measured in zip(LETTERS, models.names, models.measured, strict=False)
        ],
        "differences": [
            {"model": letter, "reference": "A", **_compared(comparison)} for letter, _, comparison in models.others()
        ],
    }


def flat_values(models: SideBySide) -> dict[str, float]:
    """Return the differences in AUC, AP and mAUC under the names that they have in a tracking server."""
    flat: dict[str, float] = {}
    for letter, _, comparison in models.others():
        for name in FIGURES:
            described = _difference(getattr(comparison, name))
            flat |= {f"{letter}/{name}_{key}": value for key, value in described.items() if value is not None}
    return flat


def _figures_table(letter: str, reference: Measured, measured: Measured, comparison: Comparison) -> str:
    rows = [["", "A", letter, f"{letter} - A", f"P({letter} better)"]]
    for name, title in FIGURES.items():
        single = [_single(getattr(each, name)) for each in (reference, measured)]
        rows.append([title, *single, *_signed(getattr(comparison, name))])
    for name in _class_order(reference.of_class, measured.of_class):
        single = [_point(each.of_class.get(name)) for each in (reference, measured)]
        rows.append([f"AUC {_cell(name)}", *single, *_signed(comparison.of_class.get(name))])
    return _table(rows, left=1)


def _videos_table(letter: str, comparison: Comparison) -> str:
    rows = [["video", "classes", "frames", "A ranked rightly", f"{letter} ranked rightly", "contribution to ΔAUC"]]
    for video in comparison.videos[:MOST_VIDEOS]:
        labels = ", ".join(video.labels) or NORMAL
        shares = [f"{video.second:.3f}", f"{video.first:.3f}"]
        rows.append([_cell(video.video_id), _cell(labels), str(video.frames), *shares, f"{video.contribution:+.4f}"])
    return _table(rows, left=2)


def _class_order(*known: Mapping[str, Any]) -> list[str]:
    """The classes that have figures in any of the models: in the first one's order, Normal last."""
    names = list(dict.fromkeys(name for of_class in known for name in of_class))
    return sorted(names, key=lambda name: name == NORMAL)


def _table(rows: Sequence[Sequence[str]], left: int) -> str:
    rule = ["---" if column < left else "--:" for column in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _point(replicates: Replicates | None) -> str:
    return f"{replicates.point:.3f}" if replicates else "undefined"


def _single(replicates: Replicates | None) -> str:
    return _point(replicates) + _bounds(logit_interval(replicates), "")


def _signed(difference: Difference | None) -> list[str]:
    if difference is None:
        return ["not comparable", ""]
    better = "" if difference.better is None else _probability(difference.better)
    return [f"{difference.value:+.3f}{_bounds(difference.interval, '+')}", better]


def _bounds(interval: Interval | None, sign: str) -> str:
    return f" ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})" if interval else ""


def _probability(value: float) -> str:
    """A probability that is not rounded to certainty."""
    if value in (0.0, 1.0):
        return f"{value:.0f}"
    return "< 0.001" if value < 0.001 else "> 0.999" if value > 0.999 else f"{value:.3f}"


def _measured(measured: Measured) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in FIGURES:
        replicates: Replicates | None = getattr(measured, name)
        interval = logit_interval(replicates)
        figures[name] = replicates and {"value": replicates.point, **_ends(interval)}
    return {**figures, "class_auc": {name: replicates.point for name, replicates in measured.of_class.items()}}


def _compared(comparison: Comparison) -> dict[str, Any]:
    return {
        **{name: _difference(getattr(comparison, name)) for name in FIGURES},
        "class_auc": {name: _difference(found) for name, found in comparison.of_class.items()},
        "videos": [_video(video) for video in comparison.videos[:MOST_VIDEOS]],
    }


def _video(video: VideoDifference) -> dict[str, Any]:
    return {
        "video_id": video.video_id,
        "labels": list(video.labels),
        "frames": video.frames,
        "ranked_rightly": {"model": video.first, "reference": video.second},
        "contribution": video.contribution,
    }


def _difference(difference: Difference | None) -> dict[str, float | None]:
    if difference is None:
        return dict.fromkeys(["difference", "low", "high", "better"])
    return {"difference": difference.value, **_ends(difference.interval), "better": difference.better}


def _ends(interval: Interval | None) -> dict[str, float | None]:
    return {"low": interval.low if interval else None, "high": interval.high if interval else None}
