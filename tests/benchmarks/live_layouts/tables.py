"""Tables of layouts: means of three seeds, with 95 % intervals over streams."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomalyclip.benchmark.footage.videos import FPS
from anomalyclip.evaluation.intervals import Replicates, averaged, difference, logit_interval
from anomalyclip.events.detection import runs
from anomalyclip.methods import load_bundle
from anomalyclip.model.bundle import load_card
from tests.benchmarks.live_layouts.footage import Stream
from tests.benchmarks.live_layouts.measures import RATES, Figures, figures
from tests.benchmarks.live_layouts.thresholds import offline_scores
from tests.benchmarks.live_layouts.windows import Pattern, windows_of


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
                name = f"{bundle.name}-{part}-{setting.pattern.name}-every-{setting.pattern.grid}"
                file = self.kept / f"{name.replace(' ', '-')}.npz"
                windows = windows_of(model, card, setting.pattern, streams, file)
                taken = [each.taken(setting.hop, setting.delay, setting.least) for each in windows]
                found.append(figures(streams, taken, card.classes, online=True))
            yield setting, found

    def offline(self, streams: Sequence[Stream]) -> list[Figures]:
        """Return the figures of each model that scores whole streams, in parts where they are long."""
        classes = load_card(self.bundles[0]).classes
        return [figures(streams, offline_scores(bundle, streams), classes, online=False) for bundle in self.bundles]


HEADER = (
    "| window | hop | delay | least | AUC | Δ | within | Δ | recall at 1/h | Δ | recall at 10/h | delay (s) | 90 % |"
)
SHOWN: tuple[Callable[[Figures], Replicates | None], ...] = (
    lambda each: each.auc,
    lambda each: each.within,
    lambda each: each.recall[RATES[0]],
    lambda each: each.recall[RATES[1]],
)
"""Figures in the order of the table; all but the last are compared with offline."""
RULE = "|---|--:|--:|--:|---|---|---|---|---|---|---|--:|--:|"


def row(name: str, own: Sequence[Figures], offline: Sequence[Figures] | None) -> str:
    """Return a setting's line of the table, with its differences from offline, paired by stream."""
    cells = []
    for place, get in enumerate(SHOWN):
        ours = averaged([get(each) for each in own])
        cells.append(_text(ours))
        if place < len(SHOWN) - 1:
            cells.append(_difference(ours, averaged([get(each) for each in offline])) if offline else "")
    delays = [delay for each in own for delay in each.delays]
    cells += [f"{np.quantile(delays, share):.1f}" if delays else "" for share in (0.5, 0.9)]
    return f"| {name} | {' | '.join(cells)} |"


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


def table(models: Models, settings: Sequence[Setting], streams: Sequence[Stream], part: str) -> str:
    """Measure settings on streams; returns the table."""
    offline = models.offline(streams)
    lines = [row("offline | | | ", offline, None)]
    lines += [row(setting.name, found, offline) for setting, found in models.live(settings, streams, part)]
    minutes = sum(len(each.features) for each in streams) / FPS / 60
    events = sum(len(runs(each.anomalous)[0]) for each in streams)
    title = f"{part}: {len(streams)} streams, {minutes:.0f} minutes, {events} events"
    return "\n".join([title, "", HEADER, RULE, *lines, ""])
