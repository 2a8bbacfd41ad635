"""Models of a watch: loaded once verified, and followed where the registry's alias moves."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path

import numpy as np

from anomalyclip.config import Precision
from anomalyclip.device import resolve_device
from anomalyclip.errors import UsageError
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.features.backbone import Backbone, save_backbone
from anomalyclip.job import Job
from anomalyclip.jobs.candidates import trained_candidate
from anomalyclip.jobs.new_classes import new_names
from anomalyclip.jobs.operating import Asked, operating_point
from anomalyclip.live.model_files import Encoders, ModelFiles
from anomalyclip.live.scorer import live_scorer
from anomalyclip.live.watch import Model
from anomalyclip.live.window import Pushed
from anomalyclip.model.bundle import bundle_digest
from anomalyclip.tracking.resolve import registered, resolve

log = logging.getLogger("anomalyclip")


class LiveModels:
    """The model of a name, as it is now; models that understand the same features share one encoder."""

    def __init__(self, job: Job, name: str, asked: Asked, classes: Sequence[str] = ()) -> None:
        """Follow a name; `classes` that nobody trained are recognised by their names besides."""
        self._job, self._name, self._asked, self._classes = job, name, asked, tuple(classes)
        self._current = ""
        self._device = resolve_device()
        self._encoders = Encoders(self._device)
        self._files: Callable[[], ModelFiles]

    @property
    def may_move(self) -> bool:
        """Whether the name is an alias, which may stand for another version later."""
        found = registered(self._name)
        return found is not None and found[2] is not None

    def look(self) -> Model | None:
        """Return the model that the name stands for now, ready to score; None if it is the one returned last.

        Raises UsageError if there is none, if it is refused, or if it cannot score cameras.
        """
        version, key = self._version()
        if key == self._current:
            return None
        candidate = trained_candidate(self._job, version)
        bundle = candidate.scorer
        assert isinstance(bundle, Path)
        scorer = live_scorer(bundle, self._device, new=new_names(self._job, candidate, self._classes))
        point, note = operating_point(version, bundle, self._asked, self._job.config.events)
        backbone, precision = candidate.backbone, candidate.extraction.precision
        assert backbone is not None
        encoders = copy(self._encoders)  # a refused model must not take the encoder of the one in use away
        encode = encoders.of(backbone.identity, scorer.card, precision, lambda: backbone)
        model = Model(version, encode, scorer, point)
        _try(model)
        self._current, self._encoders = key, encoders
        self._files = partial(_files, self._job, version, bundle, backbone, precision, point, self._classes)
        log.info("model %s on %s; events: %s", version, self._device, note)
        return model

    def files(self) -> ModelFiles:
        """Return the model that was returned last as a value for other processes."""
        return self._files()

    def _version(self) -> tuple[str, str]:
        """Return the name to load, and what tells whether it is the same as before."""
        if registered(self._name) is not None:
            from anomalyclip.tracking.files import version  # here, since MLflow takes seconds to import

            found = version(self._name, self._job.tracking_uri)
            return found, found
        bundle, _ = resolve(self._name, self._job.storage, self._job.tracking_uri).bundle()
        return self._name, bundle_digest(bundle)


@contextmanager
def followed(
    models: LiveModels, take_over: Callable[[Model], None], seconds: float, asked: threading.Event
) -> Iterator[None]:
    """Look for another model every so many seconds (0: never), and whenever it is `asked`, while the block runs.

    It is loaded beside the one in use. One that is refused changes nothing but the log.
    """
    over = threading.Event()

    def follow() -> None:
        said = ""
        while asked.wait(seconds or None) or not over.is_set():
            if over.is_set():
                return
            told, now = asked.is_set(), ""
            asked.clear()
            try:
                if model := models.look():
                    take_over(model)
                elif told:
                    log.info("the model is the same as before")
            except Exception as error:  # whatever is wrong with the new model, the old one goes on
                now = str(error) if isinstance(error, UsageError) else repr(error)
                if told or now != said:  # it is tried again at each look, and named once
                    log.warning("the model stays as it is: %s", now)
            said = now

    thread = threading.Thread(target=follow, name="model", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        asked.set()


def _files(
    job: Job, name: str, bundle: Path, backbone: Backbone, precision: Precision, point: OperatingPoint,
    classes: tuple[str, ...],
) -> ModelFiles:  # fmt: skip
    save_backbone(backbone, job.storage)
    files = {file.name: file.read_bytes() for file in bundle.iterdir() if file.is_file()}
    return ModelFiles(name, files, job.storage.root, backbone.identity, precision, point, classes)


def _try(model: Model) -> None:
    """Score a black frame: whatever fails must fail before the model is in use."""
    features = model.encode(np.zeros((1, 64, 64, 3), np.uint8))
    model.scorer.push({"": Pushed(features, np.zeros(1), np.zeros(1, np.int64))})
    model.scorer.forget("")
