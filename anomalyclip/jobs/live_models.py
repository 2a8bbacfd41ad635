"""Models of a watch: loaded once verified, and followed where the registry's alias moves."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.errors import UsageError
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.job import Job
from anomalyclip.jobs.candidates import Candidate, trained_candidate
from anomalyclip.jobs.operating import Asked, operating_point
from anomalyclip.live.scorer import live_scorer
from anomalyclip.live.watch import Encode, Model
from anomalyclip.live.window import Pushed
from anomalyclip.model.bundle import bundle_digest
from anomalyclip.tracking.resolve import registered, resolve

log = logging.getLogger("anomalyclip")


class LiveModels:
    """The model of a name, as it is now; models that understand the same features share one encoder."""

    def __init__(self, job: Job, name: str, asked: Asked) -> None:
        self._job, self._name, self._asked = job, name, asked
        self._current = ""
        self._features: tuple[object, ...] = ()
        self._encode: Encode | None = None

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
        device = resolve_device()
        scorer = live_scorer(bundle, device)
        point, note = operating_point(version, bundle, self._asked, self._job.config.events)
        features, encode = self._encoder(candidate)
        model = Model(version, encode, scorer, point)
        _try(model)
        self._current, self._features, self._encode = key, features, encode
        log.info("model %s on %s; events: %s", version, device, note)
        return model

    def _version(self) -> tuple[str, str]:
        """Return the name to load, and what tells whether it is the same as before."""
        if registered(self._name) is not None:
            from anomalyclip.tracking.files import version  # here, since MLflow takes seconds to import

            found = version(self._name, self._job.tracking_uri)
            return found, found
        bundle, _ = resolve(self._name, self._job.storage, self._job.tracking_uri).bundle()
        return self._name, bundle_digest(bundle)

    def _encoder(self, candidate: Candidate) -> tuple[tuple[object, ...], Encode]:
        """Return what decides the features that a model understands, and the encoder that makes them."""
        assert candidate.backbone is not None
        device, crops = resolve_device(), candidate.extraction.crops
        precision = resolve_precision(candidate.extraction.precision, device)
        features = (candidate.backbone_identity, precision, crops, candidate.extraction.sampling_rate)
        if self._encode is not None and features == self._features:
            return features, self._encode
        return features, FrameEncoder(candidate.backbone, precision, device, crops)


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


def _try(model: Model) -> None:
    """Score a black frame: whatever fails must fail before the model is in use."""
    features = model.encode(np.zeros((1, 64, 64, 3), np.uint8))
    model.scorer.push({"": Pushed(features, np.zeros(1), np.zeros(1, np.int64))})
    model.scorer.forget("")
