"""Metrics of live cameras for Prometheus, and whether the watch is healthy."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anomalyclip.live.sinks.couriers import Courier
from anomalyclip.live.sinks.outbox import Outbox

BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
STALLED_SECONDS = 15.0
"""Time without a turn of the loop after which it counts as stalled."""


class Metrics:
    """Figures of a watch; the loop tells them, a server reads them in threads of its own."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        self._turned = time.monotonic()
        self._last = dict.fromkeys(sources, float("nan"))
        self._sees = dict.fromkeys(sources, False)
        self._model = ""
        self._frames = self._counter("frames", "Frames that were scored", "source")
        self._dropped = self._counter("frames_dropped", "Frames that were dropped, for they came too fast", "source")
        self._events = self._counter("events", "Events that ended", "source", "label", "severity")
        self._lost = self._counter("messages_lost", "Messages that could not be written to disk")
        self._models = self._gauge("model_info", "1 for the model in use", "model")
        self._waiting = self._gauge("queue_frames", "Frames that wait to be scored", "source")
        self._delay = Histogram(
            "anomalyclip_live_delay_seconds", "Time from a frame to its score", ["source"],
            buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        up = self._gauge("source_up", "1 for a source that gives frames", "source")
        age = self._gauge("last_frame_seconds", "Time since the last frame of a source", "source")
        for name in sources:
            for metric in (self._frames, self._dropped, self._waiting, self._delay):
                metric.labels(name)  # 0 from the beginning, so that a rate is known
            up.labels(name).set_function(partial(self._sees.__getitem__, name))
            age.labels(name).set_function(partial(self._age, name))

    def show_sinks(self, couriers: Sequence[Courier], outbox: Outbox) -> None:
        """Show figures of sinks too."""
        figures: dict[str, tuple[str, Callable[[Courier], float]]] = {
            "sink_waiting": ("Messages that wait for a sink", lambda each: outbox.depth(each.sink.key)),
            "sink_delivered": ("Messages that a sink has taken since the start", lambda each: each.delivered),
            "sink_failures": ("Attempts that failed since the start", lambda each: each.failures),
            "sink_refused": ("Messages that a sink refused since the start", lambda each: each.refused),
            "sink_dropped": ("Messages dropped, for too many waited", lambda each: outbox.dropped[each.sink.key]),
        }
        for name, (meaning, figure) in figures.items():
            gauge = self._gauge(name, meaning, "sink")
            for courier in couriers:
                gauge.labels(courier.sink.name).set_function(partial(figure, courier))

    def turned(self) -> None:
        """Tell that the loop has turned once more."""
        self._turned = time.monotonic()

    def model(self, name: str) -> None:
        """Tell which model is in use from now on."""
        if self._model:
            self._models.remove(self._model)
        self._models.labels(name).set(1)
        self._model = name

    def taken(self, source: str, frames: int, dropped: int, depth: int) -> None:
        """Tell what a source gave, and how much of it waits."""
        self._dropped.labels(source).inc(dropped)
        self._waiting.labels(source).set(depth)
        if frames:
            self._frames.labels(source).inc(frames)
            self._last[source] = time.monotonic()

    def sees(self, source: str, sees: bool) -> None:
        """Tell whether a source gives frames."""
        self._sees[source] = sees

    def scored(self, source: str, times: NDArray[np.float64]) -> None:
        """Tell that frames of these Unix times have their scores now."""
        delay = self._delay.labels(source)
        for seconds in time.time() - times:
            delay.observe(seconds)

    def event(self, source: str, label: str, severity: str) -> None:
        """Count an event."""
        self._events.labels(source, label, severity).inc()

    def message_lost(self) -> None:
        """Count a message that could not be written."""
        self._lost.inc()

    def fault(self) -> str | None:
        """Return in one line why the watch is not healthy; None if the loop turns and a source is up."""
        if (silent := time.monotonic() - self._turned) > STALLED_SECONDS:
            return f"the loop has not turned for {silent:.0f} s"
        return None if any(self._sees.values()) else "no source gives frames"

    def text(self) -> bytes:
        """Return all figures in Prometheus's format."""
        return generate_latest(self.registry)

    def _age(self, source: str) -> float:
        return time.monotonic() - self._last[source]

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"anomalyclip_live_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"anomalyclip_live_{name}", meaning, labels, registry=self.registry)
