"""Comparison report: models side by side as Markdown tables, and the same as JSON-like values.

Models go by letters: A is the reference, and each of the others is compared with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.comparison import Comparison, Measured, VideoDifference
from anomalyclip.evaluation.declarations import Estimate
from anomalyclip.evaluation.figures import compared, summarised_by_class
from anomalyclip.evaluation.intervals import Difference
from anomalyclip.evaluation.tables import markdown as markdown_table
from anomalyclip.evaluation.text import difference_text, difference_values, interval_values, value_text

LETTERS = ascii_uppercase
MOST_VIDEOS = 10
"""Videos that a table shows."""

NOTE = (
    "Intervals are 95 % intervals over videos (delete-one-video jackknife); those of differences are paired by video. "
    "P is the probability that the model is better than A on all videos that might have been sampled, for these "
    "trainings: the variation between seeds is not in it."
)
VIDEOS_NOTE = (
    "Ranked correctly: of all pairs of an anomalous and a normal frame, one of them of this video, the share in which "
    "the anomalous one scores higher; 0.5 is chance. A pair of two videos counts half for each, so that the "
    "contributions of all videos sum to ΔAUC."
)
UNLOCATED_NOTE = "{} videos have labels but no frame intervals: they count in the figures of whole videos only."


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Models on the same videos: their names, the reference first, their figures, and the differences."""

    names: Sequence[str]
    measured: Sequence[Measured]
    differences: Sequence[Comparison]
    """Each of the others minus the reference."""

    def others(self) -> list[tuple[str, Measured, Comparison]]:
        """Return letter, figures and difference of each model but the reference."""
        return list(zip(LETTERS[1:], self.measured[1:], self.differences, strict=False))


def markdown(models: SideBySide) -> str:
    """Return the whole comparison as Markdown."""
    reference = models.measured[0]
    table, unlocated = reference.predictions, reference.metrics.unlocated
    legend = [f"- {letter}: `{name}`" for letter, name in zip(LETTERS, models.names, strict=False)]
    heading = f"# {len(models.names)} models on {len(table.video_ids)} videos, {len(table.scores)} frames"
    parts = [heading, "\n".join(legend), NOTE]
    parts += [UNLOCATED_NOTE.format(unlocated)] if unlocated else []
    for letter, measured, comparison in models.others():
        parts += [f"## {letter} against A", _figures_table(letter, reference, measured, comparison)]
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
    """Return the differences under the names that they have in a tracking server, such as `B/auc_difference`."""
    flat: dict[str, float] = {}
    for letter, _, comparison in models.others():
        for figure in compared():
            described = difference_values(comparison.figures[figure.name])
            flat |= {f"{letter}/{figure.name}_{key}": value for key, value in described.items() if value is not None}
    return flat


def class_order(*known: Mapping[str, Any]) -> list[str]:
    """The classes that have figures in any of the models: in the first one's order, Normal last."""
    names = list(dict.fromkeys(name for of_class in known for name, found in of_class.items() if found is not None))
    return sorted(names, key=lambda name: name == NORMAL)


def _figures_table(letter: str, reference: Measured, measured: Measured, comparison: Comparison) -> str:
    rows = [["", "A", letter, f"{letter} - A", f"P({letter} better)"]]
    both = reference.metrics, measured.metrics
    for figure in compared():
        single = [_single(metrics.figures[figure.name]) for metrics in both]
        rows.append([figure.heading, *single, *_signed(comparison.figures[figure.name])])
    for kind in summarised_by_class():
        of_class = [metrics.of_class[kind.name] for metrics in both]
        for name in class_order(*of_class):
            single = [_point(each.get(name)) for each in of_class]
            rows.append([f"{kind.title} {name}", *single, *_signed(comparison.of_class[kind.name].get(name))])
    return markdown_table(rows)


def _videos_table(letter: str, comparison: Comparison) -> str:
    rows = [["video", "classes", "frames", "A ranked correctly", f"{letter} ranked correctly", "contribution to ΔAUC"]]
    for video in comparison.videos[:MOST_VIDEOS]:
        labels = ", ".join(video.labels) or NORMAL
        shares = [f"{video.second:.3f}", f"{video.first:.3f}"]
        rows.append([video.video_id, labels, str(video.frames), *shares, f"{video.contribution:+.4f}"])
    return markdown_table(rows, left=2)


def _point(estimate: Estimate | None) -> str:
    return value_text(None if estimate is None else estimate.value)


def _single(estimate: Estimate | None) -> str:
    return value_text(estimate.value, estimate.interval) if estimate else _point(None)


def _signed(difference: Difference | None) -> list[str]:
    better = "" if difference is None or difference.better is None else _probability(difference.better)
    return [difference_text(difference), better]


def _probability(value: float) -> str:
    """A probability that is not rounded to certainty."""
    if value in (0.0, 1.0):
        return f"{value:.0f}"
    return "< 0.001" if value < 0.001 else "> 0.999" if value > 0.999 else f"{value:.3f}"


def _measured(measured: Measured) -> dict[str, Any]:
    metrics, figures = measured.metrics, dict[str, Any]()
    for figure in compared():
        estimate = metrics.figures[figure.name]
        figures[figure.name] = estimate and {"value": estimate.value, **interval_values(estimate.interval)}
    for kind in summarised_by_class():
        of_class = metrics.of_class[kind.name]
        figures[f"class_{kind.name}"] = {name: found.value for name, found in of_class.items() if found}
    return figures


def _compared(comparison: Comparison) -> dict[str, Any]:
    figures: dict[str, Any] = {each.name: difference_values(comparison.figures[each.name]) for each in compared()}
    for kind in summarised_by_class():
        of_class = comparison.of_class[kind.name]
        figures[f"class_{kind.name}"] = {name: difference_values(found) for name, found in of_class.items()}
    return {**figures, "videos": [_video(video) for video in comparison.videos[:MOST_VIDEOS]]}


def _video(video: VideoDifference) -> dict[str, Any]:
    return {
        "video_id": video.video_id,
        "labels": list(video.labels),
        "frames": video.frames,
        "ranked_rightly": {"model": video.first, "reference": video.second},
        "contribution": video.contribution,
    }
