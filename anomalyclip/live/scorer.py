"""Scores of live cameras: windows of all of them in one call of the model."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyclip.errors import UsageError
from anomalyclip.live.layouts import Layout, default_layout
from anomalyclip.live.window import Due, Pushed, Window
from anomalyclip.methods import NewNames, load_bundle, load_with_names
from anomalyclip.model.bundle import ModelCard
from anomalyclip.model.method import Method, VideoScores


class Scored(NamedTuple):
    """Scores of frames of a camera, in order of time; perhaps of none."""

    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    """`(frames,)` each, as they were pushed."""
    scores: NDArray[np.float32]
    """Anomaly probabilities: (frames,)."""
    probabilities: NDArray[np.float32]
    """`(frames, classes)`; those of new classes stand behind."""


class LiveScorer:
    """A model of any method that scores cameras while their frames come; used by one thread.

    Args:
        model: in evaluation mode, on its device.
        card: the model's.
        layout: of the windows.

    Raises UsageError for a model of imported features that do not come from single frames, and for a layout that does
    not fit the model's windows.
    """

    def __init__(self, model: Method, card: ModelCard, layout: Layout) -> None:
        self._use(model, card, layout)
        self._windows: dict[str, Window] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the probabilities, Normal among them."""
        return self._model.classes

    @property
    def new_classes(self) -> tuple[str, ...]:
        """Classes that nobody trained, whose probabilities stand behind those of the others."""
        return self._model.new_classes

    def push(self, parts: Mapping[str, Pushed]) -> dict[str, Scored]:
        """Add new features of cameras by name; returns what has a score now, of each of these cameras."""
        due = {name: list(self._window(name).push(pushed)) for name, pushed in parts.items()}
        return self._score(due)

    def forget(self, name: str) -> Scored:
        """Score the frames of a camera that have no score yet, and drop its past: it has ended, or there was a gap."""
        window = self._windows.pop(name, None)
        last = window.finish() if window else None
        return self._score({name: [last] if last else []})[name]

    def swap(self, other: "LiveScorer") -> None:
        """Score with the model and the layout of another scorer from now on; the past of the cameras is kept.

        Raises UsageError if its model understands other features.
        """
        if (names := [name for name in _FEATURES if getattr(self.card, name) != getattr(other.card, name)]) or (
            self._dim != other._dim
        ):
            raise UsageError(f"the new model understands other features: its {', '.join(names or ['size'])} differs")
        self._use(other._model, other.card, other.layout)
        old, self._windows = self._windows, {}
        for name, window in old.items():
            self._window(name).take_over(window)

    def _use(self, model: Method, card: ModelCard, layout: Layout) -> None:
        if card.sampling_rate is None:
            raise UsageError("the model understands snippets spread over a whole video; a live camera has no whole")
        if fault := layout.fault(card.model):
            raise UsageError(fault)
        self._model, self.card, self.layout = model, card, layout
        self._dim = len(model.normality_prototype)

    def _window(self, name: str) -> Window:
        if name not in self._windows:
            self._windows[name] = Window(self.layout, self.card.crops, self._dim)
        return self._windows[name]

    def _score(self, due: Mapping[str, list[Due]]) -> dict[str, Scored]:
        videos = [self._sequence(one) for each in due.values() for one in each]
        # crop by crop, as offline: scores of one window are the same bit for bit then
        crops = [
            self._model.score_videos([video[:, crop] for video in videos]) if videos else []
            for crop in range(self.card.crops)
        ]
        means = map(_mean, zip(*crops, strict=True))
        return {name: self._joined([(one, *next(means)) for one in each]) for name, each in due.items()}

    def _sequence(self, due: Due) -> Tensor:
        places = self.layout.places(len(due.features), self.card.model)
        return torch.from_numpy(due.features if places is None else due.features[places])

    def _joined(self, scored: Iterable[tuple[Due, Tensor, Tensor]]) -> Scored:
        parts = [Scored(np.empty(0, np.int64), np.empty(0), *_none(len(self.classes) + len(self.new_classes)))]
        for due, scores, probabilities in scored:
            # from the end: a layout leaves out older frames only
            counted = slice(due.counted.start - len(due.features), due.counted.stop - len(due.features) or None)
            parts.append(Scored(due.numbers, due.times, scores[counted].numpy(), probabilities[counted].numpy()))
        return Scored(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


_FEATURES = ("backbone_identity", "sampling_rate", "crops")
"""What of a card decides the features that a model understands; `auto` is a precision that others are too."""


def live_scorer(
    bundle: Path, device: torch.device, layout: Layout | None = None, new: NewNames | None = None
) -> LiveScorer:
    """Return the trained model in a folder, ready to score live cameras, and `new` classes with it by their names.

    Raises UsageError if it cannot.
    """
    model, card = load_bundle(bundle) if new is None else load_with_names(bundle, new)[:2]
    if card.backbone_identity is None:
        raise UsageError(f"{bundle} was trained on imported features: no frame of a camera gives such")
    return LiveScorer(model.to(device), card, layout or default_layout(card))


def _mean(crops: Sequence[VideoScores]) -> tuple[Tensor, Tensor]:
    scores, probabilities = (torch.stack(parts).mean(dim=0).cpu() for parts in list(zip(*crops, strict=True))[1:])
    return scores, probabilities


def _none(classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.empty(0, np.float32), np.empty((0, classes), np.float32)
