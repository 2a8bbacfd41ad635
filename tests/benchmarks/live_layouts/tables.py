"""Tables of layouts: means of three seeds, with 95 % intervals over streams."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from anomalyclip.evaluation.intervals import Replicates, averaged, difference, logit_interval
from anomalyclip.evaluation.scoring import bundle_scorer, score_stored
from anomalyclip.methods import load_bundle
from tests.benchmarks.live_layouts.footage import Stream
from tests.benchmarks.live_layouts.measures import RATES, Figures, figures
from tests.benchmarks.live_layouts.windows import Pattern, Taken, windows_of


class Setting(NamedTuple):
    """A layout to measure; features are frames here."""

    pattern: Pattern
    hop: int
    delay: int
    least: int

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.pattern.name} | {self.hop} | {self.delay} | {self.least}"


@dataclass(frozen=True)
class Models:
    """Trained models, and where scores are kept."""

    bundles: Sequence[Path]
    kept: Path

    def live(
        self, settings: Iterable[Setting], streams: Sequence[Stream], part: str
    ) -> Iterator[tuple[Setting, list[Figures]]]:
        """Yield the figures of each model, by setting."""
        loaded = [load_bundle(bundle) for bundle in self.bundles]
        for setting in settings:
            found = []
            for bundle, (model, card) in zip(self.bundles, loaded, strict=True):
                file = self.kept / f"{bundle.name}-{part}-{setting.pattern.name}.npz".replace(" ", "-")
                windows = windows_of(model, card, setting.pattern, streams, file)
                taken = [each.taken(setting.hop, setting.delay, setting.least) for each in windows]
                found.append(figures(streams, taken, card.classes, online=True))
            yield setting, found

    def offline(self, streams: Sequence[Stream]) -> list[Figures]:
        """Return the figures of each model that scores whole streams, in parts where they are long."""
        found = []
        for bundle in self.bundles:
            scorer = bundle_scorer(bundle, torch.device("cpu"))
            scored = [score_stored(scorer, [each.features], len(each.features)) for each in streams]
            taken = [Taken(*each, np.full(len(each[0]), len(each[0]))) for each in scored]
            found.append(figures(streams, taken, scorer.classes, online=False))
        return found


HEADER = (
    "| window | hop | delay | least | AUC | Δ | within | Δ | recall at 1/h | Δ | recall at 10/h | delay (s) | 90 % |"
)
RULE = "|---|--:|--:|--:|---|---|---|---|---|---|---|--:|--:|"


def row(name: str, own: Sequence[Figures], offline: Sequence[Figures] | None) -> tuple[str, dict[str, Any]]:
    """Return a setting's line of the table, and its numbers."""
    of = {
        "auc": (lambda each: each.auc),
        "within": (lambda each: each.within),
        "recall": (lambda each: each.recall[RATES[0]]),
        "recall10": (lambda each: each.recall[RATES[1]]),
    }
    cells, numbers = [], {"name": name}
    for key, get in of.items():
        ours = averaged([get(each) for each in own])
        cells.append(_text(ours))
        numbers[key] = None if ours is None else ours.point
        if key != "recall10":
            theirs = averaged([get(each) for each in offline]) if offline else None
            cells.append(_difference(ours, theirs))
    delays = [delay for each in own for delay in each.delays]
    quantiles = [float(np.quantile(delays, share)) for share in (0.5, 0.9)] if delays else [None, None]
    cells += ["" if each is None else f"{each:.1f}" for each in quantiles]
    numbers |= {"delay": quantiles[0], "delay90": quantiles[1]}
    return f"| {name} | {' | '.join(cells)} |", numbers


def _text(replicates: Replicates | None) -> str:
    if replicates is None:
        return "-"
    interval = logit_interval(replicates)
    return f"{replicates.point:.3f}" + (f" ({interval.low:.3f} to {interval.high:.3f})" if interval else "")


def _difference(ours: Replicates | None, theirs: Replicates | None) -> str:
    found = difference(ours, theirs)
    if found is None:
        return ""
    bounds = found.interval
    return f"{found.value:+.3f}" + (f" ({bounds.low:+.3f} to {bounds.high:+.3f})" if bounds else "")


def table(models: Models, settings: Sequence[Setting], streams: Sequence[Stream], part: str, target: Path) -> str:
    """Measure settings on streams; returns the table, and keeps it with its numbers."""
    offline = models.offline(streams)
    rows = [row("offline | | | ", offline, None)]
    rows += [row(setting.name, found, offline) for setting, found in models.live(settings, streams, part)]
    hours = sum(len(each.features) for each in streams) / 12 / 3600
    events = sum(int((np.diff(each.anomalous.astype(int)) == 1).sum()) for each in streams)
    title = f"{part}: {len(streams)} streams, {hours * 60:.0f} minutes, {events} events"
    text = "\n".join([title, "", HEADER, RULE, *(line for line, _ in rows), ""])
    target.write_text(text)
    target.with_suffix(".json").write_text(json.dumps([numbers for _, numbers in rows], indent=1))
    return text
